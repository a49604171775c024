"""A user's own Keras model as a picture encoder."""

import os

import keras

from mmkeras import dropout
from mmkeras.image.augment import augmented
from mmkeras.image.features import check_pooling, pool
from mmkeras.image.pixels import Pixels
from mmkeras.modality import tensor_input

_SIZE = (224, 224)


def from_model(
    model,
    size=None,
    scaling="none",
    pooling="mean",
    trainable=True,
    name=None,
    augment=None,
):
    """Makes an encoder of a Keras model that takes pictures.

    The model is copied layer by layer behind a `Pixels` contract: layer names stay, so
    freezing by name works, and the model given is left alone. Dropout becomes dropout
    that rests while frozen.

    Example:
    >>> picture = keras.Input((None, None, 3))
    >>> model = keras.Model(picture, keras.layers.Conv2D(4, 3)(picture))
    >>> mmkeras.image.from_model(model, size=(8, 8), scaling="unit").output_shape
    (None, 4)

    Args:
        model: functional or Sequential `keras.Model` with one input
            `(batch, height, width, 3)` and one output, a vector, tokens or a feature
            map; or the path of one in a `.keras` file, which is read in safe mode.
        size: pair of integers (height, width) in pixels; default: the model's own, or
            224 x 224 where it takes any.
        scaling: what the model wants of RGB 0-255, as `Pixels` takes it.
        pooling: "mean" or "max" over places, or None for tokens; a model that gives a
            vector keeps it.
        trainable: Boolean, False gives a frozen encoder.
        name: name of the encoder; default: the model's.
        augment: optional Keras layer on RGB 0-255, or list of them, as `network`.

    Returns:
        `keras.Model` with the input "image" `(batch, height, width, 3)`.

    Raises:
        ValueError: the file is no `.keras` archive or holds code, the model has other
            inputs or outputs, or `size` contradicts the model.
        TypeError: `model` is neither a functional model nor a path.
    """
    check_pooling(pooling)
    if isinstance(model, str | os.PathLike):
        model = _load(os.fspath(model))
    graph = _graph(model, size)
    pixels = Pixels(_size(graph, size), scaling, name="pixels")
    image = tensor_input(pixels, "image")
    copy = _behind(image, pixels(augmented(image, augment)), graph)
    encoder = keras.Model(
        image, pool(copy.outputs[0], pooling), name=name or model.name
    )
    if not trainable:
        encoder.trainable = False
    return encoder


def _load(path):
    if not os.path.isfile(path):
        raise ValueError(f"`model` wants a .keras file. Received: no file at '{path}'")
    return keras.models.load_model(path, compile=False, safe_mode=True)


def _graph(model, size):
    """The model as a plain functional graph with one input, sharing its layers."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` wants a keras.Model or a path. Received: {type(model).__name__}"
        )
    if isinstance(model, keras.Sequential) and not model.built and size is not None:
        model.build((None, *Pixels(size).tensor_shape))
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise TypeError(
            f"`model` wants a functional or Sequential model whose graph is known. "
            f"Received: '{model.name}', a {type(model).__name__}. Give `size` to an "
            f"unbuilt Sequential; write a subclassed model as a functional one."
        )
    shapes = [tuple(x.shape) for x in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(
            f"`model` wants one input (batch, height, width, 3). "
            f"Received: '{model.name}' with {shapes}"
        )
    if len(model.outputs) != 1:
        raise ValueError(
            f"`model` wants one output. Received: '{model.name}' with "
            f"{[tuple(x.shape) for x in model.outputs]}. Cut it: "
            f"keras.Model(model.input, model.get_layer(...).output)"
        )
    graph = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    dropout.warn_of_others(graph)
    return graph


def _size(graph, size):
    own = graph.inputs[0].shape[1:3]
    if size is None:
        return tuple(b if a is None else a for a, b in zip(own, _SIZE, strict=True))
    size = Pixels(size).size
    if any(a not in (None, b) for a, b in zip(own, size, strict=True)):
        raise ValueError(
            f"`size` wants {own}, what model '{graph.name}' takes. "
            f"Received: size={size}"
        )
    return size


def _behind(image, scaled, graph):
    """A copy of `graph` on the input `image` that sees `scaled` in its place."""

    def call(layer, *args, **kwargs):
        args, kwargs = keras.tree.map_structure(
            lambda x: scaled if x is image else x, (args, kwargs)
        )
        return layer(*args, **kwargs)

    return dropout.copy(graph, input_tensors=image, call_function=call)
