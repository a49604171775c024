"""A trained model on a new table: evaluate, predict."""

import json
from pathlib import Path

from mmkeras import analysis, data
from mmkeras.data.bad import to_csv
from mmkeras.model import readers
from mmkeras.run import files
from mmkeras.run.opened import Trained, Uncut, find_keras, opened, scored
from mmkeras.run.progress import Progress


def find_model(path):
    """The `.keras` file of a path: itself, or model.keras in a folder.

    Raises:
        ValueError: there is none.
    """
    file = find_keras(path)
    if file is None:
        raise ValueError(
            f"MODEL wants a .keras file or a folder with model.keras, as `mmkeras "
            f"train` writes it. Received: {str(path)!r}"
        )
    return file


# what the interaction is worked out on: seconds for most models
_EMAP = {"emap": 1000, "emap_samples": 32}
_UNREAD = "{} cells could not be read and were taken as missing"


def evaluate(
    model,
    table,
    label=None,
    part=None,
    on_bad_row="raise",
    batch_size=32,
    trust=False,
    bootstrap=0,
):
    """The score of every subset of the modalities on a table, and what each adds.

    Args:
        model: path of a `.keras` file or of an output folder of `mmkeras train`, of a
            SavedModel, a TFLite or an ONNX file of `mmkeras export`.
        table: path of the table.
        label: label column, default: the one it was trained with; of a model with
            several outputs "OUTPUT=COLUMN", and the rows that have it are scored.
        part: rows whose split column (the recipe's) holds this word; default: all.
        on_bad_row: "raise" or "absent".
        batch_size: Integer.
        trust: True to load a SavedModel, also the one inside a hub encoder.
        bootstrap: Integer, draws for the intervals; 0: none.

    Returns:
        The report of `analysis.modality_report`; of a `.keras` file with several
        modalities with EMAP, on 1,000 rows at most. Cells that could not be read are
        told on standard error, all of them.
    """
    network, folder = opened(model, trust)
    recipe = _recipe(folder, network)
    whole, options, bad_rows = isinstance(network, Trained), {}, []
    network = network.network if whole else network
    label = label or recipe.get("label")
    network, label, rows = scored(network, label, _rows(table, part, recipe))
    contracts = readers(network)
    batches = data.from_table(
        rows,
        network,
        label=label,
        columns=_columns(recipe, contracts),
        batch_size=batch_size,
        on_bad_row=on_bad_row,
        bad_rows=bad_rows,
    )
    if whole and len(contracts) > 1:
        options = _EMAP
    cut = network if whole else Uncut(network)
    report = analysis.modality_report(cut, batches, bootstrap=bootstrap, **options)
    if bad_rows:
        named = "\n".join(f"  {x}" for x in bad_rows)
        Progress().say(f"{_UNREAD.format(len(bad_rows))}:\n{named}")
    return report


def predict(
    model,
    table,
    out,
    part=None,
    on_bad_row="raise",
    batch_size=32,
    progress=None,
    trust=False,
):
    """Writes a CSV: the table's columns, then class and score(s) of each row.

    Of a model with several outputs the columns begin with the output's name; vectors,
    such as a tower's embedding, are `<name>_output_0` and so on.

    Args:
        model: path of a `.keras` file or of an output folder of `mmkeras train`, of a
            SavedModel, a TFLite or an ONNX file of `mmkeras export`.
        table: path of the table.
        out: path of the CSV; it appears whole. Cells that could not be read are in
            the file beside it that ends in .bad_rows.csv.
        part: rows whose split column (the recipe's) holds this word; default: all.
        on_bad_row: "raise" or "absent".
        batch_size: Integer.
        progress: `progress.Progress`; default: none is shown.
        trust: True to load a SavedModel, also the one inside a hub encoder.

    Returns:
        The `pandas.DataFrame` that was written.
    """
    import pandas

    progress = progress or Progress(quiet=True)
    network, folder = opened(model, trust)
    recipe = _recipe(folder, network)
    rows, bad_rows = _rows(table, part, recipe), []
    batches = data.from_table(
        rows,
        network,
        columns=_columns(recipe, network.contracts),
        batch_size=batch_size,
        on_bad_row=on_bad_row,
        bad_rows=bad_rows,
    )
    total = -(-len(rows) // batch_size)
    decoded = []
    for x in progress.track(batches, total, f"Predicting {len(rows)} rows"):
        decoded += network.decode(network.predict_on_batch(x))
    scores = pandas.DataFrame(decoded, index=rows.index)
    renamed = {x: f"predicted_{x}" for x in scores.columns if x in rows.columns}
    result = rows.join(scores.rename(columns=renamed))
    files.write_text(out, result.to_csv(index=False))
    _write_bad(Path(out).with_suffix(".bad_rows.csv"), bad_rows, progress)
    return result


def _write_bad(path, bad_rows, progress):
    """Writes the bad cells, or removes those of an earlier run."""
    if not bad_rows:
        path.unlink(missing_ok=True)
        return
    files.write_text(path, to_csv(bad_rows))
    progress.say(f"{_UNREAD.format(len(bad_rows))}: all are in {path}")


def _rows(table, part, recipe):
    rows = data.read_table(table)
    if part is None:
        return rows
    column = recipe.get("split", "split")
    if column not in rows.columns:
        raise ValueError(
            f"Table {table!r} has no column '{column}' to choose {part!r} by. "
            f"Its columns: {list(rows.columns)}"
        )
    chosen = rows[rows[column] == part]
    if chosen.empty:
        raise ValueError(
            f"No row of {table!r} has '{part}' in column '{column}'. "
            f"Valid: {sorted(rows[column].dropna().unique())}"
        )
    chosen.attrs.update(rows.attrs)
    return chosen


def _recipe(folder, network=None):
    """The recipe that an export's card keeps, else the one beside, or nothing."""
    kept = getattr(network, "card", {}).get("recipe")
    if kept is not None:
        return kept
    path = folder / "recipe.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _columns(recipe, contracts):
    sources = recipe.get("sources", {})
    columns = {name: sources.get(name, {}).get("column") for name in contracts}
    return {name: column for name, column in columns.items() if column}
