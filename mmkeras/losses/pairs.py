"""Losses of pairs of modalities, as layers that the features pass through."""

import itertools
import math
import threading

import keras
from keras import ops

from mmkeras.losses import formulas
from mmkeras.losses.memory import Memory
from mmkeras.replicas import gather, several, whole


class PairLoss(keras.layers.Layer):
    """Base: adds the mean of `pair_loss` over the pairs of modalities to the model.

    Args:
        weight: Number, what the loss is multiplied by.
    """

    def __init__(self, weight=1.0, **kwargs):
        kwargs.setdefault("dtype", "float32")  # a loss is float32 under any policy
        super().__init__(**kwargs)
        self.weight = weight
        self._threads = []  # which added each of the losses

    def pair_loss(self, a, b, presence):
        """The loss of two features of the joined batch; `presence` of both."""
        raise NotImplementedError(f"{type(self).__name__} must write `pair_loss`.")

    def build(self, features_shape, presence_shape=None):
        _check(type(self).__name__, features_shape, presence_shape)

    def losses_of(self, x, there, own, training):
        """The loss of each pair of modalities of the joined batch.

        `own` is this replica's `(x, there)`.
        """
        return [
            self.pair_loss(x[a], x[b], there[a] * there[b])
            for a, b in itertools.combinations(x, 2)
        ]

    def call(self, features, presence=None, training=False):
        names = sorted(features)
        columns = {name: _column(features, presence, name) for name in names}
        own = {n: features[n] for n in names}, columns
        losses = self.losses_of(*gather(own), own, training)
        self.add_loss(self.weight * sum(losses) / len(losses))
        return features

    def compute_output_shape(self, features_shape, presence_shape=None):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}

    # The replicas of a MirroredStrategy are threads that share this layer and its list
    # of losses, and at the gather one lets the other run: without the three methods
    # below it finds the other's loss beside its own.

    def add_loss(self, loss):
        super().add_loss(loss)
        self._threads.append(threading.get_ident())

    def _clear_losses(self):
        super()._clear_losses()
        self._threads.clear()

    def _get_own_losses(self):
        losses = super()._get_own_losses()
        if not several():
            return losses
        here = threading.get_ident()
        return [x for x, n in zip(losses, self._threads, strict=True) if n == here]


@keras.saving.register_keras_serializable("mmkeras")
class InfoNCE(PairLoss):
    """Symmetric InfoNCE (CLIP) between modalities, with a learned temperature.

    L = mean over pairs of modalities of `info_nce(a, b, temperature)`, on the joined
    batch of all replicas. The features come out as they went in. The weight that trains
    is log(1 / temperature); 1 / temperature is kept at 100 or below.

    Example, a shared space:

    >>> widths = {"photo": 6, "title": 4}
    >>> inputs = {name: keras.Input((n,), name=name) for name, n in widths.items()}
    >>> features = {
    ...     name: keras.layers.UnitNormalization()(keras.layers.Dense(3)(x))
    ...     for name, x in inputs.items()
    ... }
    >>> model = keras.Model(inputs, mmkeras.losses.InfoNCE()(features))
    >>> model.compile("adam")
    >>> rows = {"photo": np.random.rand(8, 6), "title": np.random.rand(8, 4)}
    >>> history = model.fit(rows, verbose=0)
    >>> model.predict(rows, verbose=0)["photo"].shape
    (8, 3)

    Args:
        temperature: Number, where the temperature starts; 0.01 or more where learned.
        learned: Boolean; False keeps the temperature.
        weight: Number, what the loss is multiplied by.
        memory: Integer, how many embeddings of past training batches of each modality
            are further negatives (cross-batch memory); 0 for those of the batch alone.
            They help where batches are small. Keep `memory` and a batch together below
            the rows of an epoch: else a row meets its own past as a negative. The
            `.keras` file keeps them, to go on from; `mmkeras.export` leaves them out,
            which Keras' own `model.export` does not.

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; two modalities or more,
            one dim.
        presence: optional dict, modality -> tensor `(batch,)`, 1 present, 0 missing. A
            row counts for the pairs of modalities that it has both of.

    Output shape: dict like `features`.

    Raises:
        ValueError: an impossible temperature or memory; fewer than two modalities;
            features that are no vectors of one width; presence of an unknown modality.

    Reference:
        Radford et al. 2021, arXiv:2103.00020; for the memory Wang et al. 2020,
        arXiv:1912.06798.
    """

    def __init__(self, temperature=0.07, learned=True, weight=1.0, memory=0, **kwargs):
        super().__init__(weight=weight, **kwargs)
        lowest = 1 / _MAX_SCALE if learned else 0
        if temperature < lowest or temperature <= 0:
            raise ValueError(
                f"`temperature` wants a positive number{', 0.01 or more' * learned}. "
                f"Received: temperature={temperature}"
            )
        if not isinstance(memory, int) or memory < 0:
            raise ValueError(
                f"`memory` wants an integer of 0 or more, how many past embeddings of "
                f"each modality are kept. Received: memory={memory!r}"
            )
        self.temperature = temperature
        self.learned = learned
        self.past = Memory(memory, dtype="float32", name="memory") if memory else None

    def build(self, features_shape, presence_shape=None):
        super().build(features_shape, presence_shape)
        _same_width(type(self).__name__, features_shape)
        start = -math.log(self.temperature)
        self.log_scale = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(start),
            constraint=_AtMost(math.log(_MAX_SCALE)) if self.learned else None,
            trainable=self.learned,
            name="log_scale",
        )
        if self.past:
            self.past.build(features_shape)

    def losses_of(self, x, there, own, training):
        remembers = self.past and training
        past = self.past(x) if remembers else None
        losses = []
        for a, b in itertools.combinations(x, 2):
            arguments = [x[a], x[b], there[a] * there[b]]
            if several():  # each looks at its own rows of the logits alone
                arguments.append((own[0][a], own[0][b], own[1][a] * own[1][b]))
            memory = {"memory": (past[a], past[b])} if remembers else {}
            losses.append(whole(self.pair_loss(*arguments, **memory)))
        if remembers:  # after: a batch is no negative of its own
            self.past.push(x, there)
        return losses

    def pair_loss(self, a, b, presence, own=None, memory=None):
        scale = ops.exp(-self.log_scale)
        return formulas.info_nce(a, b, scale, presence, memory, own)

    def get_config(self):
        own = {"temperature": self.temperature, "learned": self.learned}
        own["memory"] = self.past.size if self.past else 0
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("mmkeras")
class SigLIP(InfoNCE):
    """Sigmoid loss between modalities, with a learned temperature and bias.

    L = mean over pairs of modalities of `siglip(a, b, temperature, bias)`. Used as
    `InfoNCE`.

    Example:
    >>> layer = mmkeras.losses.SigLIP()
    >>> features = layer({"photo": np.eye(4), "title": np.eye(4)})
    >>> [round(float(x), 4) for x in layer.losses]
    [0.6933]

    Args:
        temperature: Number, where the temperature starts.
        bias: Number, where the bias starts.
        learned: Boolean; False keeps both.
        weight: Number, what the loss is multiplied by.

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; two modalities or more,
            one dim.
        presence: optional dict, modality -> tensor `(batch,)`, 1 present, 0 missing.

    Output shape: dict like `features`.

    Raises:
        ValueError: as `InfoNCE`.

    Reference:
        Zhai et al. 2023, arXiv:2303.15343. Departs: 1 / temperature stops at 100, as in
        `InfoNCE`.
    """

    def __init__(self, temperature=0.1, bias=-10.0, learned=True, weight=1.0, **kwargs):
        super().__init__(temperature, learned, weight, **kwargs)
        self.bias = bias

    def build(self, features_shape, presence_shape=None):
        super().build(features_shape, presence_shape)
        self.offset = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.bias),
            trainable=self.learned,
            name="offset",
        )

    def pair_loss(self, a, b, presence, own=None):
        temperature = ops.exp(-self.log_scale)
        return formulas.siglip(a, b, temperature, self.offset, presence, own)

    def get_config(self):
        config = {**super().get_config(), "bias": self.bias}
        del config["memory"]  # each pair counts on its own: batches may be small
        return config


@keras.saving.register_keras_serializable("mmkeras")
class DeepCCA(PairLoss):
    """Deep CCA: makes modalities correlate, unit by unit, without negatives.

    L = -mean over pairs of modalities of `correlation(a, b)`. Used as `InfoNCE`, with
    large batches; the features are correlated as spaces: compare them after a linear
    CCA on the training rows.

    Example:
    >>> layer = mmkeras.losses.DeepCCA()
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> features = layer({"photo": x, "title": 5.0 * x})
    >>> [round(float(x), 3) for x in layer.losses]
    [-2.0]

    Args:
        components: optional integer, how many correlations to add; None for all.
        regularization: Number > 0, added to the covariances, as a share of the mean
            variance.
        weight: Number, what the loss is multiplied by.

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> tensor `(batch,)`, 1 present, 0 missing.

    Output shape: dict like `features`.

    Raises:
        ValueError: `regularization` is not positive, `components` is more than the
            narrowest feature's width; as `InfoNCE`.

    Reference:
        Andrew et al. 2013, Deep Canonical Correlation Analysis, ICML. See
        `correlation` for the departures.
    """

    def __init__(self, components=None, regularization=1e-4, weight=1.0, **kwargs):
        super().__init__(weight=weight, **kwargs)
        if regularization <= 0:
            raise ValueError(
                "`regularization` wants a positive number. Received: "
                f"regularization={regularization}"
            )
        self.components = components
        self.regularization = regularization

    def build(self, features_shape, presence_shape=None):
        super().build(features_shape, presence_shape)
        narrowest = min(shape[-1] for shape in features_shape.values())
        if self.components is not None and not 1 <= self.components <= narrowest:
            raise ValueError(
                f"`components` wants an integer from 1 to {narrowest}, the width of "
                f"the narrowest feature. Received: components={self.components}"
            )

    def pair_loss(self, a, b, presence):
        return -formulas.correlation(
            a, b, self.regularization, self.components, presence
        )

    def get_config(self):
        own = {"components": self.components, "regularization": self.regularization}
        return {**super().get_config(), **own}


#: 1 / temperature stays at or below it, as in CLIP.
_MAX_SCALE = 100.0


class _AtMost(keras.constraints.Constraint):
    """Keeps a weight at `limit` or below; its gradient can still lead it back."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, w):
        return ops.minimum(w, self.limit)


def _column(features, presence, name):
    """Presence of one modality, `(batch,)`, exactly 0 or 1."""
    if presence is None or name not in presence:
        return ops.ones((ops.shape(features[name])[0],), features[name].dtype)
    return ops.cast(presence[name] > 0, features[name].dtype)


def _check(kind, features_shape, presence_shape):
    if not isinstance(features_shape, dict) or len(features_shape) < 2:
        raise ValueError(
            f"`{kind}` wants `features` as a dict of two modalities or more, modality "
            f"-> tensor (batch, dim). Received: {features_shape}"
        )
    for name, shape in features_shape.items():
        if len(shape) != 2:
            raise ValueError(
                f"`{kind}` wants vectors (batch, dim). Received: features['{name}'] of "
                f"shape {tuple(shape)}. Pool it first."
            )
    unknown = sorted(set(presence_shape or ()) - set(features_shape))
    if unknown:
        raise ValueError(
            f"`{kind}` wants `presence` for its modalities. Received: unknown names "
            f"{unknown}. Valid names: {sorted(features_shape)}."
        )


def _same_width(kind, features_shape):
    widths = {name: shape[-1] for name, shape in features_shape.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(
            f"`{kind}` wants features of one width. Received: {widths}. Put a "
            "`keras.layers.Dense(units)` behind each encoder."
        )
