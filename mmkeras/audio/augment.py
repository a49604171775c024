"""Augmentation of sounds: layers that act in training alone, on each clip by itself.

They rest at inference and, as `mmkeras.dropout.Dropout` does, while not trainable: a
frozen encoder gives the same features in `fit` as in `predict`. Trailing zeros are a
clip's padding and stay zeros; an absent clip is all zeros and stays so. Keras' own
layers do not fit: `GaussianNoise` fills the padding and knows no level, `RandomErasing`
cuts one rectangle out of a picture wherever the clip ends, `MixUp` mixes the labels.
"""

import math

import keras
from keras import ops

from mmkeras.audio.waveform import ClipLength
from mmkeras.augmentation import Augmentation


class WaveAugmentation(Augmentation):
    """Base class of those that take waves `(batch, samples)`, padded with zeros."""

    #: Hz; None where the layer does the same at every rate.
    sampling_rate = None

    def __init__(self, rate=1.0, seed=None, **kwargs):
        # a half cannot hold 16 bits of audio: float32 whatever the policy
        kwargs = {**kwargs, "dtype": "float32", "autocast": False}
        super().__init__(rate, seed, **kwargs)
        self._clip_length = ClipLength()

    def build(self, wave_shape):
        self._clip_length.build(wave_shape)

    def call(self, wave, training=False):
        wave = ops.cast(wave, "float32")
        if self._rests(training):
            return wave
        lengths = self._clip_length(wave)[:, None]
        return self._some(self.augment(wave, lengths), wave)

    def augment(self, wave, lengths):
        """Every clip changed.

        Args:
            wave: float32 tensor `(batch, samples)`.
            lengths: int32 tensor `(batch, 1)`, samples of each clip.
        """
        raise NotImplementedError(f"{type(self).__name__} must write `augment`.")

    def compute_output_shape(self, wave_shape):
        return tuple(wave_shape)


@keras.saving.register_keras_serializable("mmkeras")
class TimeShift(WaveAugmentation):
    """Moves each clip by a random number of whole samples; what leaves it is lost.

    y[t] = x[t - s] where both t and t - s are in the clip, 0 elsewhere; s uniform in
    [-m, m], m being `seconds`, or half the clip's own length where that is less. The
    clip's end does not move outwards; a shift to the left brings it nearer.

    Example:
    >>> layer = mm.audio.TimeShift(seconds=0.1, sampling_rate=10, seed=1)
    >>> layer(np.array([[1.0, 2.0, 3.0, 4.0, 0.0]]), training=True).numpy()
    array([[0., 1., 2., 3., 0.]], dtype=float32)

    Args:
        seconds: Float, 0 or more, the furthest shift either way.
        sampling_rate: Integer, in Hz.
        rate: Float in [0, 1], probability that a clip is shifted.
        seed: optional integer.

    Call arguments:
        wave: float tensor `(batch, samples)`, padded with zeros at the end.

    Output shape: `(batch, samples)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, seconds, sampling_rate=16000, rate=1.0, seed=None, **kwargs):
        super().__init__(rate, seed, **kwargs)
        if not 0 <= seconds < math.inf or sampling_rate <= 0:
            raise ValueError(
                f"`seconds` wants 0 or more and `sampling_rate` a rate above 0 Hz. "
                f"Received: seconds={seconds}, sampling_rate={sampling_rate}"
            )
        self.seconds = seconds
        self.sampling_rate = sampling_rate

    def acts(self):
        return round(self.seconds * self.sampling_rate) > 0

    def augment(self, wave, lengths):
        most = ops.minimum(lengths // 2, round(self.seconds * self.sampling_rate))
        shift = self._integers(ops.shape(lengths), 2 * most) - most
        samples = ops.shape(wave)[1]
        place = ops.arange(samples, dtype="int32")[None]
        source = place - shift
        inside = ops.logical_and(source >= 0, source < lengths)
        inside = ops.logical_and(inside, place < lengths)
        moved = ops.take_along_axis(wave, ops.clip(source, 0, samples - 1), axis=1)
        return ops.where(inside, moved, 0.0)

    def get_config(self):
        own = {"seconds": self.seconds, "sampling_rate": self.sampling_rate}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("mmkeras")
class Gain(WaveAugmentation):
    """Makes each clip louder or softer: y = 10^(g / 20) x, g uniform in dB.

    The result is not clipped at 1.

    Example:
    >>> wave = np.array([[0.5, 0.25, 0.0]])
    >>> mm.audio.Gain((-20.0, -20.0))(wave, training=True).numpy()
    array([[0.05 , 0.025, 0.   ]], dtype=float32)

    Args:
        decibels: pair of floats (low, high), or one float d for (-d, d).
        rate: Float in [0, 1], probability that a clip is changed.
        seed: optional integer.

    Call arguments:
        wave: float tensor `(batch, samples)`, padded with zeros at the end.

    Output shape: `(batch, samples)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, decibels, rate=1.0, seed=None, **kwargs):
        super().__init__(rate, seed, **kwargs)
        self.decibels = decibels
        low_high = decibels
        if isinstance(decibels, (int, float)):
            low_high = (-decibels, decibels)
        self._range = _ordered("decibels", low_high, decibels)

    def acts(self):
        return self._range != (0, 0)

    def augment(self, wave, lengths):
        decibels = self._uniform(ops.shape(lengths), *self._range)
        return wave * ops.power(10.0, decibels / 20)

    def get_config(self):
        return {**super().get_config(), "decibels": self.decibels}


@keras.saving.register_keras_serializable("mmkeras")
class AddNoise(WaveAugmentation):
    """Adds white Gaussian noise at a stated signal-to-noise ratio, clip by clip.

    y = x + a n, a such that 10 log10(sum x^2 / sum (a n)^2) is the ratio, both sums
    over the clip's own length. Silence stays silence.

    Example:
    >>> layer = mm.audio.AddNoise(snr=(10, 30))
    >>> layer(np.array([[0.5, -0.5, 0.0]]), training=True).numpy()[0, 2]
    np.float32(0.0)

    Args:
        snr: pair of floats (low, high), or one float, in dB; uniform in between.
        rate: Float in [0, 1], probability that a clip gets noise.
        seed: optional integer.

    Call arguments:
        wave: float tensor `(batch, samples)`, padded with zeros at the end.

    Output shape: `(batch, samples)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, snr=(10.0, 30.0), rate=1.0, seed=None, **kwargs):
        super().__init__(rate, seed, **kwargs)
        self.snr = snr
        low_high = (snr, snr) if isinstance(snr, (int, float)) else snr
        self._range = _ordered("snr", low_high, snr)

    def augment(self, wave, lengths):
        noise = self.noise(wave)
        place = ops.arange(ops.shape(wave)[1], dtype="int32")[None]
        noise = ops.where(place < lengths, noise, 0.0)
        snr = self._uniform(ops.shape(lengths), *self._range)
        energy = ops.sum(ops.square(noise), axis=1, keepdims=True)
        wanted = ops.sum(ops.square(wave), axis=1, keepdims=True)
        wanted = wanted * ops.power(10.0, -snr / 10)
        level = ops.sqrt(wanted / ops.where(energy > 0, energy, 1.0))
        # the root of 0 has no gradient, and the level is no part of the sound
        return wave + ops.stop_gradient(level) * noise

    def noise(self, wave):
        """What is added, at any level: `(batch, samples)`."""
        return keras.random.normal(
            ops.shape(wave), dtype="float32", seed=self.seed_generator
        )

    def get_config(self):
        return {**super().get_config(), "snr": self.snr}


@keras.saving.register_keras_serializable("mmkeras")
class MixClips(AddNoise):
    """Adds another clip of the batch as background, at a stated ratio; labels stay.

    y_i = x_i + a x_j, j another clip drawn for each i, cut at the length of clip i; a
    as in `AddNoise`. A silent or absent background, or a batch of one, adds nothing.

    Example:
    >>> layer = mm.audio.MixClips(snr=0.0)
    >>> waves = np.array([[3.0, 0.0, 0.0], [1.0, 2.0, 2.0]])
    >>> layer(waves, training=True).numpy()
    array([[6., 0., 0.],
           [4., 2., 2.]], dtype=float32)

    Args:
        snr: pair of floats (low, high), or one float, in dB; uniform in between.
        rate: Float in [0, 1], probability that a clip gets a background.
        seed: optional integer.

    Call arguments:
        wave: float tensor `(batch, samples)`, padded with zeros at the end.

    Output shape: `(batch, samples)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range.
    """

    def noise(self, wave):
        batch = ops.shape(wave)[0]
        own = ops.arange(batch, dtype="int32")
        step = 1 + self._integers((batch,), ops.maximum(batch - 2, 0))
        other = ops.mod(own + step, batch)
        background = ops.take(wave, other, axis=0)
        return ops.where((other != own)[:, None], background, 0.0)


def _ordered(name, low_high, received):
    """A pair of finite floats, the lower first."""
    try:
        low, high = (float(x) for x in low_high)
        holds = -math.inf < low <= high < math.inf
    except (TypeError, ValueError):
        holds = False
    if not holds:
        raise ValueError(
            f"`{name}` wants a number, or a pair (low, high) with low <= high, in dB. "
            f"Received: {name}={received!r}"
        )
    return low, high
