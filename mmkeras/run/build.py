"""A recipe's words to a model: encoders, fusions and heads by name."""

import difflib
import inspect
import re

import keras

from mmkeras import audio, fusion, heads, hub, image, tabular, text
from mmkeras.fusion.base import Fusion
from mmkeras.fusion.late import LateFusion
from mmkeras.run import facts

_UNITS = 128  # width of the fused tensor where the recipe says nothing
_HEADS = {
    "classification": heads.classification,
    "multilabel": heads.multilabel,
    "regression": heads.regression,
}


def encoder(name, source, sentences=(), rows=None, on_bad_row="raise"):
    """The encoder that a recipe's `Source` names.

    Args:
        name: the modality, for error messages.
        source: `recipe.Source`.
        sentences: training sentences, for text encoders with a vocabulary of their own.
        rows: DataFrame, the training rows, for tabular encoders.
        on_bad_row: "raise" or "absent", for cells of those that cannot be read.

    Raises:
        ValueError: unknown encoder (near names listed) or wrong options.
    """
    if isinstance(source.encoder, keras.Model):
        return source.encoder
    builders = {"image": _image, "text": _text, "audio": _audio}
    try:
        if source.kind == "tabular":
            _function(tabular, source.encoder, "tabular")
            _no_weights(source)
            return facts.encoder(name, source, rows, on_bad_row)
        return builders[source.kind](source, sentences)
    except (TypeError, ValueError) as error:
        if not _refused(error):
            raise
        raise ValueError(
            f"Encoder '{source.encoder}' of '{name}' does not take these options: "
            f"{error}. Received: {source.options}"
        ) from error


def is_pretrained(source):
    """Whether the encoder comes with weights worth keeping."""
    if isinstance(source.encoder, keras.Model):
        return False
    if source.encoder.endswith(".keras") or source.encoder.startswith("hub:"):
        return True
    if source.kind == "image":
        return source.weights != "none"
    return source.encoder == "bert" or source.encoder in _PRETRAINED_AUDIO


def fusion_layer(name, options, head_layer=None):
    """A fusion by its short name: "gated", "concat", "late_product".

    Args:
        name: string.
        options: dict of its arguments.
        head_layer: the model's head; a late fusion gives as many outputs, of its kind.
    """
    made = _fusion(name)
    takes = inspect.signature(made.__init__).parameters
    if issubclass(made, LateFusion) and head_layer is not None:
        options = {**options, "units": head_layer.units, "kind": head_layer.kind}
    elif "units" in takes and "units" not in options:
        options = {**options, "units": _UNITS}
    try:
        return made(**options, name="fusion")
    except (TypeError, ValueError) as error:
        if not _refused(error):
            raise
        raise ValueError(
            f"Fusion '{name}' does not take these options: {error}. Received: {options}"
        ) from error


def fusions():
    """Every fusion class by its short name."""
    found = {}
    for key in fusion.__all__:
        value = getattr(fusion, key)
        if isinstance(value, type) and issubclass(value, Fusion) and value != Fusion:
            snake = re.sub(r"(?<=[a-z])(?=[A-Z][a-z]|MLP)", "_", key).lower()
            found[snake.removesuffix("_fusion")] = value
    return found


def head(task, classes, dropout=0.0, fusion="gated"):
    """`heads.Head` for a task of the recipe; a late fusion's only names its outputs."""
    late = issubclass(_fusion(fusion), LateFusion)
    return _HEADS[task](classes, dropout=dropout, dense=not late)


def _fusion(name):
    names = fusions()
    if name not in names:
        near = difflib.get_close_matches(name, names, 3)
        raise ValueError(
            f"Unknown fusion '{name}'. Near names: {near}. Valid names: {sorted(names)}"
        )
    return names[name]


def _image(source, _):
    if source.encoder.endswith(".keras"):
        return image.from_model(source.encoder, **source.options)
    if source.encoder.startswith("hub:"):
        return hub.saved_model(source.encoder.removeprefix("hub:"), **source.options)
    make = _function(image, source.encoder, "image")
    options = dict(source.options)
    if source.weights is not None:
        options["weights"] = None if source.weights == "none" else source.weights
    return make(**options)


def _text(source, sentences):
    if source.encoder == "bert":
        if not source.weights:
            raise ValueError(
                "A bert encoder wants a checkpoint: `--text NAME=bert:FOLDER`, a "
                "folder in the Hugging Face layout or a name on its hub."
            )
        return text.bert(source.weights, **source.options)
    make = _function(text, source.encoder, "text")
    _no_weights(source)
    options = dict(source.options)
    size = options.pop("vocabulary_size", 2000)
    return make(text.wordpiece_vocabulary(list(sentences), size=size), **options)


def _audio(source, _):
    make = _function(audio, source.encoder, "audio")
    if source.encoder in _PRETRAINED_AUDIO:
        if not source.weights:
            what = _PRETRAINED_AUDIO[source.encoder]
            raise ValueError(
                f"Encoder '{source.encoder}' wants {what} behind its name: "
                f"`--audio NAME={source.encoder}:...`."
            )
        return make(source.weights, **source.options)
    _no_weights(source)
    return make(**source.options)


def _no_weights(source):
    if source.weights not in (None, "none"):
        raise ValueError(
            f"Encoder '{source.encoder}' has no pretrained weights. Received: "
            f"{source.weights!r} behind its name. Leave it out."
        )


def _refused(error):
    """Whether an error says that an argument has a name that nobody knows."""
    return isinstance(error, TypeError) or "Unrecognized keyword" in str(error)


def _function(module, name, kind):
    """An encoder function of a sub-package, by name."""
    valid = [
        x
        for x in module.__all__
        if inspect.isfunction(getattr(module, x)) and x not in _NOT_ENCODERS
    ]
    if name not in valid:
        near = difflib.get_close_matches(name, valid, 3)
        raise ValueError(
            f"Unknown {kind} encoder '{name}'. Near names: {near}. Valid names: "
            f"{sorted(valid)}" + (", a .keras file, hub:FOLDER" * (kind == "image"))
        )
    return getattr(module, name)


#: What stands behind the colon.
_PRETRAINED_AUDIO = {
    "moonshine": "a preset of keras_hub",
    "whisper": "a preset of keras_hub",
    "yamnet": "the folder or URL of a module",
}
_NOT_ENCODERS = (
    "network",
    "from_model",
    "wordpiece_vocabulary",
    "encode_wav",
    "decode_wav",
)
