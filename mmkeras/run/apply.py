"""A trained model on a new table: evaluate, predict, export."""

import json
from pathlib import Path

from mmkeras import analysis, data, export, heads
from mmkeras.load import load_model
from mmkeras.model import readers
from mmkeras.run import files
from mmkeras.run.progress import Progress


def find_model(path):
    """The `.keras` file of a path: itself, or model.keras in a folder.

    Raises:
        ValueError: there is none.
    """
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file() or file.suffix != ".keras":
        raise ValueError(
            f"MODEL wants a .keras file or a folder with model.keras, as `mmkeras "
            f"train` writes it. Received: {str(path)!r}"
        )
    return file


def evaluate(
    model, table, label=None, part=None, on_bad_row="raise", batch_size=32, trust=False
):
    """The score of every subset of the modalities on a table.

    Args:
        model: path of a `.keras` file or of an output folder of `mmkeras train`.
        table: path of the table.
        label: label column; default: the one it was trained with.
        part: rows whose split column (the recipe's) holds this word; default: all.
        on_bad_row: "raise" or "absent".
        batch_size: Integer.
        trust: True to load the SavedModel inside a hub encoder.

    Returns:
        The report of `analysis.modality_report`.
    """
    file = find_model(model)
    recipe = _recipe(file)
    label = label or recipe.get("label")
    if label is None:
        raise ValueError("`label` is unknown: name the table's label column.")
    network = load_model(file, safe_mode=not trust)
    rows = _rows(table, part, recipe)
    batches = data.from_table(
        rows,
        network,
        label=label,
        columns=_columns(recipe, network),
        batch_size=batch_size,
        on_bad_row=on_bad_row,
    )
    return analysis.modality_report(network, batches)


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

    Returns:
        The `pandas.DataFrame` that was written.
    """
    import numpy as np
    import pandas

    progress = progress or Progress(quiet=True)
    file = find_model(model)
    recipe = _recipe(file)
    network = load_model(file, safe_mode=not trust)
    rows = _rows(table, part, recipe)
    batches = data.from_table(
        rows,
        network,
        columns=_columns(recipe, network),
        batch_size=batch_size,
        on_bad_row=on_bad_row,
    )
    total = -(-len(rows) // batch_size)
    outputs = [
        network.predict_on_batch(x)
        for x in progress.track(batches, total, f"Predicting {len(rows)} rows")
    ]
    outputs = np.concatenate(outputs)
    contract = heads.output_contract(network)
    if contract is None:
        decoded = [{f"output_{i}": float(x) for i, x in enumerate(r)} for r in outputs]
    else:
        decoded = contract.decode(outputs)
    scores = pandas.DataFrame(decoded, index=rows.index)
    renamed = {x: f"predicted_{x}" for x in scores.columns if x in rows.columns}
    result = rows.join(scores.rename(columns=renamed))
    files.write_text(out, result.to_csv(index=False))
    return result


FORMS = ("saved_model", "tflite")


def export_model(
    model, out=None, trust=False, form="saved_model", quantize=None, table=None
):
    """Exports a trained model: the next version of a SavedModel, or a TFLite file.

    Args:
        model: path of a `.keras` file or of a folder with model.keras.
        out: version folder; default: the next number beside the model. For "tflite" a
            file; default: model.tflite, or model.<quantize>.tflite, beside the model.
        trust: True to load the SavedModel inside a hub encoder.
        form: "saved_model" or "tflite".
        quantize: for "tflite": None, "float16", "dynamic" or "int8".
        table: for "tflite": path of a table whose rows the file is compared on, and
            which "int8" takes its ranges from.

    Returns:
        The report of `export.saved_model` or `export.tflite`.
    """
    if form not in FORMS:
        raise ValueError(f"`--to` wants one of {FORMS}. Received: {form!r}")
    if form == "saved_model" and (quantize or table):
        raise ValueError(
            "`--quantize` and `--data` are for TFLite files: add `--to tflite`."
        )
    if quantize == "int8" and table is None:
        raise ValueError(
            "`--quantize int8` wants rows, to see how large numbers become: add "
            "`--data TABLE`, or take `--quantize dynamic`."
        )
    file = find_model(model)
    loaded = load_model(file, safe_mode=not trust)
    if form == "saved_model":
        return export.saved_model(loaded, out or str(files.next_version(file.parent)))
    rows = None
    if table is not None:
        columns = _columns(_recipe(file), loaded)
        rows = data.from_table(table, loaded, columns=columns, batch_size=32)
    name = f"model.{quantize}.tflite" if quantize else "model.tflite"
    return export.tflite(
        loaded,
        out or str(file.parent / name),
        quantize=quantize,
        representative=rows,
        overwrite=out is None,
    )


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


def _recipe(file):
    """The recipe beside a model, or nothing."""
    path = file.parent / "recipe.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _columns(recipe, network):
    sources = recipe.get("sources", {})
    columns = {name: sources.get(name, {}).get("column") for name in readers(network)}
    return {name: column for name, column in columns.items() if column}
