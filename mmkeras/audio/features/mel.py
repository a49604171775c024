"""Log-mel spectrograms with librosa's numbers, in `keras.ops`."""

import keras
import numpy as np
from keras import ops

from mmkeras.audio.features import checks, filters, framing, presets
from mmkeras.audio.features.checks import DFTS, LOGS


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
        dft: "rfft"; "matmul" for runtimes whose FFT does not take `n_fft`; "rfft64" has
            window and FFT in float64, as librosa has them, at about half the speed
            (JAX: with `jax_enable_x64`).
        align: "center": a frame has `n_fft` samples with the window in their middle
            (librosa); "left": it has `win_length` samples, zeros after them (Kaldi,
            HTK, tf.signal).
        periodic: whether the window is scipy's for spectra; False: symmetric.
        scale: Float, factor of the samples: 32768 for tools of 16-bit integers.
        remove_dc: whether each frame's mean is taken off it.
        pre_emphasis: Float in [0, 1): x[t] - pre_emphasis x[t - 1] within each frame,
            after `remove_dc`; the first sample's neighbour is itself (Kaldi, HTK).
        triangles: whether the bands' slopes are linear in "hz" or in "mel".
        log: "db", or "ln" for the natural logarithm, `amin` and `ref` as in dB.
        log_offset: Float, added before the logarithm.
        frames_at_once: Integer, for long clips: transform so many frames of each clip
            at a time (32, say), the same numbers in less memory and up to 1.5 times the
            time, more outside of a graph; None: all. A gradient keeps all pieces.
        clips_at_once: Integer, for large batches on a CPU: transform so many clips at a
            time (2, say), the same numbers, 1.2 to 1.5 times as fast in a graph or
            under XLA, as what lies between the steps stays in the processor's cache;
            None: all, which is for GPUs and TFLite.

    Call arguments:
        wave: float tensor `(batch, samples)`.
        lengths: optional int tensor `(batch,)`, samples of each clip.

    Output shape: `(batch, frames, num_mel_bins)`, float32 under any dtype policy.

    Raises:
        ValueError: an argument is out of range, or `wave` is not of rank 2.

    Reference:
        McFee et al. 2015, librosa. Departs: 16 kHz by default; `top_db` by example,
        never by batch; window and FFT in float32 where librosa's are float64. That
        shows far below a pure sound's peak, where there is nothing but leakage, unless
        `top_db` cuts it off: with `top_db=None`, bands 110 dB and more below a tone
        differ by 0.05 to 0.4 dB, its MFCC by up to 0.07; with `power=1` as well,
        whose dB reach twice as deep, by 15 dB and 60. Speech keeps librosa's numbers in
        both; `dft="rfft64"` keeps them in all.
    """

    _cepstrum = False

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
        align="center",
        periodic=True,
        scale=1.0,
        remove_dc=False,
        pre_emphasis=0.0,
        triangles="hz",
        log="db",
        log_offset=0.0,
        frames_at_once=None,
        clips_at_once=None,
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
        self.align = align
        self.periodic = periodic
        self.scale = scale
        self.remove_dc = remove_dc
        self.pre_emphasis = pre_emphasis
        self.triangles = triangles
        self.log = log
        self.log_offset = log_offset
        self.frames_at_once = frames_at_once
        self.clips_at_once = clips_at_once
        checks.check(self)
        form, self._precision = DFTS[dft]
        self._spectrum = form(n_fft)
        self._make_window()
        self._make_filters()

    @classmethod
    def from_preset(cls, name, sampling_rate=16000, **overrides):
        """The layer as a tool known by `name` has it: `mmkeras.audio.features.presets`.

        Example:
        >>> layer = mm.audio.LogMel.from_preset("kaldi", num_mel_bins=80)
        >>> layer.frame_length, layer.n_fft, layer.log
        (400, 512, 'ln')

        Args:
            name: "librosa", "speech" (librosa's conventions over 25 ms every 10 ms,
                80 bands), "kaldi", "htk" or "yamnet".
            sampling_rate: Integer, in Hz.
            **overrides: arguments of the layer that stand before the preset's.

        Raises:
            ValueError: `name` is none of these.
        """
        return cls(**presets.arguments(name, sampling_rate, overrides, cls._cepstrum))

    def _make_window(self):
        length = self.win_length or self.n_fft
        left = 0 if self.align == "left" else (self.n_fft - length) // 2
        window = self.scale * filters.window(self.window, length, self.periodic)
        window = np.pad(window, (left, self.n_fft - length - left))
        self._window = window.astype(self._precision)
        self._window_ends = (left, left + length)

    def _make_filters(self):
        mel = filters.mel_filters(
            self.sampling_rate,
            self.n_fft,
            self.num_mel_bins,
            self.fmin,
            self.fmax,
            self.htk,
            self.norm,
            self.triangles,
        )
        order = self._spectrum.order
        mel = np.where(order[:, None] >= 0, mel[order], 0).astype("float32")
        self._filters = filters.in_blocks(mel, self.n_fft, self._spectrum.turns)

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
        if self.clips_at_once is None:
            return self._of_clips(wave, lengths)
        return framing.by_clips(self._of_clips, wave, lengths, self.clips_at_once)

    def _of_clips(self, wave, lengths):
        samples = ops.shape(wave)[1]
        if not self.center:
            wave = framing.at_least(wave, self.frame_length)
        make = self._whole if self.frames_at_once is None else self._in_pieces
        levels = make(wave, lengths)
        if self.top_db is not None:
            levels = self._cut(levels, lengths)
        features = self._features(levels, *self._unit())
        if self.center:
            return features
        # of waves shorter than a frame one was made: they have none
        return framing.first(features, self.frame_count(samples))

    def _features(self, levels, scale, zero):
        return scale * levels - zero

    def _unit(self):
        """What natural logarithms are multiplied by, and what `ref` is then."""
        scale = LOGS[self.log]
        return scale, scale * np.log(max(self.amin, self.ref))

    def _whole(self, wave, lengths):
        if lengths is not None:
            wave = framing.blank_beyond(wave, lengths)
        if self.center:
            wave = framing.pad_center(wave, lengths, self.n_fft, self.pad_mode)
        # two dimensions up to the end: the FFT and the products are faster so
        frames, count = self._frames(wave)
        return ops.reshape(self._levels(frames), (-1, count, self.num_mel_bins))

    def _in_pieces(self, wave, lengths):
        size = self.frames_at_once
        count = self.frame_count(ops.shape(wave)[1])
        pieces = (count + size - 1) // size
        samples = (size - 1) * self.hop_length + self.frame_length
        start = self.n_fft // 2 if self.center else 0
        pad_mode = self.pad_mode if self.center else "constant"

        def piece(first):
            place = first * self.hop_length - start + np.arange(samples, dtype="int32")
            part = framing.samples_at(wave, lengths, place, pad_mode)
            frames, _ = self._frames(part)
            return ops.reshape(self._levels(frames), (-1, size, self.num_mel_bins))

        levels = ops.map(piece, ops.arange(pieces, dtype="int32") * size)
        levels = ops.transpose(levels, (1, 0, 2, 3))
        levels = ops.reshape(levels, (-1, pieces * size, self.num_mel_bins))
        return framing.first(levels, count)

    def _frames(self, wave):
        """Windowed frames `(n, n_fft)`, and how many each clip has."""
        low, high = 0, self.frame_length
        # of few clips slices are faster, under XLA by a fourth (2048 / 512)
        slices = self.clips_at_once is not None
        frames, count = framing.frame(wave, high, self.hop_length, slices)
        frames = ops.cast(frames, self._precision)
        if self.remove_dc or self.pre_emphasis:
            low, high = self._window_ends
            frames = self._conditioned(frames[:, low:high])
        frames = frames * self._window[low:high]
        if high - low < self.n_fft:
            frames = ops.pad(frames, [[0, 0], [low, self.n_fft - high]])
        return frames, count

    def _levels(self, frames):
        """Natural logarithms of the mel bands of windowed frames `(n, n_fft)`."""
        spectrum = ops.cast(self._spectrum.power(frames), "float32")
        if self.power != 2:
            # the root of 0 has no gradient
            spectrum = ops.power(ops.maximum(spectrum, 1e-30), self.power / 2)
        mel = filters.apply(self._filters, spectrum)
        if self.log_offset:
            mel = mel + self.log_offset
        return ops.log(ops.maximum(mel, self.amin))

    def _conditioned(self, frames):
        """Frames without their mean and with their treble raised, each by itself."""
        if self.remove_dc:
            frames = frames - ops.mean(frames, axis=1, keepdims=True)
        if self.pre_emphasis:
            before = ops.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
            frames = frames - self.pre_emphasis * before
        return frames

    def _cut(self, levels, lengths):
        peak = ops.max(levels, axis=2)
        if lengths is not None:
            place = ops.arange(ops.shape(peak)[1], dtype="int32")
            valid = place[None] < self.frame_count(lengths)[:, None]
            peak = ops.where(valid, peak, -1e30)
        floor = ops.max(peak, axis=1) - self.top_db / LOGS["db"]
        return ops.maximum(levels, floor[:, None, None])

    @property
    def frame_length(self):
        """Samples of a frame: `n_fft`, or with `align="left"` those of the window."""
        return self.n_fft if self.align == "center" else self._window_ends[1]

    def frame_count(self, samples):
        """Frames of a clip of `samples`: an integer, an integer tensor, or None."""
        return framing.frame_count(
            samples, self.frame_length, self.hop_length, center=self.center
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
            "align": self.align,
            "periodic": self.periodic,
            "scale": self.scale,
            "remove_dc": self.remove_dc,
            "pre_emphasis": self.pre_emphasis,
            "triangles": self.triangles,
            "log": self.log,
            "log_offset": self.log_offset,
            "frames_at_once": self.frames_at_once,
            "clips_at_once": self.clips_at_once,
        }
