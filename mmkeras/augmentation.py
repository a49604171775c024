"""What the layers that change sounds, pictures and texts in training share.

They rest at inference and, as `mmkeras.dropout.Dropout` does, while not trainable: a
frozen encoder gives the same features in `fit` as in `predict`.
"""

import keras
from keras import ops


def listed(augment):
    """The `augment` of an encoder as a list: None, a layer, or several."""
    layers = augment if isinstance(augment, list | tuple) else [augment]
    return [x for x in layers if x is not None]


class Augmentation(keras.layers.Layer):
    """Base class: acts in training, while trainable, on a share `rate` of the examples.

    A subclass writes `augment` and, where its settings can leave everything as it is,
    `acts`.

    Args:
        rate: Float in [0, 1], probability that an example is changed.
        seed: optional integer.
    """

    def __init__(self, rate=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"`rate` wants a float in [0, 1]. Received: rate={rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def acts(self):
        """Whether the settings change anything at all."""
        return True

    def _rests(self, training):
        return not (training and self.trainable and self.rate and self.acts())

    def _some(self, changed, original):
        """The share `rate` of the changed examples, the others as they were."""
        if self.rate == 1:
            return changed
        shape = (ops.shape(original)[0],) + (1,) * (len(original.shape) - 1)
        return ops.where(self._uniform(shape) < self.rate, changed, original)

    def _uniform(self, shape, low=0.0, high=1.0):
        return keras.random.uniform(shape, low, high, "float32", self.seed_generator)

    def _integers(self, shape, most):
        """Integers from 0 to `most`, a tensor that broadcasts to `shape`, inclusive."""
        draw = ops.floor(self._uniform(shape) * (ops.cast(most, "float32") + 1.0))
        return ops.minimum(ops.cast(draw, "int32"), most)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
