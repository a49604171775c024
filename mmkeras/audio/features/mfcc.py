"""Mel-frequency cepstral coefficients with librosa's numbers, in `keras.ops`."""

import keras
import numpy as np
from keras import ops

from mmkeras.audio.features.mel import LogMel

_DCT_NORMS = ("ortho", "htk")


@keras.saving.register_keras_serializable("mmkeras")
class MFCC(LogMel):
    """Mel-frequency cepstral coefficients: the DCT of the log-mel spectrogram.

    y = DCT-II_ortho(LogMel(wave))[:num_coefficients], times
    1 + lifter / 2 sin(pi (k + lifter_start) / lifter) for coefficient k = 0, 1, ...
    where `lifter` > 0. It equals `librosa.feature.mfcc(y=wave, ...).T` clip by clip,
    and by `MFCC.from_preset(name)` what Kaldi or HTK compute.

    Example:
    >>> layer = mm.audio.MFCC(sampling_rate=16000, num_coefficients=20)
    >>> layer(np.random.default_rng(0).normal(size=(2, 16000))).shape
    TensorShape([2, 32, 20])

    Args:
        sampling_rate: Integer, in Hz.
        num_coefficients: Integer, coefficients a frame.
        lifter: Float, 0 or more; 0 leaves the coefficients as they are.
        lifter_start: Integer, 1 (librosa) or 0 (Kaldi, HTK: c0 stays as it is).
        dct_norm: "ortho", or "htk", whose c0 is sqrt(2) times as large.
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

    _cepstrum = True

    def __init__(
        self,
        sampling_rate=16000,
        num_coefficients=20,
        lifter=0,
        lifter_start=1,
        dct_norm="ortho",
        **kwargs,
    ):
        super().__init__(sampling_rate=sampling_rate, **kwargs)
        if not 1 <= num_coefficients <= self.num_mel_bins:
            raise ValueError(
                f"`num_coefficients` wants 1 to num_mel_bins={self.num_mel_bins}. "
                f"Received: num_coefficients={num_coefficients}. Raise `num_mel_bins` "
                f"for more."
            )
        if lifter < 0:
            raise ValueError(f"`lifter` wants 0 or more. Received: lifter={lifter}")
        if lifter_start not in (0, 1):
            raise ValueError(
                f"`lifter_start` wants 0 or 1. Received: lifter_start={lifter_start}"
            )
        if dct_norm not in _DCT_NORMS:
            raise ValueError(
                f"`dct_norm` wants one of {_DCT_NORMS}. Received: dct_norm={dct_norm!r}"
            )
        self.num_coefficients = num_coefficients
        self.lifter = lifter
        self.lifter_start = lifter_start
        self.dct_norm = dct_norm
        self._cosines = self._dct()

    def _dct(self):
        """The DCT-II as a matrix `(bands, coefficients)`, the lifter folded in."""
        size = self.num_mel_bins
        n, k = np.arange(size)[:, None], np.arange(self.num_coefficients)[None]
        matrix = np.cos(np.pi * (n + 0.5) * k / size) * np.sqrt(2 / size)
        if self.dct_norm == "ortho":
            matrix[:, 0] = np.sqrt(1 / size)
        if self.lifter > 0:
            turn = np.pi * (k + self.lifter_start) / self.lifter
            matrix *= 1 + self.lifter / 2 * np.sin(turn)
        return matrix.astype("float32")

    def _features(self, levels, scale, zero):
        count = ops.shape(levels)[1]
        flat = ops.reshape(levels, (-1, self.num_mel_bins))
        flat = ops.matmul(flat, np.float32(scale) * self._cosines)
        if zero:
            flat = flat - np.float32(zero) * self._cosines.sum(axis=0)
        return ops.reshape(flat, (-1, count, self.num_coefficients))

    def compute_output_shape(self, wave_shape, lengths_shape=None):
        shape = super().compute_output_shape(wave_shape, lengths_shape)
        return (*shape[:2], self.num_coefficients)

    def get_config(self):
        return {
            **super().get_config(),
            "num_coefficients": self.num_coefficients,
            "lifter": self.lifter,
            "lifter_start": self.lifter_start,
            "dct_norm": self.dct_norm,
        }
