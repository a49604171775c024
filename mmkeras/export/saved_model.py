"""A TensorFlow SavedModel with raw input, for TF Serving and for any TensorFlow."""

import keras

from mmkeras.export import card, checks, endpoints, foreign, given, warmup
from mmkeras.export.folder import size, whole_folder
from mmkeras.export.raw import Reader
from mmkeras.export.report import ExportReport


def saved_model(
    model,
    path,
    *,
    default="serve_raw",
    tolerance=1e-4,
    examples=None,
    overwrite=False,
    on_bad_value="raise",
    max_bytes=None,
    thresholds=0.5,
    representative=None,
):
    """Writes a model as a SavedModel that takes bytes and strings.

    The folder holds TensorFlow core operations alone (and those of hub modules in the
    model), every variable once, LoRA merged, and loads without mmkeras. The model stays
    as it is. Endpoints:

    - `serve_raw`: `<name>`, tf.string `(batch,)`: an encoded picture, a UTF-8 string,
      a WAV file's bytes, a line of CSV with a table's columns in the order of
      `Columns.columns`; the empty string is an absent modality. Gives "outputs" (as
      `model.predict`) and, behind a head of `mmkeras.heads`, "scores"
      `(batch, classes)`, "classes" `(batch, classes)`, the name of each score, and
      "class" `(batch,)`, the winner's name; of a multilabel head the names that reach
      their thresholds, joined by "|", and "chosen", bool `(batch, classes)`. A model
      with a dict of heads gives `<key>`, `<key>_scores` and so on.
    - `serve`: the model's own inputs, tensors `<name>` and `<name>_present`; gives the
      same.
    - `features`: takes what `serve_raw` takes, gives "features", the fused embedding.
      Of a model of `mmkeras.two_tower`, which fuses nothing, instead one for each
      modality, called as it is: `<name>` alone to "embedding", zeros where absent.
    - `classify`, and `regress` for a single number (`<key>_classify` with a dict of
      heads): what TF Serving's Classify and Regress calls want. "inputs", serialised
      tf.Examples with a bytes feature `<name>` for each modality that is there, to
      "classes" and "scores", or "outputs".

    A raw value is refused before it is decoded where it is too large, cut off or of
    another format. The request then ends with a message that names modality, row and
    reason, or, with `on_bad_value="absent"`, the value counts as a missing modality and
    `<name>_status` `(batch,)` says "read", "absent", or "refused: " and why. Damage
    inside a compressed picture, which its decoder alone sees, ends the request in both.
    TF Serving's Classify and Regress results have no place for a status: `classify` and
    `regress` answer a row with a refused value as if it were absent, without a sign.

    Before the folder appears under its name, it is loaded in Python and in the v1
    loader, the kind that TF Serving uses, and every answer of each endpoint is compared
    with `model.predict`. When anything fails, nothing is left behind. What goes in and
    out also stands in `assets.extra/mmkeras.json`; `read_card` reads it. Requests in
    `assets.extra/tf_serving_warmup_requests` make TF Serving's first answer quick.

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
        model: a model of `mmkeras.multimodal` or `mmkeras.two_tower`.
        path: folder to write, on this machine, such as "saved_models/products/1". TF
            Serving looks for integers, the versions, in the folder above; of another
            last part the report says so.
        default: the endpoint that is also `serving_default`: "serve", "serve_raw",
            "features", a tower's, or "classify" and the like where there are.
        tolerance: largest difference to `model.predict` that is let through, relative
            to the largest expected number where that is above 1.
        examples: optional dict, modality -> list of raw values to compare with: bytes,
            strings, or paths where the modality is read from files; "" where it is
            absent.
        overwrite: replace a SavedModel that lies at `path`.
        on_bad_value: "raise" or "absent", what becomes of a raw value that is refused.
        max_bytes: optional dict, modality -> Integer, larger raw values are refused.
            Default: `mmkeras.export.raw.MAX_BYTES`, by kind. Pixels are the contract's
            (`Pixels.max_pixels`), and of a clip its `seconds` alone are decoded.
        thresholds: Float, score from which a class of a multilabel head is chosen; or
            dict, class name -> Float, 0.5 for the others.
        representative: optional rows as `model.predict` takes them, a dict of arrays or
            an iterable of batches such as a `tf.data.Dataset`; the first 100 are
            compared too, at `serve`, where they come with labels scored, and timed.

    Returns:
        `ExportReport`; `print` shows it as a table.

    Raises:
        TypeError: `model` is no keras.Model.
        ValueError: `path` is not free, `default`, `on_bad_value` or a name in another
            argument is unknown, a limit or threshold is out of range, `model` was not
            made by `multimodal` or `two_tower`, a tower has the name of another
            endpoint, two answers have one name, a contract or layer has an operation
            that servers lack (such as `tf.numpy_function`), or the SavedModel differs
            from `model.predict`.
    """
    _check(model, default)
    reader = Reader(endpoints.in_order(model), on_bad_value, max_bytes)
    endpoints.check_names(model, reader.contracts if on_bad_value == "absent" else ())
    thresholds = endpoints.checked_thresholds(model, thresholds)
    with whole_folder(path, overwrite) as folder:
        asked = checks.questions(model, examples, reader, thresholds)
        custom_ops = _write(model, folder, default, reader, thresholds)
        raw, _ = asked["serve_raw"]
        warmup.write(folder, warmup.requests(model, raw, default))
        found = checks.compare(folder, asked, default)
        real = None
        if representative is not None:
            real = given.check(model, folder, representative)
        report = ExportReport(
            path=str(path),
            size=size(folder),
            endpoints=found,
            tolerance=tolerance,
            rows=len(next(iter(raw.values()))),
            custom_ops=custom_ops,
            given=real,
        )
        if not report.max_difference <= tolerance:
            raise ValueError(
                f"The SavedModel differs from `model.predict` by "
                f"{report.max_difference:.2g}, more than `tolerance`={tolerance:.2g}, "
                f"most in {report.farthest}; inf stands for NaN or a wrong word. "
                f"Nothing was written. Look for NaN weights or for layers that are "
                f"random at inference, or allow more.\n{report}"
            )
    return report


def _check(model, default):
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` wants a keras.Model made by `mmkeras.multimodal`. "
            f"Received: {model!r}"
        )
    checks.need_tensorflow("A SavedModel")
    names = endpoints.names(model)
    if default not in names:
        raise ValueError(f"`default` wants one of {names}. Received: {default!r}")


def _write(model, folder, default, reader, thresholds):
    import tensorflow as tf

    module, functions = endpoints.trace(model, reader, thresholds)
    signatures = {**functions, "serving_default": functions[default]}
    # nobody trains the export, and custom gradients (balance) need not be in it
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with checks.quiet():
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
    methods = endpoints.examples_endpoints(model)
    if default in methods:
        methods["serving_default"] = methods[default]
    _name_methods(folder, {x: y for x, (y, _) in methods.items()})
    card.write_card(folder, model, functions, default, reader, thresholds)
    return foreign.refuse(folder, model, reader.contracts, functions)


def _name_methods(folder, methods):
    """Says which signatures answer TF Serving's Classify and Regress calls.

    `tf.saved_model.save` writes that of Predict for all.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    if not methods:
        return
    file = folder / "saved_model.pb"
    saved = SavedModel.FromString(file.read_bytes())
    for name, method in methods.items():
        signature = saved.meta_graphs[0].signature_def[name]
        signature.method_name = endpoints.METHODS[method]
    file.write_bytes(saved.SerializeToString(deterministic=True))
    # a checksum of the file as it was; loaders do without
    (folder / "fingerprint.pb").unlink(missing_ok=True)
