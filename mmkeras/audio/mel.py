"""Log-mel spectrograms with librosa's numbers, in `keras.ops`."""

import keras
import numpy as np
from keras import ops

from mmkeras.audio import framing
from mmkeras.audio.dft import DFTS

#: From this n_fft on, most of the mel matrix is zeros: multiply it in blocks.
_BLOCKS_FROM = 1024
_BLOCKS = 4


@keras.saving.register_keras_serializable("mmkeras")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram in dB, by librosa's conventions and defaults.

    y = 10 log10(max(amin, M |STFT(wave)|^power) / max(amin, ref)), cut `top_db` below
    each example's own maximum. It equals
    `librosa.power_to_db(librosa.feature.melspectrogram(y=wave, ...)).T` clip by clip.

    With `lengths`, samples beyond a clip's end count as zeros whatever they hold, its
    valid frames are the first `frame_count(length)`, and frames beyond them do not
    touch `top_db`: a clip gives the same numbers alone and in any batch.

    Example:
    >>> layer = mm.audio.LogMel(sampling_rate=16000, num_mel_bins=64)
    >>> layer(np.random.default_rng(0).normal(size=(2, 16000))).shape
    TensorShape([2, 32, 64])

    Args:
        sampling_rate: Integer, in Hz.
        n_fft: Integer, length of a frame in samples.
        win_length: Integer, length of the window in samples, centred in the frame;
            None: `n_fft`.
        hop_length: Integer, samples from one frame to the next.
        window: what `scipy.signal.get_window` takes, a name as a rule.
        center: whether frame t is centred on sample t * hop_length, the ends padded.
        pad_mode: "constant" (zeros) or "reflect" (each clip at its own ends).
        num_mel_bins: Integer, number of mel bands.
        fmin: Float, lowest frequency in Hz.
        fmax: Float, highest frequency in Hz; None: half the sampling rate.
        htk: whether the mel scale is HTK's in place of Slaney's.
        norm: "slaney" (each band has the same area) or None (peak 1).
        power: Float, exponent of the magnitude: 2 power, 1 magnitude.
        amin: Float, least power that is told from silence.
        ref: Float, power of 0 dB.
        top_db: Float, dB kept below the example's maximum; None: all.
        dft: "rfft", or "matmul" for runtimes whose FFT does not take `n_fft`.

    Call arguments:
        wave: float tensor `(batch, samples)`.
        lengths: optional int tensor `(batch,)`, samples of each clip.

    Output shape: `(batch, frames, num_mel_bins)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range, or `wave` is not of rank 2.

    Reference:
        McFee et al. 2015, librosa. Departs: 16 kHz by default; `top_db` by example,
        never by batch; an FFT in float32 where librosa's is float64: beside a pure tone
        and without `top_db`, bands 110 dB and more below it differ by 0.05 to 0.4 dB.
    """

    def __init__(
        self,
        sampling_rate=16000,
        n_fft=2048,
        win_length=None,
        hop_length=512,
        window="hann",
        center=True,
        pad_mode="constant",
        num_mel_bins=128,
        fmin=0.0,
        fmax=None,
        htk=False,
        norm="slaney",
        power=2.0,
        amin=1e-10,
        ref=1.0,
        top_db=80.0,
        dft="rfft",
        **kwargs,
    ):
        # in float16 the spectrum overflows: float32 whatever the policy
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.sampling_rate = sampling_rate
        self.n_fft = n_fft
        self.win_length = win_length
        self.hop_length = hop_length
        self.window = window
        self.center = center
        self.pad_mode = pad_mode
        self.num_mel_bins = num_mel_bins
        self.fmin = fmin
        self.fmax = fmax
        self.htk = htk
        self.norm = norm
        self.power = power
        self.amin = amin
        self.ref = ref
        self.top_db = top_db
        self.dft = dft
        self._check()
        self._spectrum = DFTS[dft](n_fft)
        self._window = self._padded_window()
        self._filters = self._filter_blocks()

    def _check(self):
        nyquist = self.sampling_rate / 2
        fmax = nyquist if self.fmax is None else self.fmax
        wanted = {
            "sampling_rate": (self.sampling_rate > 0, "a rate above 0 Hz"),
            "n_fft": (self.n_fft >= 2, "at least 2 samples"),
            "hop_length": (self.hop_length >= 1, "at least 1 sample"),
            "win_length": (
                self.win_length is None or 1 <= self.win_length <= self.n_fft,
                f"None, or 1 to n_fft={self.n_fft} samples",
            ),
            "pad_mode": (self.pad_mode in _PAD_MODES, f"one of {_PAD_MODES}"),
            "num_mel_bins": (self.num_mel_bins >= 1, "at least 1 band"),
            "fmin": (0 <= self.fmin < fmax, f"a frequency in [0, fmax={fmax}) Hz"),
            "fmax": (fmax <= nyquist, f"at most half the rate, {nyquist} Hz"),
            "norm": (self.norm in _NORMS, f"one of {_NORMS}"),
            "power": (self.power > 0, "a number above 0"),
            "amin": (self.amin > 0, "a number above 0"),
            "ref": (self.ref > 0, "a number above 0"),
            "top_db": (
                self.top_db is None or self.top_db >= 0,
                "None, or 0 dB and up",
            ),
            "dft": (self.dft in DFTS, f"one of {tuple(DFTS)}"),
        }
        for name, (holds, what) in wanted.items():
            if not holds:
                raise ValueError(
                    f"`{name}` wants {what}. Received: {name}={getattr(self, name)!r}"
                )

    def _padded_window(self):
        from scipy.signal import get_window

        length = self.win_length or self.n_fft
        left = (self.n_fft - length) // 2
        window = get_window(self.window, length, fftbins=True)
        return np.pad(window, (left, self.n_fft - length - left)).astype("float32")

    def _filter_blocks(self):
        """The mel matrix as (first row, end row, block) for groups of its columns."""
        import librosa

        mel = librosa.filters.mel(
            sr=self.sampling_rate,
            n_fft=self.n_fft,
            n_mels=self.num_mel_bins,
            fmin=self.fmin,
            fmax=self.fmax,
            htk=self.htk,
            norm=self.norm,
        ).T
        order = self._spectrum.order
        mel = np.where(order[:, None] >= 0, mel[order], 0).astype("float32")
        if self.dft != "rfft" or self.n_fft < _BLOCKS_FROM:
            return [(0, len(mel), mel)]
        groups = np.array_split(np.arange(self.num_mel_bins), _BLOCKS)
        return [_tight(mel[:, group]) for group in groups if len(group)]

    def call(self, wave, lengths=None):
        if len(wave.shape) != 2:
            raise ValueError(
                f"`{type(self).__name__}` wants waves (batch, samples). Received: wave "
                f"of shape {tuple(wave.shape)}. Add a batch axis, or average the "
                f"channels."
            )
        wave = ops.cast(wave, "float32")
        if lengths is not None:
            lengths = ops.cast(lengths, "int32")
            wave = framing.blank_beyond(wave, lengths)
        decibels, count = self._decibels(wave, lengths)
        decibels = ops.reshape(decibels, (-1, count, self.num_mel_bins))
        if self.top_db is None:
            return decibels
        return self._cut(decibels, lengths)

    def _decibels(self, wave, lengths):
        if self.center:
            wave = framing.pad_center(wave, lengths, self.n_fft, self.pad_mode)
        # two dimensions up to the end: the FFT and the products are faster so
        frames, count = framing.frame(wave, self.n_fft, self.hop_length)
        spectrum = self._spectrum.power(frames * self._window)
        if self.power != 2:
            # the root of 0 has no gradient
            spectrum = ops.power(ops.maximum(spectrum, 1e-30), self.power / 2)
        mel = _apply(self._filters, spectrum)
        scale = 10 / np.log(10)
        zero = scale * np.log(max(self.amin, self.ref))
        return scale * ops.log(ops.maximum(mel, self.amin)) - zero, count

    def _cut(self, decibels, lengths):
        peak = ops.max(decibels, axis=2)
        if lengths is not None:
            place = ops.arange(ops.shape(peak)[1], dtype="int32")
            valid = place[None] < self.frame_count(lengths)[:, None]
            peak = ops.where(valid, peak, -1e30)
        floor = ops.max(peak, axis=1) - self.top_db
        return ops.maximum(decibels, floor[:, None, None])

    def frame_count(self, samples):
        """Frames of a clip of `samples`: an integer, an integer tensor, or None."""
        return framing.frame_count(
            samples, self.n_fft, self.hop_length, center=self.center
        )

    def compute_output_shape(self, wave_shape, lengths_shape=None):
        return (wave_shape[0], self.frame_count(wave_shape[1]), self.num_mel_bins)

    def get_config(self):
        return {
            **super().get_config(),
            "sampling_rate": self.sampling_rate,
            "n_fft": self.n_fft,
            "win_length": self.win_length,
            "hop_length": self.hop_length,
            "window": self.window,
            "center": self.center,
            "pad_mode": self.pad_mode,
            "num_mel_bins": self.num_mel_bins,
            "fmin": self.fmin,
            "fmax": self.fmax,
            "htk": self.htk,
            "norm": self.norm,
            "power": self.power,
            "amin": self.amin,
            "ref": self.ref,
            "top_db": self.top_db,
            "dft": self.dft,
        }


_PAD_MODES = ("constant", "reflect")
_NORMS = ("slaney", None)


def _tight(columns):
    """Columns of the mel matrix without the zero rows at their ends."""
    rows = np.flatnonzero(columns.any(axis=1))
    low, high = (rows[0], rows[-1] + 1) if len(rows) else (0, 1)
    return int(low), int(high), columns[low:high]


def _apply(blocks, spectrum):
    if len(blocks) == 1:
        return ops.matmul(spectrum, blocks[0][2])
    parts = [ops.matmul(spectrum[:, low:high], block) for low, high, block in blocks]
    return ops.concatenate(parts, axis=-1)
