"""Sections of a report on the model, its scores, probabilities and robustness.

Each function takes the `report.Job` and gives parts of the page; none: it does not
apply.
"""

import functools
import re

from mmkeras import analysis, transfer
from mmkeras.analysis import plots
from mmkeras.analysis.pages import html, verdicts
from mmkeras.analysis.plots.style import in_words
from mmkeras.data.table import is_missing
from mmkeras.model import fusion
from mmkeras.run.card import _versions
from mmkeras.scores import LOWER_IS_BETTER


def model(job):
    """What it is: encoders, fusion, head, parameters, rows, versions."""
    import pandas

    sources = job.recipe.get("sources", {})
    lines = []
    for name, contract in sorted(job.contracts.items()):
        columns = job.columns[name]
        columns = [columns] if isinstance(columns, str) else columns
        gone = job.frame[columns].map(is_missing).all(axis=1)
        encoder = sources.get(name, {}).get("encoder") or job.network.get_layer(
            f"{name}_encoder"
        )
        lines.append(
            {
                "modality": name,
                "kind": contract.kind,
                "column": ", ".join(map(str, columns)),
                "encoder": getattr(encoder, "name", encoder),
                "takes": " x ".join(map(str, contract.tensor_shape)),
                "rows without": int(gone.sum()),
            }
        )
    frame = pandas.DataFrame(lines).set_index("modality")
    parameters = transfer.summary(job.network)
    job.csv("modalities", frame)
    told = [f"File: {job.file}", f"Fusion: {type(fusion(job.network)).__name__}"]
    told += _head(job)
    if job.recipe:
        trained = f"Trained on: {job.recipe.get('table')}"
        told.append(f"{trained}, seed {job.recipe.get('seed')}")
    if job.bad_rows:
        told.append(f"Cells that could not be read: {len(job.bad_rows)}")
    return [
        html.listing(told),
        html.table(frame),
        html.heading("Parameters"),
        html.table(parameters),
        html.heading("Versions"),
        html.paragraph(", ".join(_versions().splitlines()), "note"),
    ]


def _head(job):
    scores = job.scores
    words = {"single": "one class a row", "multi": "several classes a row"}
    names = ", ".join(scores.classes[:50]) + ", ..." * (len(scores.classes) > 50)
    told = [f"Answers: {words.get(scores.kind, 'numbers')} ({names})"]
    temperature = getattr(job.head, "temperature", 1.0)
    if temperature != 1:
        told.append(f"Temperature of its probabilities: {temperature:.4g}")
    return told


def scores(job):
    """The score of every subset of the modalities."""
    found = job.scores
    frame = found.to_frame()
    job.csv("scores", frame)
    metric = found.metrics[0]
    told = "; ".join(f"{x} {frame[metric][x]:.3f}" for x in frame.index)
    parts = [
        "A modality that is not in a subset is hidden from every row, as where it is "
        "missing in serving.",
        job.figure(
            "subset_scores",
            functools.partial(plots.subset_scores, found),
            f"Bars: {in_words(metric)} by modalities shown: {told}",
        ),
        html.table(_spans(frame)),
    ]
    if found.draws is not None:
        share = f"{100 * found.draws.confidence:.4g} %"
        parts.append(
            html.paragraph(
                f"In brackets {share} intervals over other rows (bootstrap). Rows: "
                f"those that have all modalities of the subset.",
                "note",
            )
        )
    return parts


def contributions(job):
    """Shapley, unique, solo and EMAP, each in a plain sentence."""
    found = job.scores
    if len(found.modalities) < 2:
        return []
    parts, pairs = found.parts(), found.pairs()
    job.csv("contributions", parts)
    job.csv("pairs", pairs)
    metric = in_words(found.metrics[0])
    told = "; ".join(f"{name} {x:.3f}" for name, x in parts["shapley"].items())
    return [
        html.listing([*verdicts.modalities(found), verdicts.interaction(found)]),
        job.figure(
            "contributions",
            functools.partial(plots.contributions, found),
            f"Bars: what each modality adds to {metric}. Shapley values: {told}",
        ),
        html.table(_spans(parts)),
        html.heading("Pairs"),
        "Above 0 the two need each other, below 0 they tell the same.",
        html.table(_spans(pairs)),
    ]


def classes(job):
    """Precision, recall and F1 of each class, and which are taken for which."""
    found = job.scores
    if found.by_class is None:
        return []
    import pandas

    index = pandas.Index(found.classes, name="class")
    frame = pandas.DataFrame(found.by_class[found.modalities], index=index)
    job.csv("classes", frame)
    parts = [html.table(frame)]
    if found.confusion is not None:
        matrix = pandas.DataFrame(found.confusion, index, list(found.classes))
        job.csv("confusion_matrix", matrix.rename_axis("true"))
        draw = functools.partial(plots.confusion_matrix, found.confusion, found.classes)
        alt = f"Confusion matrix, true by predicted class. {_confused(found)}"
        parts.insert(0, job.figure("confusion_matrix", draw, alt))
        parts.insert(1, _confused(found))
    if len(found.modalities) > 1:
        shares = found.shapley_per_class()
        job.csv("shapley_per_class", shares)
        parts += [
            html.heading("What each modality adds to a class's recall"),
            "From none of the modalities to all, the Shapley values between.",
            html.table(shares),
        ]
    return parts


def _confused(found):
    """The most frequent mistakes, in words."""
    wrong = found.confusion.copy()
    wrong[range(len(wrong)), range(len(wrong))] = 0
    order = wrong.ravel().argsort(kind="stable")[::-1][:3]
    told = [
        f"{found.classes[i // len(wrong)]} for {found.classes[i % len(wrong)]} "
        f"({wrong.flat[i]})"
        for i in order
        if wrong.flat[i]
    ]
    if not told:
        return "No row is wrong."
    words = [x.split(" for ", 1) for x in told]
    told = [f"{a} taken for {b}" for a, b in words]
    return f"The most frequent mistakes: {', '.join(told)}."


def calibration(job):
    """How honest the probabilities are."""
    found = job.scores.calibration
    if found is None:
        return []
    job.csv("calibration", found.to_frame())
    gap = found.confidence - found.accuracy
    sure = "too sure" if gap > 0 else "not sure enough"
    if found.ece <= 1.5 * found.by_chance:
        verdict = (
            f"The probabilities are honest as far as {found.rows} rows can show: the "
            f"expected calibration error is {found.ece:.3f}, and a perfect model would "
            f"have about {found.by_chance:.3f} by chance."
        )
    else:
        verdict = (
            f"The model is {sure}: it expects to be right in {found.confidence:.1%} "
            f"and is in {found.accuracy:.1%}. The expected calibration error is "
            f"{found.ece:.3f}, where chance alone gives about {found.by_chance:.3f}. "
            f"mmkeras train --calibrate fits a temperature."
        )
    values = [
        f"Temperature: {found.temperature:.4g}",
        f"Classwise calibration error: {found.classwise_ece:.4f}",
        f"Brier score: {found.brier:.4f}",
        f"Negative log-likelihood: {found.nll:.4f} nats",
    ]
    draw = functools.partial(plots.reliability, found)
    alt = (
        f"Reliability plot: share that came true over the probability that was said, "
        f"in {int((found.table['rows'] > 0).sum())} bins"
    )
    return [verdict, html.listing(values), job.figure("reliability", draw, alt)]


def robustness(job):
    """How the score falls while one modality gets worse."""
    options, frame = job.options, job.frame
    if not options.robustness_rows:
        return []
    if len(frame) > options.robustness_rows:
        frame = frame.sample(options.robustness_rows, random_state=options.seed)
        frame = frame.sort_index()
    texts = {
        name: list(frame[job.columns[name]])
        for name, x in job.contracts.items()
        if x.kind == "text" and x.cell == "value"
    }
    found = analysis.robustness(
        job.network,
        job.rows(frame),
        levels=options.levels,
        texts=texts or None,
        seed=options.seed,
        progress=job.progress,
    )
    job.csv("robustness", found.to_frame())
    areas = found.areas()
    job.csv("robustness_areas", areas)
    words = in_words(found.metrics[0])
    worst = f"On {found.rows} rows; {words} is {found.clean():.3f} on clean ones. "
    worst += _worst(found)
    draw = functools.partial(plots.robustness_curves, found)
    alt = f"Curves: {words} over the level of each corruption. {worst}"
    return [
        worst,
        job.figure("robustness", draw, alt),
        "Area under each curve as a share of the clean score: 1 where nothing is lost.",
        html.table(areas),
    ]


def _worst(found):
    """What costs most at level 1, in words."""
    sign = -1 if found.metrics[0] in LOWER_IS_BETTER else 1
    lost = {x: sign * (found.clean() - found.curve(*x)[-1]) for x in found.curves}
    key = max(lost, key=lost.get)
    if not lost[key] > 0:
        return "No corruption makes it worse."
    what = f"{in_words(key[1])} of {key[0]} ({found.at_one[key]})"
    return f"Worst is {what}: {found.curve(*key)[-1]:.3f}."


def _spans(frame):
    """A column and its `_low` and `_high` as one of text: 0.830 (0.770 to 0.880)."""
    made = {}
    for name in frame.columns:
        if name.endswith(("_low", "_high")):
            continue
        if f"{name}_low" not in frame:
            made[name] = frame[name]
            continue
        columns = (name, f"{name}_low", f"{name}_high")
        spans = zip(*(frame[x] for x in columns), strict=True)
        made[name] = [_span(*x) for x in spans]
    return type(frame)(made, index=frame.index)


def _span(value, low, high):
    text = f"{value:.3f} ({low:.3f} to {high:.3f})"
    return html.on_one_line(re.sub(r"-(0\.000)\b", r"\1", text))
