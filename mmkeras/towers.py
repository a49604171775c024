"""Towers: modalities in one shared space, where what belongs together is near."""

import keras
from keras import ops

from mmkeras.dropout import Dropout
from mmkeras.losses.pairs import DeepCCA, InfoNCE, PairLoss
from mmkeras.modality import contract, tensor_input
from mmkeras.model import check_encoders, encoded, encoder
from mmkeras.presence import ZeroAbsent
from mmkeras.text.layers import MaskedMean

_FEATURES, _EMBEDDINGS = "present_features", "present_embeddings"


@keras.saving.register_keras_serializable("mmkeras")
class UnitLength(keras.layers.Layer):
    """Rows of length 1: x / sqrt(max(sum x^2, 1e-12)); a row of zeros stays.

    `keras.layers.UnitNormalization` takes 1 / sqrt(0) there, which becomes NaN in a
    TFLite file.

    Output shape: as the input, `(batch, dim)`.
    """

    def call(self, inputs):
        squares = ops.sum(inputs * inputs, axis=-1, keepdims=True)
        return inputs * ops.rsqrt(ops.maximum(squares, 1e-12))

    def compute_output_shape(self, input_shape):
        return input_shape


def two_tower(
    encoders, units, *, loss=None, normalize=True, dropout=0.0, name="two_tower"
):
    """One tower for each modality, all into one space: e_m = unit(W_m pool(f_m(x_m))).

    Trained on rows alone, without labels: the loss, a layer that the embeddings pass
    through, pulls the modalities of a row together and those of different rows apart.
    `compile` wants an optimizer only. Two modalities or more; of a model with three
    every pair learns from the rows that have both.

    Inputs are those of `multimodal`, `<name>` and `<name>_present`; outputs a dict,
    modality -> embedding `(batch, units)`, float32, of length 1. Where a modality is
    absent its embedding is zeros, and the row counts for no pair with it.

    Example:
    >>> def tiny():
    ...     pixels = mmkeras.image.Pixels((8, 8))
    ...     image = mmkeras.modality.tensor_input(pixels, "image")
    ...     return keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> model = mmkeras.two_tower({"photo": tiny(), "sketch": tiny()}, units=4)
    >>> model.compile("adam")
    >>> rows = {x: np.random.rand(6, 8, 8, 3) for x in ("photo", "sketch")}
    >>> rows |= {f"{x}_present": np.ones(6) for x in ("photo", "sketch")}
    >>> history = model.fit(rows, verbose=0)
    >>> model.predict(rows, verbose=0)["photo"].shape
    (6, 4)

    Args:
        encoders: dict, modality -> `keras.Model` with one input and a contract layer,
            two or more. Tokens are averaged over those that are no padding.
        units: Integer, width of the shared space.
        loss: a layer of `mmkeras.losses`: `InfoNCE()`, the default, `SigLIP()`, or
            `DeepCCA()` with `normalize=False`.
        normalize: Boolean, whether embeddings have length 1.
        dropout: Float in [0, 1), share of the pooled features' entries that training
            drops.
        name: name of the model.

    Returns:
        A plain `keras.Model`. Each encoder is its layer `<name>_encoder`, and what maps
        it into the space `<name>_projection`.

    Raises:
        ValueError: fewer than two encoders, `units` or `dropout` out of range, DeepCCA
            of embeddings of length 1, or what `multimodal` refuses.
        TypeError: `loss` is no layer of `mmkeras.losses` for pairs.

    Reference:
        Radford et al. 2021, arXiv:2103.00020.
    """
    loss = InfoNCE(name="contrastive") if loss is None else loss
    check_encoders(encoders)
    _check(encoders, units, loss, normalize, dropout)
    inputs, features, presence = encoded(encoders)
    made = [loss, ZeroAbsent(name=_FEATURES)]
    made.append(ZeroAbsent(name=_EMBEDDINGS, dtype="float32"))
    for modality, feature in features.items():
        made += _tower_layers(modality, feature, units, normalize, dropout)
    layers = {x.name: x for x in made}
    return keras.Model(inputs, _embedded(layers, features, presence), name=name)


def tower(model, modality):
    """One tower alone, sharing its weights with the model: tensor to embedding.

    It has its modality's contract, so that it is an encoder of `multimodal` too:
    cross-modal initialisation, what was learnt from pairs begins another task.

    Example:
    >>> def tiny():
    ...     pixels = mmkeras.image.Pixels((8, 8))
    ...     image = mmkeras.modality.tensor_input(pixels, "image")
    ...     return keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> model = mmkeras.two_tower({"photo": tiny(), "sketch": tiny()}, units=4)
    >>> photo = mmkeras.tower(model, "photo")
    >>> photo.predict(np.zeros((3, 8, 8, 3)), verbose=0).shape
    (3, 4)

    Args:
        model: a model of `two_tower`.
        modality: name of one of its modalities.

    Returns:
        `keras.Model` with one input, the modality's tensor, and one output `(batch,
        units)`. It knows no presence: give it rows that have the modality.

    Raises:
        ValueError: the model was not made by `two_tower`, or has no such modality.
    """
    if not is_two_tower(model):
        raise ValueError(
            f"`model` wants a model of `mmkeras.two_tower`. Received: '{model.name}'."
        )
    part = encoder(model, modality)
    layers = {x.name: x for x in model.layers}
    inputs = tensor_input(contract(part), modality)
    x = _projected(layers, modality, _pooled(layers, modality, part(inputs)))
    return keras.Model(inputs, x, name=f"{modality}_tower")


def is_two_tower(model):
    """Whether a model was made by `two_tower`."""
    return any(
        isinstance(x, ZeroAbsent) and x.name == _EMBEDDINGS
        for x in getattr(model, "layers", [])
    )


def embedded(model, features, presence):
    """The embeddings of features, by a model's own layers.

    Args:
        model: a model of `two_tower`.
        features: dict, modality -> what its encoder gives.
        presence: dict, modality -> tensor `(batch,)`.
    """
    return _embedded({x.name: x for x in model.layers}, features, presence)


def _embedded(layers, features, presence):
    features = {name: _pooled(layers, name, x) for name, x in features.items()}
    # before the projection too: 0 times a gradient of NaN is NaN
    features = layers[_FEATURES](features, presence)
    found = {name: _projected(layers, name, x) for name, x in features.items()}
    found = layers[_EMBEDDINGS](found, presence)
    (loss,) = (x for x in layers.values() if isinstance(x, PairLoss))
    return loss(found, presence)


def _tower_layers(modality, feature, units, normalize, dropout):
    """The layers behind one encoder, named by what `_pooled` and `_projected` ask."""
    made = [keras.layers.Dense(units, name=f"{modality}_projection")]
    if isinstance(feature, dict):
        made.append(MaskedMean(name=f"{modality}_mean"))
    if dropout:
        made.append(Dropout(dropout, name=f"{modality}_dropout"))
    if normalize:  # in float32: a float16 square of 1e-4 is 0
        made.append(UnitLength(name=f"{modality}_unit", dtype="float32"))
    return made


def _pooled(layers, modality, feature):
    if not isinstance(feature, dict):
        return feature
    return layers[f"{modality}_mean"](feature["tokens"], feature["mask"])


def _projected(layers, modality, x):
    for step in ("dropout", "projection", "unit"):
        key = f"{modality}_{step}"
        x = layers[key](x) if key in layers else x
    return x


def _check(encoders, units, loss, normalize, dropout):
    if len(encoders) < 2:
        raise ValueError(
            f"`encoders` wants two modalities or more, to be brought together. "
            f"Received: {sorted(encoders)}"
        )
    if not isinstance(units, int) or units < 1:
        raise ValueError(f"`units` wants a positive integer. Received: units={units!r}")
    if not 0 <= dropout < 1:
        raise ValueError(
            f"`dropout` wants a float in [0, 1). Received: dropout={dropout!r}"
        )
    if not isinstance(loss, PairLoss):
        raise TypeError(
            f"`loss` wants a layer of mmkeras.losses: `InfoNCE()`, `SigLIP()` or "
            f"`DeepCCA()`. Received: {loss!r}"
        )
    if isinstance(loss, DeepCCA) and normalize:
        raise ValueError(
            "`DeepCCA` correlates spaces, which embeddings of length 1 bend. Received: "
            "normalize=True. Pass `normalize=False`."
        )
