"""The contract of audio: encoded bytes to a waveform at a stated rate."""

import keras
import numpy as np
from keras import ops

from mmkeras.audio import wav
from mmkeras.audio.decode import decode_file, opened
from mmkeras.audio.features import framing
from mmkeras.modality import ModalityInput


@keras.saving.register_keras_serializable("mmkeras")
class Waveform(ModalityInput):
    """Audio as float32 samples in [-1, 1] at a stated rate, one channel.

    A longer clip is cropped at its end, a shorter one padded with zeros; trailing
    zeros count as padding (`ClipLength`). `read`, of tf.data and the serving endpoint,
    takes WAV bytes in TensorFlow core ops; `read_cell`, of training, any file that
    libsndfile decodes:

    ==================  ==============================  ==========================
    file                `read`                          `read_cell`
    ==================  ==============================  ==========================
    WAV, PCM of 8, 16,  samples / 2^(bits - 1)          the same numbers
    24, 32 bits, float
    of 32, 64, plain
    or EXTENSIBLE
    FLAC, OGG, MP3,     refused                         libsndfile
    other WAV
    another rate        refused                         resampled, soxr HQ
    several channels    their mean (5.1: of all six)    the same
    half an hour        the first `seconds`             the first `seconds` alone
                                                        are read from the disk
    0 bytes             absent: zeros, presence 0       bytes: absent; file: error
    0 samples           error                           error
    WAV, OGG cut off    error                           error
    FLAC, MP3 cut off   refused                         error, where the cut comes
                                                        within `seconds`
    NaN, infinity       error, within `seconds`         error, within `seconds`
    full scale, clipped as they are; float and MP3 may  the same
                        pass 1
    ==================  ==============================  ==========================

    An MP3 without a Xing or Info frame, or an OGG cut between two pages, states no
    length: what is there is read.

    Example:
    >>> clip = mm.audio.Waveform(sampling_rate=16000, seconds=0.5)
    >>> raw = mm.audio.encode_wav(np.full(4000, 0.25), 16000)
    >>> clip.read([raw]).shape
    TensorShape([1, 8000])
    >>> float(clip.read([raw])[0, 3999]), float(clip.read([raw])[0, 4000])
    (0.25, 0.0)

    Args:
        sampling_rate: Integer, samples a second, in Hz.
        seconds: Float, length of the tensor in seconds.

    Call arguments:
        wave: float tensor `(batch, samples)`.

    Output shape: `(batch, samples)`, float32 under any dtype policy.

    Raises:
        ValueError: `sampling_rate` or `seconds` is not above 0; in `read_cell`, the
            file is not audio, is truncated, holds 0 samples or a NaN.
        tf.errors.InvalidArgumentError: in `read`, the same, and a WAV file at another
            rate or of another format.
    """

    kind = "audio"

    def __init__(self, sampling_rate=16000, seconds=2.0, **kwargs):
        # a half cannot hold 16 bits of audio: float32 whatever the policy
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        if sampling_rate <= 0 or round(seconds * sampling_rate) < 1:
            raise ValueError(
                f"`sampling_rate` (Hz) and `seconds` want numbers above 0 that give at "
                f"least one sample. Received: sampling_rate={sampling_rate}, "
                f"seconds={seconds}"
            )
        self.sampling_rate = int(sampling_rate)
        self.seconds = float(seconds)

    @property
    def samples(self):
        """Length of the tensor in samples."""
        return round(self.seconds * self.sampling_rate)

    @property
    def tensor_shape(self):
        return (self.samples,)

    def read_one(self, raw):
        import tensorflow as tf

        wave = wav.decode(raw, self.sampling_rate, self.samples)
        wave = tf.pad(wave, [[0, self.samples - tf.shape(wave)[0]]])
        return tf.ensure_shape(wave, (self.samples,))

    def refusal(self, raw):
        return wav.refusal(raw, self.sampling_rate, self.samples)

    def read_cell(self, cell):
        if isinstance(cell, str) and "://" in cell:
            cell = _fetched(cell)
        elif not cell:  # as `read`: an empty string is an absent clip
            return np.zeros(self.tensor_shape, "float32")
        with opened(cell) as file:
            start = file.read(4)
            if not start:
                raise ValueError("the file is empty")
            if start == b"RIFF":
                self._refuse_broken(wav.header_of(file))
        wave = decode_file(cell, self.sampling_rate, self.samples)
        return np.pad(wave, (0, self.samples - len(wave)))

    def _refuse_broken(self, head):
        """Raises what `read` says of a WAV file, if libsndfile would mend it."""
        sound, known, whole, filled, _ = wav.holds(head, self.sampling_rate)
        # libsndfile is the judge of other kinds, soxr mends the rate
        wrong = [not sound, False, known and not whole, known and not filled, False]
        if any(wrong):
            reason = wav.reasons(head, self.sampling_rate)[wrong.index(True)]
            raise ValueError(reason.numpy().decode())

    def call(self, wave):
        return ops.cast(wave, "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "sampling_rate": self.sampling_rate,
            "seconds": self.seconds,
        }


def _fetched(url):
    """The bytes of a file that is not local."""
    import tensorflow as tf

    with tf.io.gfile.GFile(url, "rb") as file:
        return file.read()


@keras.saving.register_keras_serializable("mmkeras")
class ClipLength(keras.layers.Layer):
    """Length of each clip: the place of its last sample that is not 0, plus 1.

    Example:
    >>> wave = np.array([[0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    >>> mm.audio.ClipLength()(wave).numpy()
    array([2, 0], dtype=int32)

    Call arguments:
        wave: float tensor `(batch, samples)`, padded with zeros at the end.

    Output shape: `(batch,)`, int32, in samples.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})

    def call(self, wave):
        return framing.sound_length(wave)

    def compute_output_shape(self, wave_shape):
        return (wave_shape[0],)

    def compute_output_spec(self, wave):
        return keras.KerasTensor((wave.shape[0],), dtype="int32")
