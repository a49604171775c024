"""The whole model: encoders joined through a fusion, as one plain Functional model."""

import keras

from mmkeras.fusion.base import Fusion
from mmkeras.modality import contract, tensor_input
from mmkeras.presence import ModalityDropout

_SUFFIX = "_encoder"


def multimodal(encoders, fusion, head, *, modality_dropout=0.0, name="multimodal"):
    """Joins encoders through a fusion: y = head(fusion({m: encoder_m(x_m)})).

    The model takes, for every modality, its tensor `<name>` and `<name>_present`, 1
    where the modality is there and 0 where it is missing.

    Example:
    >>> pixels = mmkeras.image.Pixels((8, 8))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> model = mmkeras.multimodal(
    ...     {"photo": tiny}, mmkeras.fusion.Concat(), keras.layers.Dense(3)
    ... )
    >>> sorted(model.input)
    ['photo', 'photo_present']

    Args:
        encoders: dict, modality -> `keras.Model` with one input and a contract layer.
        fusion: an `mmkeras.fusion` layer, dict of features -> one tensor.
        head: a layer on the fused tensor, or a dict, output name -> layer, such as
            `mmkeras.heads.several` makes. Layers of one name are made anew, called
            `<output name>_head`.
        modality_dropout: Float or dict, modality -> float: the probability with which
            a present modality is hidden from the fusion in training.
        name: name of the model.

    Returns:
        A plain `keras.Model`. Each encoder is its layer `<name>_encoder`.

    Raises:
        ValueError: no encoder, a name that is no identifier or ends in `_present`, one
            encoder under two names, an encoder without a contract.
        TypeError: `fusion` is no Fusion layer, or `head` no layer.
    """
    _check(fusion, head)
    head = _own_names(head)
    inputs, features, presence = encoded(encoders)
    if modality_dropout:
        presence = ModalityDropout(modality_dropout, name="modality_dropout")(presence)
    fused = fusion(features, presence)
    if isinstance(head, dict):
        outputs = {key: layer(fused) for key, layer in head.items()}
    else:
        outputs = head(fused)
    return keras.Model(inputs, outputs, name=name)


def encoded(encoders):
    """What every model of encoders begins with: three dicts of symbolic tensors.

    Returns:
        `(inputs, features, presence)`: the model's inputs by name, and, by modality,
        what its encoder gives and whether it is there.
    """
    check_encoders(encoders)
    inputs, features, presence = {}, {}, {}
    for modality, encoder in encoders.items():
        inputs[modality] = tensor_input(contract(encoder), modality)
        features[modality] = _renamed(encoder, modality + _SUFFIX)(inputs[modality])
    for modality in encoders:
        key = f"{modality}_present"
        presence[modality] = inputs[key] = keras.Input((), dtype="float32", name=key)
    return inputs, features, presence


def encoders(model):
    """The encoders of a multimodal model: dict, modality -> `keras.Model`.

    Raises:
        ValueError: the model was not made by `multimodal` or `two_tower`.
    """
    found = {
        layer.name.removesuffix(_SUFFIX): layer
        for layer in model.layers
        if isinstance(layer, keras.Model) and layer.name.endswith(_SUFFIX)
    }
    if not found:
        raise ValueError(
            f"Model '{model.name}' has no encoders (layers called '<name>{_SUFFIX}'). "
            f"Build it with `mmkeras.multimodal` or `mmkeras.two_tower`."
        )
    return found


def encoder(model, modality):
    """One encoder of a multimodal model, by its modality's name."""
    found = encoders(model)
    if modality not in found:
        raise ValueError(
            f"The model has no modality '{modality}'. Valid names: {sorted(found)}"
        )
    return found[modality]


def fusion(model):
    """The fusion layer of a multimodal model."""
    for layer in model.layers:
        if isinstance(layer, Fusion):
            return layer
    raise ValueError(f"Model '{model.name}' has no Fusion layer.")


def has_fusion(model):
    """Whether a model fuses features to one tensor, as `multimodal` makes them."""
    return any(isinstance(layer, Fusion) for layer in model.layers)


def with_features(model):
    """The model with two outputs: its own and what its fusion layer gives."""
    layer = fusion(model)
    # not layer.output: a fusion that is also part of a trunk has two
    nodes = [x for depth in model._nodes_by_depth.values() for x in depth]
    (fused,) = next(x.output_tensors for x in nodes if x.operation is layer)
    return keras.Model(model.input, (model.output, fused), name="with_features")


def readers(model):
    """The contract of each modality: dict, modality -> `ModalityInput`.

    Args:
        model: a multimodal model, or a dict, modality -> encoder or contract, or what
            has such a dict, `contracts`, as `mmkeras.export.load` gives.
    """
    if hasattr(model, "contracts"):
        return dict(model.contracts)
    if isinstance(model, dict):
        return {
            name: contract(x) if isinstance(x, keras.Model) else x
            for name, x in model.items()
        }
    return {name: contract(x) for name, x in encoders(model).items()}


def _renamed(encoder, name):
    """The same graph and layers under another name; the user's model keeps its own."""
    copy = keras.Model(encoder.input, encoder.output, name=name)
    if not encoder.trainable:
        copy.trainable = False
    return copy


def _own_names(head):
    """The layers of a dict of heads; where names repeat, copies with names apart."""
    if not isinstance(head, dict):
        return head
    names = [layer.name for layer in head.values()]
    made = {}
    for key, layer in head.items():
        if names.count(layer.name) > 1:
            if layer.built:
                raise ValueError(
                    f"The layers of `head` want different names. Received: {names}, "
                    f"of which '{layer.name}' of '{key}' has weights already."
                )
            config = {**layer.get_config(), "name": f"{key}_head"}
            layer = type(layer).from_config(config)
        made[key] = layer
    return made


def check_encoders(encoders):
    """Refuses what is no dict of encoders whose names can name inputs."""
    if not isinstance(encoders, dict) or not encoders:
        raise ValueError(
            f"`encoders` wants a dict, modality -> encoder, with at least one. "
            f"Received: {encoders!r}"
        )
    for modality, model in encoders.items():
        plain = str(modality).isidentifier() and str(modality).isascii()
        if not plain or modality.endswith("_present"):
            raise ValueError(
                f"A modality's name wants letters (a to z), digits and '_', and no "
                f"ending '_present', since it names inputs. Received: {modality!r}"
            )
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"encoders['{modality}'] wants a keras.Model. Received: {model!r}"
            )
    if len({id(x) for x in encoders.values()}) != len(encoders):
        raise ValueError(
            "The same encoder object stands under two names. Build one for each: "
            "saving would part their weights."
        )


def _check(fusion, head):
    if not isinstance(fusion, Fusion):
        raise TypeError(
            f"`fusion` wants a layer of mmkeras.fusion. Received: {fusion!r}"
        )
    for layer in head.values() if isinstance(head, dict) else [head]:
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(
                f"`head` wants a Keras layer (keras.Sequential joins several), or a "
                f"dict of them. Received: {layer!r}"
            )
