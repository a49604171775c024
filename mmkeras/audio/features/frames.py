"""Layers over frames `(batch, frames, dim)` that know where each clip ends."""

import keras
import numpy as np
from keras import ops

from mmkeras.audio.features.framing import frame_count


@keras.saving.register_keras_serializable("mmkeras")
class FrameMask(keras.layers.Layer):
    """1 for the valid frames of a clip, 0 for those of its padding.

    Example:
    >>> mask = mm.audio.FrameMask(n_fft=2048, hop_length=512)
    >>> mask(np.zeros((2, 4, 20)), np.array([512, 1600])).numpy()
    array([[1., 1., 0., 0.],
           [1., 1., 1., 1.]], dtype=float32)

    Args:
        n_fft: Integer, samples of a frame: the `frame_length` of the features' layer,
            which is its `n_fft` but with `align="left"`.
        hop_length: Integer, samples from one frame to the next.
        center: whether frame t is centred on sample t * hop_length.

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        lengths: int tensor `(batch,)`, samples of each clip.

    Output shape: `(batch, frames)`, float32.
    """

    def __init__(self, n_fft=2048, hop_length=512, center=True, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.center = center

    def call(self, features, lengths):
        place = ops.arange(ops.shape(features)[1], dtype="int32")
        lengths = ops.cast(lengths, "int32")
        count = frame_count(lengths, self.n_fft, self.hop_length, self.center)
        return ops.cast(place[None] < count[:, None], "float32")

    def compute_output_shape(self, features_shape, lengths_shape):
        return tuple(features_shape[:2])

    def get_config(self):
        return {
            **super().get_config(),
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "center": self.center,
        }


@keras.saving.register_keras_serializable("mmkeras")
class BlankFrames(keras.layers.Layer):
    """Zeros in the frames that the mask leaves out, so that none leaks into the next.

    Example:
    >>> mm.audio.BlankFrames()(np.ones((1, 2, 1)), np.array([[1.0, 0.0]])).numpy()
    array([[[1.],
            [0.]]], dtype=float32)

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: float tensor `(batch, frames)`, 1 valid, 0 padding.

    Output shape: `(batch, frames, dim)`.
    """

    def call(self, features, mask):
        return ops.where(mask[..., None] > 0, features, ops.zeros_like(features))

    def compute_output_shape(self, features_shape, mask_shape=None):
        return tuple(features_shape)


@keras.saving.register_keras_serializable("mmkeras")
class FrameNormalization(keras.layers.BatchNormalization):
    """Batch normalisation whose statistics count the valid frames alone.

    The mask is a plain argument: Keras' own would travel on as an implicit mask.

    Example:
    >>> layer = mm.audio.FrameNormalization()
    >>> layer(np.ones((2, 5, 3)), np.ones((2, 5))).shape
    TensorShape([2, 5, 3])

    Args:
        momentum: Float in [0, 1), share of the old moving statistics that a step keeps;
            0.9, so that short runs do not leave them behind.
        **kwargs: those of `keras.layers.BatchNormalization`.

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: float tensor `(batch, frames)`, 1 valid, 0 padding.

    Output shape: `(batch, frames, dim)`.

    Reference:
        Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(self, momentum=0.9, **kwargs):
        super().__init__(momentum=momentum, **kwargs)

    def build(self, features_shape, mask_shape=None):
        super().build(features_shape)

    def call(self, features, mask, training=None):
        return super().call(features, training=training, mask=mask)

    def compute_output_shape(self, features_shape, mask_shape=None):
        return tuple(features_shape)


@keras.saving.register_keras_serializable("mmkeras")
class FrameStatistics(keras.layers.Layer):
    """Mean, and standard deviation if asked, over the valid frames of each clip.

    m = sum_t w_t x_t / sum_t w_t, s = sqrt(sum_t w_t (x_t - m)^2 / sum_t w_t). No valid
    frame gives zeros.

    Example:
    >>> x = np.array([[[1.0], [3.0], [9.0]]])
    >>> mm.audio.FrameStatistics(deviation=True)(x, np.array([[1.0, 1.0, 0.0]])).numpy()
    array([[2., 1.]], dtype=float32)

    Args:
        deviation: whether the standard deviations follow the means.

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: float tensor `(batch, frames)`, 1 valid, 0 padding.

    Output shape: `(batch, dim)`, or `(batch, 2 * dim)` with `deviation`.
    """

    def __init__(self, deviation=False, **kwargs):
        super().__init__(**kwargs)
        self.deviation = deviation

    def call(self, features, mask):
        # sums over frames in float32: a half loses them
        valid = mask[..., None] > 0
        x = ops.where(valid, ops.cast(features, "float32"), 0.0)
        total = ops.sum(ops.cast(valid, "float32"), axis=1)
        total = ops.maximum(total, 1.0)
        mean = ops.sum(x, axis=1) / total
        if not self.deviation:
            return ops.cast(mean, self.compute_dtype)
        gap = ops.where(valid, x - mean[:, None], 0.0)
        variance = ops.sum(ops.square(gap), axis=1) / total
        # the root of 0 has no gradient
        deviation = ops.sqrt(ops.maximum(variance, 1e-12))
        deviation = ops.where(variance > 1e-12, deviation, 0.0)
        both = ops.concatenate([mean, deviation], axis=-1)
        return ops.cast(both, self.compute_dtype)

    def compute_output_shape(self, features_shape, mask_shape=None):
        dim = features_shape[-1]
        return (features_shape[0], 2 * dim if self.deviation else dim)

    def get_config(self):
        return {**super().get_config(), "deviation": self.deviation}


@keras.saving.register_keras_serializable("mmkeras")
class CepstralNormalization(keras.layers.Layer):
    """Takes off each clip's own mean, and divides by its deviation, by coefficient.

    y_t = (x_t - m) / sqrt(v + epsilon) with m and v the mean and the (biased) variance
    of the clip's valid frames; y_t = x_t - m without `variance`. It has no weights:
    what a channel adds to every frame goes, in training and in serving alike.

    Example:
    >>> x = np.array([[[1.0], [3.0], [9.0]]])
    >>> layer = mm.audio.CepstralNormalization()
    >>> layer(x, np.array([[1.0, 1.0, 0.0]])).numpy().round(3)[0, :, 0]
    array([-1.,  1.,  0.], dtype=float32)

    Args:
        variance: whether to divide by the standard deviation.
        epsilon: Float, added to the variance, so that a coefficient that does not
            change gives 0.

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: float tensor `(batch, frames)`, 1 valid, 0 padding.

    Output shape: `(batch, frames, dim)`, float32 under any dtype policy; beyond the
        valid frames 0.

    Raises:
        ValueError: `epsilon` is not above 0.

    Reference:
        Atal 1974; Viikki and Laurila 1998.
    """

    def __init__(self, variance=True, epsilon=1e-6, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        if epsilon <= 0:
            raise ValueError(
                f"`epsilon` wants a number above 0. Received: epsilon={epsilon}"
            )
        self.variance = variance
        self.epsilon = epsilon

    def call(self, features, mask):
        valid = mask[..., None] > 0
        total = ops.sum(ops.cast(valid, "float32"), axis=1, keepdims=True)
        total = ops.maximum(total, 1.0)
        x = ops.where(valid, ops.cast(features, "float32"), 0.0)
        # twice: the first mean of large numbers is rounded
        for _ in range(2):
            mean = ops.sum(x, axis=1, keepdims=True) / total
            x = ops.where(valid, x - mean, 0.0)
        if not self.variance:
            return x
        variance = ops.sum(ops.square(x), axis=1, keepdims=True) / total
        return x / ops.sqrt(variance + self.epsilon)

    def compute_output_shape(self, features_shape, mask_shape=None):
        return tuple(features_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "variance": self.variance,
            "epsilon": self.epsilon,
        }


@keras.saving.register_keras_serializable("mmkeras")
class Delta(keras.layers.Layer):
    """Change of each coefficient over time: the slope of a local polynomial.

    A Savitzky-Golay filter of `width` frames and degree `order`, the `order`-th
    derivative. It equals `librosa.feature.delta(..., mode=mode)` clip by clip.

    Example:
    >>> ramp = np.arange(10.0)[None, :, None]
    >>> float(mm.audio.Delta(width=5)(ramp, np.ones((1, 10)))[0, 4, 0])
    1.0

    Args:
        width: odd Integer, 3 or more, frames that a slope is fitted to.
        order: Integer, 1 for the slope, 2 for its change.
        mode: what the `width // 2` frames at either end of a clip get: "nearest", as if
            its first and last frame went on for ever; or "interp" (librosa's default),
            the derivative of the polynomial through its first or last `width` frames.
            Clips shorter than `width`, which librosa refuses then, are as "nearest".

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: float tensor `(batch, frames)`, 1 for the valid frames, which come first.

    Output shape: `(batch, frames, dim)`; beyond the valid frames 0.

    Raises:
        ValueError: `width` is even or below 3, `order` is not in [1, width), or `mode`
            is neither.

    Reference:
        Savitzky and Golay 1964.
    """

    def __init__(self, width=9, order=1, mode="nearest", **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        if width < 3 or width % 2 == 0:
            raise ValueError(
                f"`width` wants an odd number, 3 or more. Received: width={width}"
            )
        if not 1 <= order < width:
            raise ValueError(
                f"`order` wants 1 to width - 1. Received: order={order}, width={width}"
            )
        if mode not in _MODES:
            raise ValueError(f"`mode` wants one of {_MODES}. Received: mode={mode!r}")
        self.width = width
        self.order = order
        self.mode = mode
        self._weights_of_frames = _savitzky_golay(width, order)

    def call(self, features, mask):
        x = ops.cast(features, "float32")
        valid = mask[..., None] > 0
        count = ops.sum(ops.cast(valid, "int32"), axis=1)[:, None]
        place = ops.arange(ops.shape(x)[1], dtype="int32")[None, :, None]
        last = ops.sum(ops.where(place == count - 1, x, 0.0), axis=1, keepdims=True)
        x = ops.where(valid, x, last)
        half = self.width // 2
        ends = [ops.repeat(x[:, :1], half, axis=1), x, ops.repeat(x[:, -1:], half, 1)]
        x = ops.concatenate(ends, axis=1)
        slope = 0.0
        for i, weight in enumerate(self._weights_of_frames):
            slope = slope + weight * x[:, i : i - 2 * half or None]
        if self.mode == "interp":
            # the `order`-th derivative of a polynomial of that degree is one number
            inner = ops.minimum(ops.maximum(place, half), count - 1 - half)
            place = ops.where(count >= self.width, inner, place)
            slope = ops.take_along_axis(slope, ops.maximum(place, 0), axis=1)
        return ops.where(valid, slope, 0.0)

    def compute_output_shape(self, features_shape, mask_shape=None):
        return tuple(features_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "order": self.order,
            "mode": self.mode,
        }


_MODES = ("nearest", "interp")


def _savitzky_golay(width, order):
    """Weights of the `order`-th derivative of the fitted polynomial, mid-window."""
    place = np.arange(width) - width // 2
    powers = place[:, None] ** np.arange(order + 1)[None]
    weights = np.linalg.pinv(powers)[order] * np.prod(np.arange(1, order + 1))
    return [float(x) for x in weights]
