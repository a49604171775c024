"""Mel-frequency cepstral coefficients with librosa's numbers, in `keras.ops`."""

import keras
import numpy as np
from keras import ops

from mmkeras.audio.mel import LogMel


@keras.saving.register_keras_serializable("mmkeras")
class MFCC(LogMel):
    """Mel-frequency cepstral coefficients: the DCT of the log-mel spectrogram.

    y = DCT-II_ortho(LogMel(wave))[:num_coefficients], times
    1 + lifter / 2 sin(pi (k + 1) / lifter) for coefficient k where `lifter` > 0. It
    equals `librosa.feature.mfcc(y=wave, ...).T` clip by clip.

    Example:
    >>> layer = mm.audio.MFCC(sampling_rate=16000, num_coefficients=20)
    >>> layer(np.random.default_rng(0).normal(size=(2, 16000))).shape
    TensorShape([2, 32, 20])

    Args:
        sampling_rate: Integer, in Hz.
        num_coefficients: Integer, coefficients a frame.
        lifter: Float, 0 or more; 0 leaves the coefficients as they are.
        **kwargs: those of `LogMel` (n_fft, hop_length, num_mel_bins, ...).

    Call arguments:
        wave: float tensor `(batch, samples)`.
        lengths: optional int tensor `(batch,)`, samples of each clip.

    Output shape: `(batch, frames, num_coefficients)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range, or `wave` is not of rank 2.

    Reference:
        Davis and Mermelstein 1980; McFee et al. 2015, librosa.
    """

    def __init__(self, sampling_rate=16000, num_coefficients=20, lifter=0, **kwargs):
        super().__init__(sampling_rate=sampling_rate, **kwargs)
        if not 1 <= num_coefficients <= self.num_mel_bins:
            raise ValueError(
                f"`num_coefficients` wants 1 to num_mel_bins={self.num_mel_bins}. "
                f"Received: num_coefficients={num_coefficients}. Raise `num_mel_bins` "
                f"for more."
            )
        if lifter < 0:
            raise ValueError(f"`lifter` wants 0 or more. Received: lifter={lifter}")
        self.num_coefficients = num_coefficients
        self.lifter = lifter
        self._cosines = _dct(self.num_mel_bins, num_coefficients, lifter)

    def call(self, wave, lengths=None):
        mel = super().call(wave, lengths)
        count = ops.shape(mel)[1]
        flat = ops.reshape(mel, (-1, self.num_mel_bins))
        flat = ops.matmul(flat, self._cosines)
        return ops.reshape(flat, (-1, count, self.num_coefficients))

    def compute_output_shape(self, wave_shape, lengths_shape=None):
        shape = super().compute_output_shape(wave_shape, lengths_shape)
        return (*shape[:2], self.num_coefficients)

    def get_config(self):
        return {
            **super().get_config(),
            "num_coefficients": self.num_coefficients,
            "lifter": self.lifter,
        }


def _dct(size, count, lifter):
    """DCT-II, orthonormal, as a matrix `(size, count)` with the lifter folded in."""
    n, k = np.arange(size)[:, None], np.arange(count)[None]
    matrix = np.cos(np.pi * (n + 0.5) * k / size) * np.sqrt(2 / size)
    matrix[:, 0] = np.sqrt(1 / size)
    if lifter > 0:
        matrix *= 1 + lifter / 2 * np.sin(np.pi * (k + 1) / lifter)
    return matrix.astype("float32")
