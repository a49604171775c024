"""A trained model on a new table: evaluate, predict, export."""

import json

from mmkeras import analysis, data, export
from mmkeras.load import load_model
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
        modalities with EMAP, on 1,000 rows at most.
    """
    network, folder = opened(model, trust)
    recipe = _recipe(folder)
    whole, options = isinstance(network, Trained), {}
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
    )
    if whole and len(contracts) > 1:
        options = _EMAP
    cut = network if whole else Uncut(network)
    return analysis.modality_report(cut, batches, bootstrap=bootstrap, **options)


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
        out: path of the CSV; it appears whole.
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
    recipe = _recipe(folder)
    rows = _rows(table, part, recipe)
    batches = data.from_table(
        rows,
        network,
        columns=_columns(recipe, network.contracts),
        batch_size=batch_size,
        on_bad_row=on_bad_row,
    )
    total = -(-len(rows) // batch_size)
    decoded = []
    for x in progress.track(batches, total, f"Predicting {len(rows)} rows"):
        decoded += network.decode(network.predict_on_batch(x))
    scores = pandas.DataFrame(decoded, index=rows.index)
    renamed = {x: f"predicted_{x}" for x in scores.columns if x in rows.columns}
    result = rows.join(scores.rename(columns=renamed))
    files.write_text(out, result.to_csv(index=False))
    return result


FORMS = ("saved_model", "tflite", "onnx")


def export_model(
    model, out=None, trust=False, form="saved_model", quantize=None, table=None
):
    """Exports a trained model: a SavedModel's next version, a TFLite or an ONNX file.

    Args:
        model: path of a `.keras` file or of a folder with model.keras.
        out: version folder; default: the next number beside the model. Else a file;
            default: model.onnx, model.tflite or model.<quantize>.tflite beside it.
        trust: True to load the SavedModel inside a hub encoder.
        form: "saved_model", "tflite" or "onnx".
        quantize: for "tflite": None, "float16", "dynamic" or "int8".
        table: path of a table whose rows the export is compared on and, where it has
            the label column of the training, scored on; "int8" takes its ranges from
            them.

    Returns:
        The report of `export.saved_model`, `export.tflite` or `export.onnx`.
    """
    if form not in FORMS:
        raise ValueError(f"`--to` wants one of {FORMS}. Received: {form!r}")
    if quantize and form != "tflite":
        raise ValueError("`--quantize` is for TFLite files: add `--to tflite`.")
    if quantize == "int8" and table is None:
        raise ValueError(
            "`--quantize int8` wants rows, to see how large numbers become: add "
            "`--data TABLE`, or take `--quantize dynamic`."
        )
    file = find_model(model)
    loaded = load_model(file, safe_mode=not trust)
    rows = None
    if table is not None:
        rows = _labelled(table, loaded, _recipe(file.parent))
    if form == "saved_model":
        place = out or str(files.next_version(file.parent))
        return export.saved_model(loaded, place, representative=rows)
    if form == "onnx":
        place = out or str(file.parent / "model.onnx")
        return export.onnx(loaded, place, representative=rows, overwrite=out is None)
    name = f"model.{quantize}.tflite" if quantize else "model.tflite"
    return export.tflite(
        loaded,
        out or str(file.parent / name),
        quantize=quantize,
        representative=rows,
        overwrite=out is None,
    )


def _labelled(table, model, recipe):
    """Batches of a table's rows, with labels where it has the training's column."""
    frame, label = data.read_table(table), recipe.get("label")
    named = isinstance(label, str) and label in frame.columns
    return data.from_table(
        frame,
        model,
        label=label if named else None,
        columns=_columns(recipe, readers(model)),
        batch_size=32,
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


def _recipe(folder):
    """The recipe beside a model, or nothing."""
    path = folder / "recipe.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _columns(recipe, contracts):
    sources = recipe.get("sources", {})
    columns = {name: sources.get(name, {}).get("column") for name in contracts}
    return {name: column for name, column in columns.items() if column}
