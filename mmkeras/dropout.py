"""Dropout that rests while it is frozen, so that frozen means deterministic.

Keras' `trainable=False` stops weights and batch-norm statistics but not dropout: a
frozen encoder would give other features in `fit` than in `predict`.
"""

import warnings

import keras
from keras import ops


class _Rests:
    """Mixed into a noise layer: it acts in training only, and only while trainable."""

    def call(self, inputs, training=False):
        return super().call(inputs, training=bool(training and self.trainable))


@keras.saving.register_keras_serializable("mmkeras")
class Dropout(_Rests, keras.layers.Dropout):
    """`keras.layers.Dropout` that is the identity while `trainable` is False.

    y = x keep / (1 - rate), keep ~ Bernoulli(1 - rate).

    Departs: where the last axis is a multiple of 4, a random integer serves four
    elements, a byte each. An element falls where its byte is below t, t being 256 rate
    rounded up or down at random once a call: each falls with probability `rate`, two
    of them with a correlation below 4e-6 / (rate (1 - rate)).

    Example:
    >>> layer = mmkeras.dropout.Dropout(0.5)
    >>> layer.trainable = False
    >>> float(layer(np.ones((1, 4)), training=True).numpy().sum())
    4.0
    """

    def call(self, inputs, training=False):
        acts = training and self.trainable and 0 < self.rate < 0.99
        width = inputs.shape[-1] if len(inputs.shape) else None
        if not acts or self.noise_shape is not None or width is None or width % 4:
            return super().call(inputs, training)
        keep = self._keep((*ops.shape(inputs)[:-1], width // 4))
        return ops.where(keep, inputs * (1 / (1 - self.rate)), ops.zeros_like(inputs))

    def _keep(self, shape):
        """Booleans, four times as many along the last axis as `shape` says."""
        seed = self.seed_generator
        draw = keras.random.uniform((), dtype="float32", seed=seed)
        least = ops.cast(ops.floor(256 * self.rate + draw), "int32")
        bits = keras.random.randint(shape, -(2**31), 2**31 - 1, "int32", seed)
        keep = [
            ops.bitwise_and(bits, 255 << start) >= least * 2**start
            for start in (0, 8, 16)
        ]
        keep.append(bits >= (least - 128) * 2**24)  # the byte that holds the sign
        return ops.concatenate(keep, axis=-1)


@keras.saving.register_keras_serializable("mmkeras")
class SpatialDropout1D(_Rests, keras.layers.SpatialDropout1D):
    """`keras.layers.SpatialDropout1D` that rests while not trainable."""


@keras.saving.register_keras_serializable("mmkeras")
class SpatialDropout2D(_Rests, keras.layers.SpatialDropout2D):
    """`keras.layers.SpatialDropout2D` that rests while not trainable."""


@keras.saving.register_keras_serializable("mmkeras")
class GaussianDropout(_Rests, keras.layers.GaussianDropout):
    """`keras.layers.GaussianDropout` that rests while not trainable."""


@keras.saving.register_keras_serializable("mmkeras")
class GaussianNoise(_Rests, keras.layers.GaussianNoise):
    """`keras.layers.GaussianNoise` that rests while not trainable."""


@keras.saving.register_keras_serializable("mmkeras")
class AlphaDropout(_Rests, keras.layers.AlphaDropout):
    """`keras.layers.AlphaDropout` that rests while not trainable."""


@keras.saving.register_keras_serializable("mmkeras")
class StochasticDepth(keras.layers.Layer):
    """Drops a whole residual branch per example; rests while not trainable.

    y = x * keep / (1 - rate), keep ~ Bernoulli(1 - rate), one draw an example.

    Args:
        rate: Float in [0, 1), probability that a branch is dropped.
        seed: optional integer.

    Reference:
        Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` wants a float in [0, 1). Received: rate={rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        if not (training and self.trainable and self.rate):
            return x
        shape = (keras.ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keep = keras.ops.cast(draw >= self.rate, x.dtype)
        return x * keep / (1.0 - self.rate)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


#: Keras' noise layers, by exact class, and ours that rest.
_RESTING = {
    keras.layers.Dropout: Dropout,
    keras.layers.SpatialDropout1D: SpatialDropout1D,
    keras.layers.SpatialDropout2D: SpatialDropout2D,
    keras.layers.GaussianDropout: GaussianDropout,
    keras.layers.GaussianNoise: GaussianNoise,
    keras.layers.AlphaDropout: AlphaDropout,
}


def resting(model):
    """A copy of `model` whose dropout and stochastic depth rest while frozen.

    The copy has the same weights, layer names and `trainable` flags; layers shared in
    `model` are shared in it.

    Args:
        model: functional `keras.Model`.

    Returns:
        `keras.Model`; `model` itself where it holds nothing to replace.
    """
    warn_of_others(model)
    if not any(_replacement(x) for x in _leaves(model)):
        return model
    return copy(model)


def copy(model, input_tensors=None, call_function=None):
    """A copy of `model` with weights, names and flags, its dropout resting.

    Args:
        model: functional or Sequential `keras.Model`; models in it are copied too.
        input_tensors: as `keras.models.clone_model` takes them.
        call_function: as `keras.models.clone_model` takes it.

    Returns:
        `keras.Model` that shares nothing with `model`.
    """
    if input_tensors is None and hasattr(model, "operations"):
        input_tensors = _inputs_like(model)
    twin = keras.models.clone_model(
        model,
        input_tensors=input_tensors,
        clone_function=_clone,
        call_function=call_function,
        recursive=True,
    )
    _mirror(model, twin)
    return twin


def _inputs_like(model):
    """Inputs called as the model's are: clone_model names them after their tensors."""
    inputs = [x for x in model.layers if isinstance(x, keras.layers.InputLayer)]
    names = {id(x.output): x.name for x in inputs}
    fresh = [
        keras.Input(batch_shape=x.shape, dtype=x.dtype, name=names.get(id(x)))
        for x in model.inputs
    ]
    return keras.tree.pack_sequence_as(model.input, fresh)


def _clone(layer):
    return _replacement(layer) or layer.__class__.from_config(layer.get_config())


def _replacement(layer):
    """Our resting layer for a noise layer of Keras', or None."""
    if type(layer) in _RESTING:
        return _RESTING[type(layer)].from_config(layer.get_config())
    if type(layer).__name__ == "StochasticDepth" and hasattr(layer, "drop_path_rate"):
        return StochasticDepth(
            layer.drop_path_rate,
            name=layer.name,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
        )
    return None


def _mirror(model, twin):
    """Copies flags and weights, the container first: its flag sets all below it."""
    twin.trainable = model.trainable
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        other = twin.get_layer(layer.name)
        if _is_graph(layer):
            _mirror(layer, other)
            continue
        # Keras' StochasticDepth has no weights, ours owns a seed
        if layer.weights:
            other.set_weights(layer.get_weights())
            if hasattr(other, "finalize_state"):  # Normalization caches its mean
                other.finalize_state()
        other.trainable = layer.trainable


def _is_graph(layer):
    """Whether a layer is a model that `clone_model` copies layer by layer."""
    return isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and hasattr(layer, "operations")
    )


def _leaves(model):
    for layer in model.layers:
        if _is_graph(layer):
            yield from _leaves(layer)
        else:
            yield layer


def warn_of_others(model):
    """Warns of the layers that stay random in `fit` whatever is frozen."""
    names = [x.name for x in _leaves(model) if _random_inside(x)]
    if names:
        warnings.warn(
            f"In model '{model.name}' these layers draw random numbers in training, "
            f"frozen or not, so its features in fit differ from those in predict: "
            f"{names}. Build them with dropout=0, or move augmentation into the data.",
            stacklevel=3,
        )


def _random_inside(layer):
    rates = [getattr(layer, x, 0) for x in ("dropout", "recurrent_dropout")]
    augments = type(layer).__name__.startswith("Random") and hasattr(layer, "seed")
    return augments or any(isinstance(x, float) and x > 0 for x in rates)
