"""The model's card: what it was trained on, how well it does, how to run it again."""

import importlib.metadata
import platform
from collections import Counter

from mmkeras.analysis import plots
from mmkeras.data.labels import class_name, class_names
from mmkeras.model import readers
from mmkeras.run import facts

_VERSIONS = ("mmkeras", "tensorflow", "keras", "transformers", "librosa", "numpy")


def card(result, recipe, parts, columns, head, command):
    """The card as Markdown."""
    sections = [
        f"# {result.folder.name}",
        f"Trained by mmkeras in {recipe.precision}: {_sources(recipe)}, joined by "
        f"`{recipe.fusion}`. The saved model computes in float32.",
        _data(recipe, parts, columns, result),
        *_facts(recipe, result),
        _classes(head, parts, recipe),
        "## Scores on the test rows, for every subset of the modalities\n\n"
        + _fenced(str(result.report)),
        *_calibration(result),
        "## Parameters\n\n" + _fenced(_parameters(result.model)),
        "## Command\n\n" + _fenced(command),
        "## Versions\n\n" + _fenced(_versions()),
        "## Files\n\n" + _files(recipe),
    ]
    return "\n\n".join(sections) + "\n"


def draw(result, best=None):
    """Draws learning curves, score per subset and confusion matrix as PNG.

    And after `calibrate` how honest the probabilities are.

    Args:
        result: `train.Result`.
        best: optional dict, subset -> best possible score, drawn beside the achieved.
    """
    folder, report = result.folder, result.report
    plots.learning_curves(result.history, folder / "learning_curves.png")
    plots.subset_scores(report, folder / "subset_scores.png", best=best)
    if report.confusion is not None:
        plots.confusion_matrix(
            report.confusion, report.classes, folder / "confusion_matrix.png"
        )
    if result.temperature is not None and report.calibration is not None:
        plots.reliability(report.calibration, folder / "reliability.png")


def _calibration(result):
    """A section on how honest the probabilities are, where there are some."""
    lines = [] if result.temperature is None else [f"- {result.temperature} (val)"]
    if result.report.calibration is not None:
        lines.append(f"- {result.report.calibration} (test)")
    return ["## Calibration\n\n" + "\n".join(lines)] if lines else []


def _sources(recipe):
    words = []
    for name, source in recipe.sources.items():
        encoder = getattr(source.encoder, "name", source.encoder)
        words.append(f"`{name}` ({source.kind}, {encoder})")
    return ", ".join(words)


def _data(recipe, parts, columns, result):
    lines = ["## Data", "", f"Table `{recipe.table}`, label `{recipe.label}`."]
    columns = _one_by_one(columns)
    header = ["part", "rows", *(f"{x} missing" for x in columns)]
    lines += ["", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for part, rows in parts.items():
        missing = [_missing(rows[column]) for column in columns.values()]
        cells = map(str, [part, len(rows), *missing])
        lines.append("| " + " | ".join(cells) + " |")
    if result.bad_rows:
        lines += ["", f"{len(result.bad_rows)} cells could not be read and were "]
        lines[-1] += "treated as missing:"
        lines += [f"- {x}" for x in result.bad_rows[:50]]
    return "\n".join(lines)


def _one_by_one(columns):
    """Names and columns, those of a modality of several under their own names."""
    found = {}
    for name, column in columns.items():
        if isinstance(column, str):
            found[name] = column
        else:
            found |= {f"{name}.{x}": x for x in column}
    return found


def _facts(recipe, result):
    """A section on each modality of several columns."""
    found = readers(result.model)
    tabular = [x for x, source in recipe.sources.items() if source.kind == "tabular"]
    return [facts.for_card(name, found[name]) for name in tabular]


def _missing(column):
    return int((column.isna() | (column.astype(str) == "")).sum())


def _classes(head, parts, recipe):
    if head.layer.kind == "number":
        return f"## Target\n\n{', '.join(head.layer.classes)}"
    labels = parts["train"][recipe.label].astype(object)
    if head.layer.kind == "multi":
        counts = Counter(name for x in labels for name in class_names(x))
    else:
        counts = Counter(map(class_name, labels))
    lines = [f"- {x}: {counts[x]}" for x in head.layer.classes]
    return "## Classes (rows in train)\n\n" + "\n".join(lines)


def _parameters(model):
    from mmkeras import transfer

    return transfer.summary(model).to_string()


def _versions():
    lines = [f"python {platform.python_version()}"]
    lines += [f"{x} {importlib.metadata.version(x)}" for x in _VERSIONS]
    return "\n".join(lines)


def _fenced(text):
    return f"```\n{text}\n```"


def _files(recipe):
    lines = ["- model.keras: the model; `mmkeras.load_model` reads it in safe mode"]
    if recipe.export:
        lines.append("- 1/ (2/ ...): SavedModel that takes raw bytes and strings")
    lines.append("- report.csv, history.csv, recipe.json, and the plots as PNG")
    return "\n".join(lines)
