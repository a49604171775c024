"""What a feature depends on, as one hash: the encoder, its contract and the cell.

A feature is a function of the encoder's weights, its graph, the contract at its head
(picture size, kernel, sampling rate, vocabulary), the code that computes it, and the
cell. Names that Keras draws anew in each build are left out.
"""

import hashlib
import importlib.metadata
import json
import re
import tempfile
from pathlib import Path

import keras
import numpy as np

_PACKAGES = ("mmkeras", "keras", "tensorflow")


#: The key of every absent cell: they all have the feature of an empty one.
ABSENT = bytes(16)


def tensor_key(tensor):
    """16 bytes that stand for one example's tensor, as a dataset gives it."""
    return hashlib.blake2b(_bytes(tensor), digest_size=16, person=b"tensor").digest()


def encoder_digest(encoder):
    """Hexadecimal hash of all that an encoder's features depend on but the cell.

    Two builds of the same encoder agree, and so does one that was saved and loaded.

    Example:
    >>> pixels = mm.image.Pixels((8, 8))
    >>> image = mm.modality.tensor_input(pixels, "image")
    >>> encoder = keras.Model(image, keras.layers.Dense(2)(pixels(image)))
    >>> before = mm.transfer.digest.encoder_digest(encoder)
    >>> encoder.set_weights([w + 1 for w in encoder.get_weights()])
    >>> mm.transfer.digest.encoder_digest(encoder) == before
    False

    Args:
        encoder: functional `keras.Model`.

    Returns:
        string of 32 characters.
    """
    digest = hashlib.blake2b(digest_size=16)
    config = _canonical(keras.saving.serialize_keras_object(encoder))
    versions = {x: importlib.metadata.version(x) for x in _PACKAGES}
    about = [config, versions, keras.backend.backend()]
    digest.update(json.dumps(about, sort_keys=True, default=repr).encode())
    for weight in encoder.weights:
        value = keras.ops.convert_to_numpy(weight)
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(_bytes(value))
    for layer in _layers(encoder):
        digest.update(_code(type(layer)).encode())
        _add_assets(digest, layer)
    return digest.hexdigest()


def _bytes(array):
    return np.ascontiguousarray(array).reshape(-1).view("uint8")


def _canonical(config):
    """A serialised object without names, flags and losses of training.

    A layer of a graph is known by its place in it. A layer inside a layer keeps its
    name without the number that Keras puts behind it.
    """
    if isinstance(config, list | tuple):
        return [_canonical(x) for x in config]
    if not isinstance(config, dict):
        return config
    kept = {k: v for k, v in config.items() if k != "compile_config"}
    inner = kept.get("config")
    if "class_name" in kept and isinstance(inner, dict):
        inner = {k: v for k, v in inner.items() if k != "trainable"}
        if isinstance(inner.get("layers"), list) and "input_layers" in inner:
            return {**kept, "config": _canonical(_graph(inner)), "name": None}
        if isinstance(inner.get("name"), str):
            inner["name"] = _unnumbered(inner["name"], kept["class_name"])
        kept["config"] = inner
    return {key: _canonical(value) for key, value in kept.items()}


def _graph(config):
    """A graph's config with its layers named by their places."""
    places = {x["config"]["name"]: f"#{i}" for i, x in enumerate(config["layers"])}

    def placed(value):
        if isinstance(value, list | tuple):
            if len(value) == 3 and isinstance(value[0], str) and value[0] in places:
                return [places[value[0]], *value[1:]]
            return [placed(x) for x in value]
        if isinstance(value, dict):
            return {key: placed(x) for key, x in value.items()}
        return value

    layers = [
        {
            **layer,
            "name": places[layer["config"]["name"]],
            "config": {**layer["config"], "name": places[layer["config"]["name"]]},
            "inbound_nodes": placed(layer["inbound_nodes"]),
        }
        for layer in config["layers"]
    ]
    ends = {x: placed(config[x]) for x in ("input_layers", "output_layers")}
    return {**config, **ends, "name": None, "layers": layers}


def _unnumbered(name, class_name):
    """An LSTM called "forward_lstm_3" without the number; other names as they are."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name)
    return re.sub(rf"({re.escape(snake.lower())})_\d+$", r"\1", name)


def _layers(model):
    """All layers, those inside layers too, in the graph's order."""
    for layer in model.layers:
        yield from layer._flatten_layers()


def _code(kind):
    """The compiled methods of a class that is not Keras' own, as text."""
    return repr(
        [
            (name, _plain(code))
            for base in kind.__mro__
            if base.__module__.split(".")[0] not in ("keras", "builtins", "tensorflow")
            for name, value in sorted(vars(base).items())
            if (code := getattr(_function(value), "__code__", None))
        ]
    )


def _function(value):
    if isinstance(value, property):
        return value.fget
    return getattr(value, "__func__", value)


def _plain(code):
    """Byte code without file names and line numbers; a set has no order of its own."""
    if hasattr(code, "co_code"):
        return code.co_code, code.co_names, [_plain(x) for x in code.co_consts]
    return sorted(map(repr, code)) if isinstance(code, frozenset) else repr(code)


def _add_assets(digest, layer):
    """Files that a layer keeps beside its weights: a vocabulary, a SavedModel."""
    if not hasattr(layer, "save_assets"):
        return
    with tempfile.TemporaryDirectory() as folder:
        layer.save_assets(folder)
        for path in sorted(Path(folder).rglob("*")):
            # a SavedModel's fingerprint is a random number
            if path.is_file() and path.name != "fingerprint.pb":
                digest.update(str(path.relative_to(folder)).encode())
                digest.update(path.read_bytes())
