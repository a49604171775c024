"""A trained model as a SavedModel, a TFLite or an ONNX file: `mmkeras export`."""

import json
from pathlib import Path

import numpy as np

from mmkeras import data, export
from mmkeras.export import card
from mmkeras.export.lite_quantize import MODES
from mmkeras.load import load_model
from mmkeras.model import readers
from mmkeras.run import apply, files

FORMS = ("saved_model", "tflite", "onnx")
#: Rows of a table that an export is compared on.
_SEEN = {"saved_model": 100, "tflite": 300, "onnx": 100}


def export_model(
    model, out=None, trust=False, form="saved_model", quantize=None, table=None
):
    """Exports a trained model: a SavedModel's next version, a TFLite or an ONNX file.

    Args:
        model: path of a `.keras` file or of a folder with model.keras.
        out: version folder; default: the next number beside the model. Else a file;
            default: model.onnx, model.tflite or model.<quantize>.tflite beside it. Of
            several forms a folder, in which they are called as beside the model.
        trust: True to load the SavedModel inside a hub encoder.
        form: "saved_model", "tflite" or "onnx", or several with commas between.
        quantize: for "tflite": None, "float16", "dynamic" or "int8".
        table: path of a table; on 300 of its rows, drawn with a fixed seed (SavedModel
            and ONNX: 100), the export is compared and, where it has the label column of
            the training, scored; "int8" takes its ranges from them.

    Yields:
        The report of each form, once it is written: of `export.saved_model`,
        `export.tflite` or `export.onnx`. One that fails ends it.
    """
    forms = _forms(form, out, quantize, table)
    file = apply.find_model(model)
    frame = None if table is None else data.read_table(table)
    loaded = load_model(file, safe_mode=not trust)
    recipe = apply._recipe(file.parent)
    named = out is not None and len(forms) == 1
    folder = file.parent if out is None else Path(out)
    for form in forms:
        place = out if named else _place(folder, form, quantize)
        options = {"overwrite": not named} if form != "saved_model" else {}
        if form == "tflite":
            options["quantize"] = quantize
        if frame is not None:
            rows = _labelled(frame, loaded, recipe, _SEEN[form])
            options["representative"] = rows
        report = getattr(export, form)(loaded, place, **options)
        if recipe:
            _keep_recipe(place, recipe)
        yield report


def _forms(form, out, quantize, table):
    """The forms that are asked for, as a list, where the rest fits them."""
    forms = list(dict.fromkeys(x.strip() for x in form.split(",")))
    if set(forms) - set(FORMS):
        raise ValueError(
            f"`--to` wants one of {FORMS}, or several with commas between. "
            f"Received: {form!r}"
        )
    if quantize and "tflite" not in forms:
        raise ValueError("`--quantize` is for TFLite files: add `--to tflite`.")
    if quantize not in MODES:
        raise ValueError(
            f"`--quantize` wants one of {MODES[1:]}. Received: {quantize!r}"
        )
    if quantize == "int8" and table is None:
        raise ValueError(
            "`--quantize int8` wants rows, to see how large numbers become: add "
            "`--data TABLE`, or take `--quantize dynamic`."
        )
    a_file = out and (Path(out).is_file() or Path(out).suffix in card.SUFFIXES)
    if a_file and len(forms) > 1:
        raise ValueError(
            f"`--out` wants a folder for several forms, {forms}. Received: {out!r}, a "
            f"file. Ask for one form, or give a folder."
        )
    return forms


def _place(folder, form, quantize):
    """What an export is called where nobody says so."""
    if form == "saved_model":
        return str(files.next_version(folder))
    name = f"model.{quantize}" if form == "tflite" and quantize else "model"
    return str(folder / f"{name}.{form}")


def _keep_recipe(place, recipe):
    """Says in an export's card what a table's columns are called: it may be moved."""
    place = Path(place)
    file = card.beside(place) if place.is_file() else place / card.FILE
    described = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: recipe[key] for key in ("label", "split") if key in recipe}
    kept["sources"] = {
        name: {"column": source.get("column")}
        for name, source in recipe.get("sources", {}).items()
    }
    text = json.dumps({**described, "recipe": kept}, indent=2, ensure_ascii=False)
    files.write_text(file, text)


def _labelled(frame, model, recipe, count):
    """Batches of a table's rows, with labels where it has the training's column."""
    if len(frame) > count:  # a table may be sorted by class
        drawn = np.random.default_rng(0).choice(len(frame), count, replace=False)
        chosen = frame.iloc[np.sort(drawn)]
        chosen.attrs.update(frame.attrs)
        frame = chosen
    label = recipe.get("label")
    named = isinstance(label, str) and label in frame.columns
    return data.from_table(
        frame,
        model,
        label=label if named else None,
        columns=apply._columns(recipe, readers(model)),
        batch_size=32,
    )
