"""The networks of `keras.applications` as encoders, from the table in `encoders`.

The network's layers stand in the encoder's own graph, behind `Pixels` with the scaling
that its ImageNet weights were trained with: `encoder.get_layer("conv4_block6_out")`.
"""

import keras

from mmkeras import dropout, encoders
from mmkeras.image.augment import augmented
from mmkeras.image.features import FeatureTokens, check_pooling
from mmkeras.image.pixels import Pixels
from mmkeras.image.weights import imagenet, load_weights
from mmkeras.modality import tensor_input

_POOLING = {"mean": "avg", "max": "max", None: None}


def network(
    application,
    size=None,
    weights="imagenet",
    pooling="mean",
    trainable=True,
    name=None,
    augment=None,
):
    """A network of `keras.applications` as an encoder, by its name.

    Example:
    >>> encoder = mmkeras.image.network("mobilenet", size=(32, 32), weights=None)
    >>> encoder.output_shape
    (None, 1024)

    Args:
        application: name in the table of `mmkeras encoders`, such as "resnet50".
        size: pair of integers (height, width) in pixels; default: the network's own.
        weights: "imagenet" (downloaded once), None for random ones, or the path of a
            `.weights.h5`, `.h5` or `.keras` file of the same network.
        pooling: "mean" or "max" over places, or None for tokens, one a place.
        trainable: Boolean, False gives a frozen encoder.
        name: name of the encoder; default: that of the network.
        augment: optional Keras layer, or list of them, on RGB 0-255 in training alone:
            `keras.layers.RandomFlip("horizontal")`, `mmkeras.image.RandAugment()`.

    Returns:
        `keras.Model` with the input "image" `(batch, height, width, 3)`, RGB 0-255. Its
        output is `(batch, dim)`, or with `pooling=None` `{"tokens": (batch, length,
        dim), "mask": (batch, length)}`.

    Raises:
        ValueError: an unknown network (the message lists near names), a size too small,
            weights of another network, or a layer in `augment` that does not fit.
        OSError: the weights cannot be downloaded, or the file is not there.
    """
    row = encoders.find(application, "image")
    check_pooling(pooling)
    scaling = encoders.FAMILIES[row.family].scaling
    pixels = Pixels(size or row.size, scaling, name="pixels")
    _check_size(row, pixels.size)
    image = tensor_input(pixels, "image")
    x = pixels(augmented(image, augment))
    graph = _application(row, x, pixels.tensor_shape, weights, pooling)
    output = graph.output
    if pooling is None:
        output = FeatureTokens(name="tokens")(output)
    encoder = keras.Model(image, output, name=name or row.name)
    encoder = dropout.resting(encoder)
    if not trainable:
        encoder.trainable = False
    return encoder


def _application(row, scaled, shape, weights, pooling):
    build = getattr(keras.applications, row.application)
    options = {
        "include_top": False,
        "input_tensor": scaled,
        "input_shape": shape,
        "pooling": _POOLING[pooling],
    }
    if weights == "imagenet":
        return imagenet(row.name, build, options)
    graph = build(weights=None, **options)
    if weights is not None:
        load_weights(graph, weights, row)
    return graph


def _check_size(row, size):
    least = encoders.FAMILIES[row.family].min_size
    if min(size) < least:
        raise ValueError(
            f"`size` wants at least ({least}, {least}) for {row.name}. "
            f"Received: size={size}"
        )


def _function(application):
    """The encoder function of one network."""
    row = encoders.find(application, "image")
    family = encoders.FAMILIES[row.family]

    def build(
        size=(row.size, row.size),
        weights="imagenet",
        pooling="mean",
        trainable=True,
        name=None,
        augment=None,
    ):
        return network(application, size, weights, pooling, trainable, name, augment)

    build.__name__ = build.__qualname__ = application
    build.__doc__ = f"""{row.application} as an encoder: {family.choose}.

    {row.parameters:g} M parameters, {row.gflops:g} GFLOPs at {row.input}, {row.width}
    features, ImageNet weights under {family.licence}.

    Args:
        size: pair of integers (height, width) in pixels.
        weights: "imagenet", None, or the path of a weights file.
        pooling: "mean", "max", or None for tokens.
        trainable: Boolean, False gives a frozen encoder.
        name: name of the encoder.
        augment: optional Keras layer on RGB 0-255, or list of them.

    Returns:
        `keras.Model`, as `mmkeras.image.network` describes it.

    Reference:
        {family.paper}
    """
    return build


mobilenetv3small = _function("mobilenetv3small")
mobilenetv3large = _function("mobilenetv3large")
mobilenet = _function("mobilenet")
mobilenetv2 = _function("mobilenetv2")
efficientnetb0 = _function("efficientnetb0")
efficientnetb1 = _function("efficientnetb1")
efficientnetb2 = _function("efficientnetb2")
efficientnetb3 = _function("efficientnetb3")
efficientnetb4 = _function("efficientnetb4")
efficientnetb5 = _function("efficientnetb5")
efficientnetb6 = _function("efficientnetb6")
efficientnetb7 = _function("efficientnetb7")
efficientnetv2b0 = _function("efficientnetv2b0")
efficientnetv2b1 = _function("efficientnetv2b1")
efficientnetv2b2 = _function("efficientnetv2b2")
efficientnetv2b3 = _function("efficientnetv2b3")
efficientnetv2s = _function("efficientnetv2s")
efficientnetv2m = _function("efficientnetv2m")
efficientnetv2l = _function("efficientnetv2l")
resnet50 = _function("resnet50")
resnet101 = _function("resnet101")
resnet152 = _function("resnet152")
resnet50v2 = _function("resnet50v2")
resnet101v2 = _function("resnet101v2")
resnet152v2 = _function("resnet152v2")
densenet121 = _function("densenet121")
densenet169 = _function("densenet169")
densenet201 = _function("densenet201")
convnexttiny = _function("convnexttiny")
convnextsmall = _function("convnextsmall")
convnextbase = _function("convnextbase")
convnextlarge = _function("convnextlarge")
convnextxlarge = _function("convnextxlarge")
xception = _function("xception")
inceptionv3 = _function("inceptionv3")
inceptionresnetv2 = _function("inceptionresnetv2")
nasnetmobile = _function("nasnetmobile")
nasnetlarge = _function("nasnetlarge")
vgg16 = _function("vgg16")
vgg19 = _function("vgg19")
