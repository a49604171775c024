"""Weights for the networks of `keras.applications`: downloaded, or from a file."""

import contextlib
import os
import socket

import keras
import numpy as np

#: Seconds without an answer after which a download counts as failed.
_TIMEOUT = 10.0

# what Keras' EfficientNet files hold as the variance of their first layer
_EFFICIENTNET_STD = (0.229, 0.224, 0.225)


def imagenet(name, build, options):
    """Builds a network with ImageNet weights, or says how to do without a download."""
    try:
        with _impatient():
            return build(weights="imagenet", **options)
    except (OSError, ValueError):
        raise
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        if "URL fetch failure" not in str(error):
            raise
        raise OSError(
            f"`weights`='imagenet' could not be downloaded: {error}. Give a file that "
            f"was fetched elsewhere, mmkeras.image.{name}(weights='path/to/file.h5'), "
            f"or random weights, weights=None."
        ) from error


def load_weights(graph, path, row):
    """Loads a file into a network that was built with random weights.

    Args:
        graph: the network, a functional `keras.Model`.
        path: path of a `.weights.h5`, `.h5` or `.keras` file.
        row: the network's row of `mmkeras.encoders`.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`weights` wants 'imagenet', None or the path of a .weights.h5, .h5 or "
            f".keras file. Received: no file at '{path}'"
        )
    if path.endswith(".keras"):
        _copy_weights(keras.models.load_model(path, compile=False), graph, path)
    elif path.endswith(".h5"):
        _load_h5(graph, path, row)
    else:
        raise ValueError(
            f"`weights` wants a .weights.h5, .h5 or .keras file. Received: '{path}'"
        )
    if row.family == "efficientnet":
        _finish_efficientnet(graph)


def _load_h5(graph, path, row):
    try:
        graph.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"`weights` wants a file of {row.application} without its classification "
            f"top (include_top=False). Received: '{path}', which does not fit: {error}"
        ) from error


def _copy_weights(source, graph, path):
    """Copies weights layer by layer in the graph's order; a longer source has a top."""
    pairs = zip(_with_weights(graph), _with_weights(source), strict=False)
    count = 0
    for layer, other in pairs:
        count += 1
        shapes = [tuple(w.shape) for w in layer.weights]
        theirs = [tuple(w.shape) for w in other.weights]
        if shapes != theirs:
            raise ValueError(
                f"`weights` wants a file of the same network. Received: '{path}', "
                f"whose layer '{other.name}' {theirs} stands where "
                f"'{layer.name}' {shapes} is"
            )
        _set(layer, other.get_weights())
    if count < len(_with_weights(graph)):
        raise ValueError(
            f"`weights` wants a file of the same network. Received: '{path}' with "
            f"{count} layers that have weights, of {len(_with_weights(graph))}"
        )


def _with_weights(model):
    """Layers with learnt weights, nested models opened; noise layers own seeds only."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _with_weights(layer)
        elif any(w.dtype.startswith(("float", "bfloat")) for w in layer.weights):
            found.append(layer)
    return found


def _set(layer, values):
    layer.set_weights(values)
    if hasattr(layer, "finalize_state"):  # Normalization caches its mean
        layer.finalize_state()


def _finish_efficientnet(graph):
    """Divides by the deviation once more where the file is Keras' ImageNet one.

    Those files hold the deviation where a variance is wanted; Keras adds a layer that
    mends it, but only with weights="imagenet". From a path the graph lacks that layer.
    """
    for layer in graph.layers:
        if not isinstance(layer, keras.layers.Normalization):
            continue
        mean, variance, *rest = layer.get_weights()
        if np.allclose(variance.ravel(), _EFFICIENTNET_STD, atol=1e-4):
            deviation = np.array(_EFFICIENTNET_STD, variance.dtype)
            scaled = variance * deviation.reshape(variance.shape)
            _set(layer, [mean, scaled, *rest])


@contextlib.contextmanager
def _impatient():
    """A dead network is an error after seconds, not after the system's minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
