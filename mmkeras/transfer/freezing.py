"""Freezing: which weights of an encoder learn, and keeping it so after a reload.

Frozen means that no weight and no statistic moves and no dropout acts.
"""

import difflib
import re

import keras

from mmkeras.model import encoder as encoder_of
from mmkeras.model import encoders as encoders_of
from mmkeras.transfer.compiling import recompile

# how names tell the block of a layer; the first that fits
_BLOCKS = (
    r"(.*stage_?\d+_block_?\d+)_",  # ConvNeXt
    r"(conv\d+_block\d+)_",  # ResNet, DenseNet
    r"([A-Za-z]+\d*[a-z]*(?:_[A-Za-z]+\d*[a-z]*)?_\d+)$",  # "dense_1", "conv_1"
    r"((?:[A-Za-z]+\d*_)*?[A-Za-z]*_?\d+[a-z]?)_",
)


def freeze(model, name=None, until=None, layers=None):
    """Freezes an encoder, wholly or from its input up to a layer.

    Example:
        mmkeras.transfer.freeze(model, "photo", until="conv4_block6_out")
        mmkeras.transfer.freeze(model, "title", layers=slice(0, 4))
        mmkeras.transfer.freeze(model, "clip")

    A compiled model is compiled again, its optimizer's state carried over
    (`recompile`). Of models that share its layers (`trunk`) and of the model around a
    single encoder Keras knows nothing: compile those yourself.

    Args:
        model: a multimodal model, or an encoder (then `name` is None).
        name: modality whose encoder is frozen; None with a multimodal model: all.
        until: name of a layer, or of a block such as "layer_3" (the layers whose
            names begin with "layer_3_"): it and all before it freeze, the rest trains.
        layers: slice or list of integers over `blocks(encoder)`, or a list of layer
            names: these freeze, all others keep their state.

    Returns:
        `model`.

    Raises:
        ValueError: unknown modality or layer (the message lists near names).
    """
    if until is not None and layers is not None:
        raise ValueError("`freeze` wants `until` or `layers`, not both.")
    for encoder in _chosen(model, name):
        leaves = leaves_of(encoder)
        if until is not None:
            last = _last_of(leaves, until, encoder)
            flags = [i > last for i in range(len(leaves))]
        elif layers is not None:
            frozen = _named(encoder, leaves, layers)
            flags = [x.trainable and x.name not in frozen for x in leaves]
        else:
            flags = [False] * len(leaves)
        _apply(model, encoder, leaves, flags)
    return recompile(model)


def unfreeze(model, name=None, since=None):
    """Lets an encoder learn, wholly or from a layer to its output.

    Args:
        model: a multimodal model, or an encoder.
        name: modality; None with a multimodal model: all.
        since: name of a layer or block: it and all behind it train, those before keep
            their state.

    Returns:
        `model`, compiled again with its optimizer's state if it was compiled.
    """
    for encoder in _chosen(model, name):
        leaves = leaves_of(encoder)
        first = 0 if since is None else _first_of(leaves, since, encoder)
        flags = [i >= first or x.trainable for i, x in enumerate(leaves)]
        _apply(model, encoder, leaves, flags)
    return recompile(model)


def train_from(model, name, first):
    """An encoder's layers from place `first` on train, those before do not.

    Does not compile again: for several changes at once.
    """
    encoder = encoder_of(model, name)
    leaves = leaves_of(encoder)
    _apply(model, encoder, leaves, [i >= first for i in range(len(leaves))])


def train_only(model, layers):
    """These layers of a model train, its encoders and all others do not.

    Does not compile again.
    """
    model.trainable = False  # setting True on True does nothing
    model.trainable = True
    for layer in model.layers:
        layer.trainable = any(layer is x for x in layers)
    for leaf in leaves_of(model):
        hold_base(leaf)


def refreeze(model):
    """Makes every layer that says it is frozen truly so; call it after a load.

    Keras restores a frozen layer's flag but not always that of the weights in it.

    Returns:
        `model`.
    """
    before = {id(w) for w in model.trainable_weights}
    for layer in leaves_of(model):
        if not layer.trainable:
            layer.trainable = True  # setting False on False does nothing
            layer.trainable = False
        hold_base(layer)
    if before != {id(w) for w in model.trainable_weights}:
        recompile(model)
    return model


def summary(model):
    """What trains, an encoder a row, counted from the whole model.

    Returns:
        `pandas.DataFrame`: part, trainable and frozen parameters, layers trainable /
        all, and the state of batch normalisation ("-", "frozen", "training", "mixed").
    """
    import pandas

    parts = dict(encoders_of(model))
    inside = {id(w) for x in parts.values() for w in x.weights}
    learning = {id(w) for w in model.trainable_weights}
    rows = [_row(name, x.weights, leaves_of(x), learning) for name, x in parts.items()]
    rest = [w for w in model.weights if id(w) not in inside]
    others = [x for x in model.layers if x not in parts.values()]
    rows.append(_row("fusion and head", rest, others, learning))
    rows.append(_row("whole model", model.weights, leaves_of(model), learning))
    return pandas.DataFrame(rows).set_index("part")


def blocks(encoder):
    """The encoder's layers with weights, grouped by block: dict, block -> layers.

    "conv4_block6_1_conv" belongs to "conv4_block6", "layer_3_output_norm" to
    "layer_3", "embeddings_word" to "embeddings".
    """
    groups = {}
    for layer in leaves_of(encoder):
        if layer.weights:
            groups.setdefault(block_of(layer.name), []).append(layer)
    return groups


def is_frozen(encoder):
    """Whether no weight of the encoder trains."""
    return not encoder.trainable_weights


def block_of(name):
    for pattern in _BLOCKS:
        found = re.match(pattern, name)
        if found:
            return found.group(1)
    return name.split("_")[0]


def _chosen(model, name):
    if name is not None:
        return [encoder_of(model, name)]
    try:
        return list(encoders_of(model).values())
    except ValueError:
        return [model]  # an encoder by itself


def leaves_of(model):
    """The layers of a graph in its order, those of nested models in their place."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += leaves_of(layer)
        else:
            found.append(layer)
    return found


def _places(leaves, name, encoder):
    exact = [i for i, x in enumerate(leaves) if x.name == name]
    places = exact or [i for i, x in enumerate(leaves) if block_of(x.name) == name]
    places = places or [
        i for i, x in enumerate(leaves) if x.name.startswith(name + "_")
    ]
    if not places:
        names = [x.name for x in leaves]
        near = difflib.get_close_matches(name, [*names, *blocks(encoder)], 5, 0.5)
        raise ValueError(
            f"Encoder '{encoder.name}' has no layer or block '{name}'. "
            f"Near names: {near or names[:10]}. All blocks: {list(blocks(encoder))}"
        )
    return places


def _last_of(leaves, name, encoder):
    return max(_places(leaves, name, encoder))


def _first_of(leaves, name, encoder):
    return min(_places(leaves, name, encoder))


def _named(encoder, leaves, layers):
    groups = blocks(encoder)
    if isinstance(layers, slice):
        chosen = list(groups)[layers]
    else:
        chosen = [list(groups)[x] if isinstance(x, int) else x for x in layers]
    names = set()
    for name in chosen:
        group = groups.get(name)
        places = group or [leaves[i] for i in _places(leaves, name, encoder)]
        names |= {x.name for x in places}
    return names


def _apply(model, encoder, leaves, flags):
    """Sets the leaves' flags; a container trains when any leaf in it does.

    Setting a container's flag sets all below it, so the containers come first and the
    flags of every leaf of the whole model are put back after.
    """
    everything = leaves_of(model)
    before = {id(x): x.trainable for x in everything}
    before.update({id(x): flag for x, flag in zip(leaves, flags, strict=True)})
    if model is not encoder and not model.trainable:
        model.trainable = True
    encoder.trainable = any(
        flag and x.weights for x, flag in zip(leaves, flags, strict=True)
    )
    for layer in everything:
        layer.trainable = before[id(layer)]
        hold_base(layer)


def hold_base(layer):
    """Where LoRA weights are in a layer, they alone train, whatever its flag set."""
    for part in layer._flatten_layers():
        if getattr(part, "lora_enabled", False):
            part._kernel.trainable = False
            if part.bias is not None:
                part.bias.trainable = False
            down = part.lora_kernel_a
            if not keras.ops.convert_to_numpy(down).any():
                # from a file, where both are zero and so would learn nothing
                down.assign(keras.initializers.HeUniform()(down.shape))


def _row(part, weights, layers, learning):
    trainable = sum(_size(w) for w in weights if id(w) in learning)
    owners = [x for x in layers if x.weights]
    norms = [
        x.trainable for x in layers if isinstance(x, keras.layers.BatchNormalization)
    ]
    state = {(): "-", (True,): "training", (False,): "frozen"}
    return {
        "part": part,
        "trainable": trainable,
        "frozen": sum(_size(w) for w in weights) - trainable,
        "layers": f"{sum(x.trainable for x in owners)}/{len(owners)}",
        "batch norm": state.get(tuple(sorted(set(norms))), "mixed"),
    }


def _size(weight):
    size = 1
    for dim in weight.shape:
        size *= dim
    return size
