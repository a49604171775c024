"""Presence: which modalities an example has, and training for when they are missing."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class ModalityDropout(keras.layers.Layer):
    """Hides modalities from training, so that the model learns to do without them.

    Each modality of each example is hidden with probability `rate`; an example that
    would lose everything it has keeps everything. Does nothing at inference.

    Example:
    >>> layer = mmkeras.presence.ModalityDropout({"photo": 1.0}, seed=0)
    >>> there = {"photo": np.ones(2), "title": np.array([1.0, 0.0])}
    >>> layer(there, training=True)["photo"].numpy()
    array([0., 1.], dtype=float32)

    Args:
        rate: Float in [0, 1], or dict, modality -> rate; a modality not named in it is
            never hidden.
        seed: optional integer.

    Call arguments:
        presence: dict, modality -> float tensor `(batch,)`, 1 present, 0 missing.

    Output shape: dict like `presence`.

    Raises:
        ValueError: a rate outside [0, 1], or for an unknown modality.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        rates = rate if isinstance(rate, dict) else {"rate": rate}
        for name, value in rates.items():
            if not 0 <= value <= 1:
                raise ValueError(
                    f"`rate` wants floats in [0, 1]. Received: {name}={value}"
                )
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, presence_shape):
        if not isinstance(presence_shape, dict):
            raise ValueError(
                "`ModalityDropout` wants `presence` as a dict, modality -> tensor "
                f"(batch,). Received: {presence_shape}"
            )
        rates = self.rate if isinstance(self.rate, dict) else {}
        unknown = sorted(set(rates) - set(presence_shape))
        if unknown:
            raise ValueError(
                f"`rate` wants the modalities of `presence`. Received: unknown names "
                f"{unknown}. Valid names: {sorted(presence_shape)}."
            )

    def call(self, presence, training=False):
        names = sorted(presence)
        if isinstance(self.rate, dict):
            rates = [self.rate.get(name, 0.0) for name in names]
        else:
            rates = [self.rate] * len(names)
        if not (training and any(rates)):
            return presence
        there = ops.stack([presence[name] for name in names], axis=1)
        draw = keras.random.uniform(ops.shape(there), seed=self.seed_generator)
        kept = ops.where(draw >= ops.convert_to_tensor(rates, draw.dtype), there, 0)
        kept = ops.where(ops.any(kept > 0, axis=1, keepdims=True), kept, there)
        return {name: kept[:, i] for i, name in enumerate(names)}

    def compute_output_shape(self, presence_shape):
        return presence_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("mmkeras")
class ZeroAbsent(keras.layers.Layer):
    """Puts zeros where a feature is absent, whatever stood there, NaN included.

    x_m where presence_m = 1, 0 elsewhere.

    Example:
    >>> layer = mmkeras.presence.ZeroAbsent()
    >>> x = layer({"clip": np.full((1, 2), np.nan)}, {"clip": np.zeros(1)})["clip"]
    >>> x.numpy()
    array([[0., 0.]], dtype=float32)

    Call arguments:
        features: dict, modality -> float tensor `(batch, ...)`.
        presence: dict, modality -> float tensor `(batch,)`, 1 present, 0 missing, for
            every modality of `features`.

    Output shape: dict like `features`.
    """

    def call(self, features, presence):
        made = {}
        for name, x in features.items():
            there = ops.reshape(presence[name] > 0, (-1,) + (1,) * (len(x.shape) - 1))
            # 0 * NaN is NaN, and so is its gradient
            made[name] = ops.where(there, x, ops.zeros_like(x))
        return made

    def compute_output_shape(self, features_shape, presence_shape):
        return features_shape


@keras.saving.register_keras_serializable("mmkeras")
class MissingToken(keras.layers.Layer):
    """Puts a learned vector where a feature is absent, in training and at inference.

    x_m where presence_m = 1, t_m elsewhere. The vectors start at zeros and learn only
    if training sees absent features: use `ModalityDropout`.

    Example:
    >>> layer = mmkeras.presence.MissingToken()
    >>> x = layer({"clip": np.full((1, 2), np.nan)}, {"clip": np.zeros(1)})["clip"]
    >>> x.numpy()
    array([[0., 0.]], dtype=float32)

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`.
        presence: dict, modality -> float tensor `(batch,)`, 1 present, 0 missing; a
            modality that it does not name is present.

    Output shape: dict like `features`.

    Raises:
        ValueError: `features` is not a dict of vectors, or `presence` names an unknown
            modality.
    """

    def build(self, features_shape, presence_shape=None):
        if not isinstance(features_shape, dict) or any(
            isinstance(x, dict) or len(x) != 2 for x in features_shape.values()
        ):
            raise ValueError(
                "`MissingToken` wants `features` as a dict, modality -> vectors "
                f"(batch, dim). Received: {features_shape}"
            )
        unknown = sorted(set(presence_shape or {}) - set(features_shape))
        if unknown:
            raise ValueError(
                f"`presence` wants the modalities of `features`. Received: unknown "
                f"names {unknown}. Valid names: {sorted(features_shape)}."
            )
        self.tokens = {
            name: self.add_weight(
                name=f"{name}_token",
                shape=(features_shape[name][-1],),
                initializer="zeros",
            )
            for name in sorted(features_shape)
        }

    def call(self, features, presence):
        return {
            # JAX' where takes arrays only, no Keras variable
            name: ops.where(
                presence[name][:, None] > 0,
                x,
                ops.convert_to_tensor(self.tokens[name]),
            )
            if name in presence
            else x
            for name, x in features.items()
        }

    def compute_output_shape(self, features_shape, presence_shape=None):
        return features_shape
