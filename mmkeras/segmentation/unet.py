"""A U-Net over an image encoder, steered by a sentence."""

import keras

from mmkeras.image.coordinates import Coordinates
from mmkeras.modality import contract
from mmkeras.model import check_encoders, encoded
from mmkeras.presence import ZeroAbsent
from mmkeras.segmentation.layers import AskWords, Enlarge, Modulate


def unet(
    encoders,
    classes=1,
    *,
    units=(64, 48, 32),
    blocks=2,
    layers=3,
    skips=None,
    name="unet",
):
    """Finds the pixels that the other modalities speak of.

    The encoder's maps x_0 (finest) ... x_S; z_S = x_S, then from coarse to fine z_s =
    block_s([enlarge(z_{s+1}); x_s]), each block `blocks` times

        z = relu((1 + sum_m G_m e_m) * norm(conv([z; column; row])) + sum_m B_m e_m)

    with e_m what the other encoders give: FiLM, in every block. Of an encoder that
    gives tokens (`pooling=None`) the words and the places of x_S ask each other first
    (`AskWords`), and e_m is the mean of the words after that: take it where a sentence
    tells things by their place among others. An absent modality says nothing, an absent
    picture is a map of zeros. Without another modality it is a plain U-Net.

    Inputs are those of `multimodal`, `<name>` and `<name>_present`; the output, logits
    `(batch, height, width, classes)` at the picture's size. Train it with `MaskLoss`
    and Keras' metrics, `keras.metrics.BinaryIoU([1], threshold=0.0)` for one class (0
    is the logit of probability 1/2), else `keras.metrics.MeanIoU(classes,
    sparse_y_pred=False)`. Freezing, saving and `mmkeras.export.saved_model` work as
    with `multimodal`.

    Example:
    >>> image = keras.Input((16, 16, 3))
    >>> x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu")(image)
    >>> x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(x)
    >>> photo = mmkeras.image.from_model(keras.Model(image, x), scaling="tf")
    >>> words = mmkeras.text.wordpiece_vocabulary(["the red circle"])
    >>> title = mmkeras.text.embedding_mean(words, length=8)
    >>> encoders = {"photo": photo, "title": title}
    >>> model = mmkeras.segmentation.unet(encoders, units=(8, 6, 4))
    >>> model.output_shape
    (None, 16, 16, 1)

    Args:
        encoders: dict, modality -> `keras.Model`: one of pictures, of
            `mmkeras.image.network` or `from_model`, and any number of others.
        classes: Integer, channels of the output: 1 for a mask, or the number of
            classes, the ground among them.
        units: integers, channels of the blocks, from coarse to fine: one for each of
            the encoder's maps, those that are left over are not used.
        blocks: Integer, convolutions of each block.
        layers: Integer, blocks of `AskWords` where an encoder gives tokens; its width
            is `units[0]`, a multiple of 4.
        skips: names of the image encoder's layers whose maps are used, from coarse to
            fine. Default: the first `len(units)` of `skip_layers(encoder)`.
        name: name of the model.

    Returns:
        A plain `keras.Model`. Each encoder is its layer `<name>_encoder`.
        Leave the encoder's own `augment` out: it moves the picture and not the mask.

    Raises:
        ValueError: not exactly one encoder of pictures, an unknown layer or one without
            a map, numbers out of range, or as `multimodal`.

    Reference:
        Ronneberger et al. 2015, arXiv:1505.04597; Perez et al. 2018, arXiv:1709.07871;
        coordinates as Liu et al. 2018, arXiv:1807.03247. Departs: bilinear enlarging,
        padded convolutions, any encoder.
    """
    check_encoders(encoders)
    picture = _picture(encoders)
    units = list(units)
    names = list(skips or skip_layers(encoders[picture])[: len(units)])
    _check(names, units, classes, blocks)
    size = contract(encoders[picture]).tensor_shape[:2]
    made = {**encoders, picture: _with_maps(encoders[picture], names)}
    inputs, features, presence = encoded(made)
    maps = features.pop(picture)
    maps = maps if isinstance(maps, list) else [maps]
    maps = {f"map_{i}": x for i, x in enumerate(maps)}
    there = {key: presence[picture] for key in maps}
    maps = list(ZeroAbsent(name="present_maps")(maps, there).values())
    maps[0], features = _said(maps[0], features, presence, picture, units[0], layers)
    x = None
    for i, (skip, width) in enumerate(zip(maps, units, strict=False)):
        if x is not None:
            x = Enlarge(skip.shape[1:3], name=f"enlarge_{i}")(x)
            skip = keras.layers.Concatenate(name=f"skip_{i}")([x, skip])
        x = skip
        for j in range(blocks):
            x = _block(x, features, width, f"decoder_{i}_{j}")
    if x.shape[1:3] != size:
        x = Enlarge(size, name="enlarge")(x)
    logits = keras.layers.Conv2D(classes, 1, name="mask", dtype="float32")(x)
    return keras.Model(inputs, logits, name=name)


def skip_layers(encoder):
    """Layers of an image encoder whose maps a U-Net joins, from coarse to fine.

    Of each size height / 2^k, rounded up or down, the last layer that gives it: in
    ResNet50 at 224 x 224 the ends of the stages at 7, 14, 28 and 56, the first
    convolution at 112, and the scaled pixels at 224.

    Example:
    >>> encoder = mmkeras.image.network("mobilenet", size=(64, 64), weights=None)
    >>> mmkeras.segmentation.skip_layers(encoder)[:2]
    ['conv_pw_13_relu', 'conv_pw_11_relu']

    Args:
        encoder: `keras.Model` of `mmkeras.image`.

    Returns:
        list of names.

    Raises:
        ValueError: the last map is no such size, as in InceptionV3, which does not pad.
    """
    size = contract(encoder).tensor_shape[:2]
    behind, found, last = False, {}, None
    for layer in encoder.layers:
        behind = behind or layer is contract(encoder)
        shape = _map_shape(layer)
        if not behind or not shape:
            continue
        last = shape[1:3]
        halvings = _halvings(size, last)
        if halvings is not None:
            found[halvings] = layer.name
    coarsest = _halvings(size, last) if last else None
    if coarsest is None:
        raise ValueError(
            f"`skip_layers` wants an encoder whose last map has 1 / 2^k of the "
            f"picture's {size[0]} x {size[1]} pixels. Received: '{encoder.name}', "
            f"whose last map is {last}. Name the layers: `skips=[...]`, from coarse to "
            f"fine."
        )
    # a coarser one is no map but the gate of a block
    return [found[k] for k in sorted(found, reverse=True) if k <= coarsest]


def _halvings(size, small):
    """How often `size` was halved, rounded up or down, to give `small`, or None."""
    for k in range(max(size).bit_length()):
        if all(x >> k <= y <= -(-x >> k) for x, y in zip(size, small, strict=True)):
            return k
    return None


def _map_shape(layer):
    """Shape of a layer's map, None where its output is another, or several."""
    if len(layer._inbound_nodes) != 1:
        return None
    output = layer.output
    shape = getattr(output, "shape", ())
    return tuple(shape) if len(shape) == 4 and None not in shape[1:] else None


def _with_maps(encoder, names):
    """The encoder, cut so that it gives the maps of some layers."""
    known = {x.name: x for x in encoder.layers if _map_shape(x)}
    unknown = [x for x in names if x not in known]
    if unknown:
        raise ValueError(
            f"`skips` wants layers of the image encoder that give a map (batch, "
            f"height, width, dim). Received: {unknown}. Valid names: {list(known)}"
        )
    maps = [known[x].output for x in names]
    cut = keras.Model(encoder.input, maps, name=encoder.name)
    if not encoder.trainable:
        cut.trainable = False
    return cut


def _said(x, features, presence, picture, units, layers):
    """The coarsest map, and a vector of each other modality, zeros where absent."""
    vectors = {k: e for k, e in features.items() if not isinstance(e, dict)}
    tokens = {k: e for k, e in features.items() if isinstance(e, dict)}
    if vectors:
        others = {k: presence[k] for k in vectors}
        vectors = ZeroAbsent(name="present_features")(vectors, others)
    if tokens:
        x = Coordinates(name="ask_coordinates")(x)
        ask = AskWords(units, layers=layers, name="ask_words")
        there = {k: presence[k] for k in (picture, *tokens)}
        tokens = ask({picture: x, **tokens}, there)
        x = tokens.pop(picture)
    return x, {**vectors, **tokens}


def _block(x, said, width, name):
    """Convolution, normalisation, what the other modalities say, ReLU."""
    layers = keras.layers
    x = Coordinates(name=f"{name}_coordinates")(x)
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    films = [
        # no bias: an absent modality's zeros stay zeros
        layers.Dense(2 * width, use_bias=False, name=f"{name}_{modality}_film")(e)
        for modality, e in said.items()
    ]
    if films:
        both = layers.Add(name=f"{name}_films")(films) if films[1:] else films[0]
        x = Modulate(name=f"{name}_film")(x, both)
    return layers.ReLU(name=f"{name}_relu")(x)


def _picture(encoders):
    """The name of the one modality whose contract is of pictures."""
    found = [name for name, x in encoders.items() if contract(x).kind == "image"]
    if len(found) != 1:
        raise ValueError(
            f"`encoders` wants exactly one encoder of pictures, of mmkeras.image. "
            f"Received: {found} of {sorted(encoders)}"
        )
    return found[0]


def _check(names, units, classes, blocks):
    if not names or len(names) > len(units):
        raise ValueError(
            f"`units` wants the channels of a block for each map, from coarse to fine, "
            f"one map at least. Received: units={units} for the maps of {names}. Name "
            f"layers with `skips`."
        )
    for argument, value in (("classes", classes), ("blocks", blocks)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"`{argument}` wants a positive integer. Received: {argument}={value!r}"
            )
