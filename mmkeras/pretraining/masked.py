"""Masked modality modelling: what the others say of the one that is hidden."""

import keras
from keras import ops

from mmkeras.balance.parts import parts
from mmkeras.losses import formulas
from mmkeras.losses.pairs import PairLoss
from mmkeras.replicas import gather

LOSSES = ("contrastive", "cosine")


def masked_modality(
    model, *, loss="contrastive", temperature=0.1, name="masked_modality"
):
    """A training model without labels: p_m = W_m fusion(features, m hidden) + b_m.

    For each modality m the fusion sees the row without it (presence 0), and a dense
    layer predicts its feature; `MaskedPrediction` compares. It shares the encoders and
    the fusion with `model`: fit it on rows alone, then compile and fit `model`, whose
    fusion has begun. Its head is not trained. `compile` wants an optimizer only.

    The feature that is predicted gets no gradient of its prediction. Freeze the
    encoders, or fit the trunk on cached features: an encoder that trains may make its
    own feature easy to predict. Of two modalities one is left to predict from: what
    weighs them against each other, such as a gate, learns nothing here.

    Example:
    >>> def tiny():
    ...     pixels = mmkeras.image.Pixels((8, 8))
    ...     image = mmkeras.modality.tensor_input(pixels, "image")
    ...     return keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> encoders = {"photo": tiny(), "sketch": tiny()}
    >>> fusion = mmkeras.fusion.GatedFusion(8)
    >>> model = mmkeras.multimodal(encoders, fusion, keras.layers.Dense(3))
    >>> pretraining = mmkeras.pretraining.masked_modality(model)
    >>> pretraining.compile("adam")
    >>> rows = {x: np.random.rand(6, 8, 8, 3) for x in ("photo", "sketch")}
    >>> rows |= {f"{x}_present": np.ones(6) for x in ("photo", "sketch")}
    >>> history = pretraining.fit(rows, verbose=0)
    >>> pretraining.predict(rows, verbose=0)["photo"].shape
    (6, 192)

    Args:
        model: a model of `multimodal` with two modalities or more and features that
            are vectors, or its trunk.
        loss: "contrastive" or "cosine", as `MaskedPrediction`.
        temperature: Number, as `MaskedPrediction`.
        name: name of the training model.

    Returns:
        A plain `keras.Model` with the inputs of `model`; outputs a dict, modality ->
        its prediction `(batch, dim)`. The layers that predict are `<name>_predicted`.

    Raises:
        ValueError: fewer than two modalities, features that are tokens, an unknown
            `loss`, or a temperature that is not positive.

    Reference:
        After Sun et al. 2019, arXiv:1906.05743 (a contrastive loss in place of tokens).
    """
    found = parts(model)
    for modality, feature in found.features.items():
        if isinstance(feature, dict) or len(feature.shape) != 2:
            raise ValueError(
                f"`masked_modality` predicts vectors (batch, dim). Received: tokens of "
                f"modality '{modality}'. Pool them in its encoder."
            )
    predictions = {}
    for modality, feature in found.features.items():
        absent = ops.zeros_like(found.presence[modality])
        fused = found.fusion(found.features, {**found.presence, modality: absent})
        layer = keras.layers.Dense(feature.shape[-1], name=f"{modality}_predicted")
        predictions[modality] = layer(fused)
    compare = MaskedPrediction(loss, temperature, name="masked_prediction")
    outputs = compare(predictions, found.features, found.presence)
    return keras.Model(found.inputs, outputs, name=name)


@keras.saving.register_keras_serializable("mmkeras")
class MaskedPrediction(PairLoss):
    """Compares each modality's prediction with its feature; lets predictions through.

    L = mean over modalities m of l(p_m, stop_gradient(x_m)) over the rows that have m
    and some other modality. l is "cosine": mean of 1 - cos(p, x), or "contrastive":
    `mmkeras.losses.info_nce`, the right feature among those of the joined batch of all
    replicas.

    Example:
    >>> layer = mmkeras.pretraining.MaskedPrediction("cosine")
    >>> x = {"photo": np.eye(2), "title": np.eye(2)}
    >>> predictions = layer({"photo": np.eye(2), "title": -np.eye(2)}, x)
    >>> [float(x) for x in layer.losses]
    [1.0]

    Args:
        loss: "contrastive" or "cosine".
        temperature: positive Number, of the contrastive loss.
        weight: Number, what the loss is multiplied by.

    Call arguments:
        predictions: dict, modality -> float tensor `(batch, dim)`.
        features: dict like `predictions`, what was to be predicted.
        presence: optional dict, modality -> tensor `(batch,)`, 1 present, 0 missing; a
            modality that it does not name is present.

    Output shape: dict like `predictions`.

    Raises:
        ValueError: an unknown `loss`, or a temperature that is not positive.
    """

    def __init__(self, loss="contrastive", temperature=0.1, weight=1.0, **kwargs):
        super().__init__(weight=weight, **kwargs)
        if loss not in LOSSES:
            raise ValueError(f"`loss` wants one of {LOSSES}. Received: loss={loss!r}")
        if temperature <= 0:
            raise ValueError(
                "`temperature` wants a positive number. Received: "
                f"temperature={temperature}"
            )
        self.loss, self.temperature = loss, temperature

    def build(self, predictions_shape, features_shape, presence_shape=None):
        """It has no weights."""

    def call(self, predictions, features, presence=None):
        names = sorted(predictions)
        there = {n: _there(predictions[n], presence, n) for n in names}
        counts = {n: there[n] * _others(there, n) for n in names}
        targets = {n: ops.stop_gradient(features[n]) for n in names}
        guesses = {n: predictions[n] for n in names}
        guesses, targets, counts = gather([guesses, targets, counts])
        losses = [self.pair_loss(guesses[n], targets[n], counts[n]) for n in names]
        self.add_loss(self.weight * sum(losses) / len(losses))
        return predictions

    def pair_loss(self, a, b, presence):
        if self.loss == "contrastive":
            return formulas.info_nce(a, b, self.temperature, presence)
        return cosine_loss(a, b, presence)

    def compute_output_shape(self, predictions_shape, *others):
        return predictions_shape

    def get_config(self):
        own = {"loss": self.loss, "temperature": self.temperature}
        return {**super().get_config(), **own}


def cosine_loss(a, b, presence):
    """Mean of 1 - cos(a_i, b_i) over the rows of presence above 0; 0 of none."""
    there = presence > 0
    a, b = (ops.where(there[:, None], x, 0) for x in (a, b))
    squares = ops.sum(a * a, axis=1) * ops.sum(b * b, axis=1)
    cosines = ops.sum(a * b, axis=1) * ops.rsqrt(ops.maximum(squares, 1e-24))
    there = ops.cast(there, a.dtype)
    return ops.sum((1 - cosines) * there) / ops.maximum(ops.sum(there), 1)


def _there(feature, presence, name):
    if presence is None or name not in presence:
        return ops.ones((ops.shape(feature)[0],), feature.dtype)
    return ops.cast(presence[name] > 0, feature.dtype)


def _others(there, name):
    """1 where some modality but this one is there."""
    others = [x for other, x in there.items() if other != name]
    return ops.max(ops.stack(others), axis=0)
