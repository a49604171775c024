"""SpecAugment: spectrograms whose frames and bands are masked at random."""

import keras
from keras import ops

from mmkeras.augmentation import Augmentation

_COUNTS = ("time_masks", "frequency_masks", "time_width", "frequency_width")


@keras.saving.register_keras_serializable("mmkeras")
class SpecAugment(Augmentation):
    """Masks random runs of frames and of bands, inside the valid frames of each clip.

    A mask is w wide and starts at s: w uniform in 0..width, at most a share
    `time_share` of the clip's valid frames for a time mask; s uniform in 0..size - w.

    Example:
    >>> layer = mm.audio.SpecAugment(time_width=2, frequency_width=1)
    >>> layer(np.ones((1, 6, 4)), np.ones((1, 6)), training=True).shape
    TensorShape([1, 6, 4])

    Args:
        time_masks: Integer, masks over frames; they may overlap.
        frequency_masks: Integer, masks over bands (or coefficients).
        time_width: Integer, most frames of one time mask.
        frequency_width: Integer, most bands of one frequency mask.
        time_share: Float in [0, 1], most of a clip that one time mask takes.
        value: Float, what stands in the masks; 0 is the mean behind a normalisation,
            which is where the encoders put this layer.
        rate: Float in [0, 1], probability that a clip is masked.
        seed: optional integer.

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: optional float tensor `(batch, frames)`, 1 for the valid frames, which
            come first.

    Output shape: `(batch, frames, dim)`.

    Raises:
        ValueError: an argument is out of range.

    Reference:
        Park et al. 2019, arXiv:1904.08779. Departs: no time warping, which its
        authors found to matter least.
    """

    def __init__(
        self,
        time_masks=2,
        frequency_masks=2,
        time_width=20,
        frequency_width=8,
        time_share=0.2,
        value=0.0,
        rate=1.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(rate, seed, **kwargs)
        self.time_masks = time_masks
        self.frequency_masks = frequency_masks
        self.time_width = time_width
        self.frequency_width = frequency_width
        self.time_share = time_share
        self.value = value
        for name in _COUNTS:
            count = getattr(self, name)
            if not isinstance(count, int) or count < 0:
                raise ValueError(
                    f"`{name}` wants an integer, 0 or more. Received: {name}={count}"
                )
        if not 0 <= time_share <= 1:
            raise ValueError(
                f"`time_share` wants a float in [0, 1]. Received: "
                f"time_share={time_share}"
            )

    def acts(self):
        times = self.time_masks and self.time_width and self.time_share
        return bool(times or self.frequency_masks and self.frequency_width)

    def call(self, features, mask=None, training=False):
        if self._rests(training):
            return features
        batch, frames = ops.shape(features)[:2]
        if mask is None:
            valid = ops.ones((batch, frames), "bool")
        else:
            valid = mask > 0
        count = ops.sum(ops.cast(valid, "int32"), axis=1, keepdims=True)
        share = ops.cast(self.time_share * ops.cast(count, "float32"), "int32")
        width = ops.minimum(share, self.time_width)
        hidden = ops.zeros((batch, 1, 1), "bool")
        if self.time_masks:
            shape = (batch, self.time_masks)
            hidden = self._runs(shape, width, count, frames)[:, :, None]
        if self.frequency_masks:
            shape, dim = (batch, self.frequency_masks), features.shape[-1]
            bands = self._runs(shape, min(self.frequency_width, dim), dim, dim)
            hidden = ops.logical_or(hidden, bands[:, None])
        hidden = ops.logical_and(hidden, valid[:, :, None])
        value = ops.cast(self.value, features.dtype)
        return self._some(ops.where(hidden, value, features), features)

    def _runs(self, shape, width, size, places):
        """True inside random runs: `(batch, places)`, for `(batch, masks)` runs."""
        width = self._integers(shape, width)
        start = self._integers(shape, size - width)[:, :, None]
        place = ops.arange(places, dtype="int32")[None, None]
        inside = ops.logical_and(place >= start, place < start + width[:, :, None])
        return ops.any(inside, axis=1)

    def compute_output_shape(self, features_shape, mask_shape=None):
        return tuple(features_shape)

    def get_config(self):
        own = {name: getattr(self, name) for name in _COUNTS}
        own |= {"time_share": self.time_share, "value": self.value}
        return {**super().get_config(), **own}
