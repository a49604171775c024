"""The loss of masks."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class MaskLoss(keras.losses.Loss):
    """Cross-entropy of the pixels plus Dice of the region: L = CE + weight * Dice.

    CE is the mean over the pixels, Dice = 1 - mean_c 2 sum p_c y_c / (sum p_c + sum
    y_c), the sums over the pixels of one picture. Cross-entropy alone is content to say
    "nothing" where a mask is small; Dice alone has hardly a gradient at first.

    Example:
    >>> loss = mmkeras.segmentation.MaskLoss(dice=1.0)
    >>> y = np.array([1, 0, 0, 0]).reshape(1, 2, 2, 1)
    >>> float(loss(y, 50.0 * (2 * y - 1.0))) < 1e-6
    True

    Args:
        dice: Float, weight of Dice.
        **kwargs: those of `keras.losses.Loss`.

    Call arguments:
        y_true: integers `(batch, height, width, 1)`: 0 or 1 where `y_pred` has one
            channel, else the pixels' classes.
        y_pred: logits `(batch, height, width, 1)` or `(batch, height, width,
            classes)`.

    Raises:
        ValueError: `dice` is below 0.

    Reference:
        Milletari et al. 2016, arXiv:1606.04797 (Dice; here with p_c, not p_c^2, below
        the line).
    """

    def __init__(self, dice=1.0, name="mask_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        if not dice >= 0:
            raise ValueError(f"`dice` wants a float >= 0. Received: dice={dice!r}")
        self.dice = dice

    def call(self, y_true, y_pred):
        z = ops.cast(y_pred, "float32")
        classes = z.shape[-1]
        if classes == 1:
            y, p = ops.cast(y_true, "float32"), ops.sigmoid(z)
            entropy = ops.binary_crossentropy(y, z, from_logits=True)
        else:
            y = ops.one_hot(ops.cast(y_true[..., 0], "int32"), classes)
            p = ops.softmax(z)
            entropy = ops.categorical_crossentropy(y, z, from_logits=True)
        pixels = tuple(range(1, len(entropy.shape)))
        dice = keras.losses.dice(y, p, axis=(1, 2))
        return ops.mean(entropy, axis=pixels) + self.dice * ops.mean(dice, axis=-1)

    def get_config(self):
        return {**super().get_config(), "dice": self.dice}
