"""A TensorFlow SavedModel with raw input, for TF Serving and for any TensorFlow."""

import keras

from mmkeras.export import card, checks, endpoints
from mmkeras.export.folder import size, whole_folder
from mmkeras.export.report import ExportReport


def saved_model(
    model,
    path,
    *,
    default="serve_raw",
    tolerance=1e-4,
    examples=None,
    overwrite=False,
):
    """Writes a model as a SavedModel that takes bytes and strings.

    The folder holds TensorFlow core operations alone (and those of hub modules in the
    model), every variable once, and loads without mmkeras. Endpoints:

    - `serve_raw`: `<name>`, tf.string `(batch,)`: an encoded picture, a UTF-8 string,
      a WAV file's bytes, a line of CSV with a table's columns in the order of
      `Columns.columns`; the empty string is an absent modality. Gives "outputs" (as
      `model.predict`) and, behind a head of `mmkeras.heads`, "scores"
      `(batch, classes)`, "classes" `(batch, classes)`, the name of each score, and for
      single labels "class" `(batch,)`, the winner's name. A model with a dict of heads
      gives `<key>`, `<key>_scores` and so on.
    - `serve`: the model's own inputs, tensors `<name>` and `<name>_present`; gives the
      same.
    - `features`: takes what `serve_raw` takes, gives "features", the fused embedding.

    Before the folder appears under its name, it is loaded in Python and in the v1
    loader, the kind that TF Serving uses, and each endpoint is compared with
    `model.predict`. When anything fails, nothing is left behind. What goes in and out
    also stands in `assets.extra/mmkeras.json`; `read_card` reads it.

    Example:
    >>> import tempfile
    >>> pixels = mm.image.Pixels((8, 8))
    >>> image = mm.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> model = mm.multimodal(
    ...     {"photo": tiny},
    ...     mm.fusion.Concat(),
    ...     mm.heads.classification(["cat", "dog"]).layer,
    ... )
    >>> folder = tempfile.mkdtemp()
    >>> report = mm.export.saved_model(model, f"{folder}/pets/1")
    >>> report.max_difference < 1e-4
    True
    >>> mm.export.read_card(f"{folder}/pets/1")["outputs"]["outputs"]["classes"]
    ['cat', 'dog']

    Args:
        model: a model of `mmkeras.multimodal`.
        path: folder to write, on this machine, such as "saved_models/products/1". TF
            Serving wants the last part to be a positive integer, the version.
        default: the endpoint that is also `serving_default`: "serve", "serve_raw" or
            "features".
        tolerance: largest difference to `model.predict` that is let through, relative
            to the largest expected number where that is above 1.
        examples: optional dict, modality -> list of raw values to compare with: bytes,
            strings, or paths where the modality is read from files; "" where it is
            absent.
        overwrite: replace a SavedModel that lies at `path`.

    Returns:
        `ExportReport`; `print` shows it as a table.

    Raises:
        TypeError: `model` is no keras.Model.
        ValueError: `path` is not free, `default` or a modality in `examples` is
            unknown, `model` was not made by `multimodal`, or the SavedModel differs
            from `model.predict`.
    """
    _check(model, default)
    with whole_folder(path, overwrite) as folder:
        _write(model, folder, default)
        asked = checks.questions(model, examples)
        found = checks.compare(folder, asked)
        report = ExportReport(
            path=str(path),
            size=size(folder),
            endpoints=found,
            tolerance=tolerance,
            rows=len(next(iter(asked["serve_raw"][0].values()))),
            custom_ops=checks.custom_ops(folder),
        )
        if not report.max_difference <= tolerance:
            raise ValueError(
                f"The SavedModel differs from `model.predict` by "
                f"{report.max_difference:.2g}, more than `tolerance`={tolerance:.2g}; "
                f"inf stands for NaN. Nothing was written. Look for NaN weights or for "
                f"layers that are random at inference, or allow more.\n{report}"
            )
    return report


def _check(model, default):
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` wants a keras.Model made by `mmkeras.multimodal`. "
            f"Received: {model!r}"
        )
    if default not in endpoints.NAMES:
        raise ValueError(
            f"`default` wants one of {endpoints.NAMES}. Received: {default!r}"
        )
    checks.need_tensorflow("A SavedModel")


def _write(model, folder, default):
    import tensorflow as tf

    module, functions = endpoints.trace(model)
    signatures = {**functions, "serving_default": functions[default]}
    # nobody trains the export, and custom gradients (balance) need not be in it
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with checks.quiet():
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
    card.write_card(folder, model, functions, default)
