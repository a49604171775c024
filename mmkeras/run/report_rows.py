"""Sections of a report on single rows: the worst, slices, a map, attributions.

Each function takes the `report.Job` and gives parts of the page; none: it does not
apply.
"""

import functools

import numpy as np

from mmkeras import analysis
from mmkeras.analysis import plots
from mmkeras.analysis.pages import html, media
from mmkeras.analysis.rows.embedding_map import of_features
from mmkeras.analysis.subsets import batches
from mmkeras.data.table import is_missing

#: An attribution that is off by more is said to be.
_COMPLETE = 0.02
#: Characters of a cell that the page shows.
_LONG = 300


def worst(job):
    """The rows of the largest loss, with their pictures, captions and sounds."""
    found = job.errors
    every = found.to_frame()
    job.csv("errors", _without_bytes(every).rename_axis("row"))
    every = every.head(job.options.worst)
    told = f"{found}. The {len(every)} rows of the largest loss, the worst first."
    if found.kind != "number":
        told += " Loss: -log of the probability of the truth."
    return [told, html.table(_shown(job, every)), _listed("errors.csv")]


def _shown(job, every):
    """The rows as a table of `Markup`: media, texts, and what the model said."""
    import pandas

    own = job.errors.own
    frame = job.frame.loc[every.index]
    kinds = {
        name: x.kind
        for name, x in sorted(job.contracts.items())
        if x.kind in ("image", "audio") and x.cell == "file"
    }
    pictures, sounds = (
        [
            (name, _media(job, frame, name, kind))
            for name, kind in kinds.items()
            if kind == wanted
        ]
        for wanted in ("image", "audio")
    )
    said = [x for x in every.columns if x not in own.values() and x != "right"]
    columns = [*pictures, *((x, every[x].to_numpy()) for x in said), *sounds]
    shown = {job.columns[name] for name in kinds} | {job.label}
    for column, name in own.items():
        if column not in shown:
            columns.append((column, [_text(x) for x in every[name]]))
    # by number: a column of theirs may be called as one of ours
    values = {i: list(x) for i, (_, x) in enumerate(columns)}
    table = pandas.DataFrame(values, index=pandas.Index(every.index, name="row"))
    return table.set_axis([x for x, _ in columns], axis=1)


def _media(job, frame, name, kind):
    cells = frame[job.columns[name]]
    values = job.cells(frame, name)
    return [
        media.cell(x, kind, y, job.folder) for x, y in zip(values, cells, strict=True)
    ]


def slices(job):
    """The score on the rows of each value of a column."""
    options = job.options
    frame = job.errors.slices(bootstrap=options.bootstrap, seed=options.seed)
    known = [] if job.errors.kind == "number" else [job.label]  # has its own section
    # a column where no value holds two rows only names them
    largest = frame.groupby("column")["rows"].transform("max")
    frame = frame[(largest > 1) & ~frame["column"].isin(known)]
    if frame.empty:
        return []
    job.csv("slices", frame.set_index(["column", "value"]))
    metric = frame.columns[3]
    shown = frame.assign(small=np.where(frame["small"], "few rows", ""))
    if "low" in shown:
        spans = zip(shown["low"], shown["high"], strict=True)
        shown["low"] = [
            html.on_one_line(f"{low:.3f} to {high:.3f}") for low, high in spans
        ]
        shown = shown.drop(columns="high").rename(columns={"low": "95 %"})
    shown = shown.rename(columns={"small": "note"})
    return [
        f"{_title(metric)} on the rows of each value of a column, and elsewhere: "
        f"on all other rows. Of a few rows a score says little.",
        html.table(shown.set_index(["column", "value"])),
    ]


def embedding(job):
    """The fused features on a plane."""
    features = job.passed[2]
    if len(features) < 3:
        return []
    method, seed = job.options.method, job.options.seed
    found = of_features(features, job.errors, method, seed)
    job.csv("embedding_map", found.to_frame())
    draw = functools.partial(plots.embedding_map, found)
    alt = f"Map: {found}, a marker for each class"
    told = "What the head sees of each row: near points look alike to it."
    return [told, job.figure("embedding_map", draw, alt)]


def attributions(job):
    """Which parts of some rows their answers come from."""
    rows = _examples(job.errors, job.options.examples)
    if not rows:
        return []
    frame = job.frame.iloc[rows]
    found = list(batches(job.rows(frame)))
    inputs = {key: np.concatenate([x[key] for x, _ in found]) for key in found[0][0]}
    # pictures are often grey at the edges: from grey they take ten times the steps
    pictures = [name for name, x in job.contracts.items() if x.kind == "image"]
    result = analysis.attribution(
        job.network,
        inputs,
        baseline=dict.fromkeys(pictures, "black"),
        max_steps=job.options.max_steps,
        progress=job.progress,
    )
    cam = _cam(job, inputs)
    job.csv("attributions", result.to_frame())
    parts = [
        "Integrated gradients of the output that won: what each pixel, word, sound and "
        "column added to it, from a black picture, no words and silence on. Solid "
        "outlines speak for the answer, dashed ones and hatched bars against it."
    ]
    entries = job.errors.rows.iloc[rows]
    for i, (index, row) in enumerate(zip(entries.index, entries.iloc, strict=True)):
        said = [f"{x} {_short(row[x])}" for x in ("true", "predicted") if x in row]
        title = f"Row {index}: {', '.join(said)}"
        draw = functools.partial(_drawn, result, i, cam)
        totals = {name: x[i] for name, x in result.totals().items()}
        told = ", ".join(f"{name} {x:+.2f}" for name, x in totals.items())
        alt = f"{title}. Added by each modality: {told}"
        parts += [html.heading(title), job.figure(f"attribution_{i + 1}", draw, alt)]
        if result.error[i] > _COMPLETE:
            told = "Not exact: what is drawn sums to the output but for "
            told += f"{result.error[i]:.0%} of its change."
            parts.append(html.paragraph(told, "note"))
    return parts


def _drawn(result, row, cam, path):
    plots.row_attribution(result, path, row, cam)


def _cam(job, inputs):
    try:
        return analysis.grad_cam(job.network, inputs)
    except ValueError:  # no convolutions, or several encoders with them
        return None


def _examples(found, count):
    """Places of rows to look at: the surest mistake, the median, the surest right."""
    loss = found.rows["loss"].to_numpy()
    order = np.argsort(loss, kind="stable")[::-1]
    order = [int(i) for i in order if np.isfinite(loss[i])]
    spread = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[i] for i in dict.fromkeys(spread.tolist())]


def _title(metric):
    return metric.replace("_", " ").capitalize()


def _listed(name):
    return html.paragraph(f"All rows are in {name} beside this page.", "note")


def _text(cell):
    if isinstance(cell, bytes | bytearray | memoryview):
        return f"{len(cell)} bytes"
    if not isinstance(cell, str):
        return "" if is_missing(cell) else cell
    return cell if len(cell) <= _LONG else f"{cell[:_LONG]}..."


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _without_bytes(frame):
    return frame.map(_text_of_bytes)


def _text_of_bytes(cell):
    return _text(cell) if isinstance(cell, bytes | bytearray | memoryview) else cell
