"""The contract of audio: encoded bytes to a waveform at a stated rate."""

import functools

import keras
import numpy as np
from keras import ops

from mmkeras.audio import wav
from mmkeras.audio.decode import decode_file
from mmkeras.modality import ModalityInput


@keras.saving.register_keras_serializable("mmkeras")
class Waveform(ModalityInput):
    """Audio as float32 samples in [-1, 1] at a stated rate, one channel.

    A longer clip is cropped at its end, a shorter one padded with zeros; trailing
    zeros count as padding (`ClipLength`). Channels are averaged. `read` takes WAV bytes
    at `sampling_rate` alone, in TensorFlow core ops; `read_cell` also takes FLAC, OGG,
    MP3 and WAV at other rates (libsndfile, then soxr's HQ resampling).

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

    def read_cell(self, cell):
        import tensorflow as tf

        if isinstance(cell, str):
            with tf.io.gfile.GFile(cell, "rb") as file:
                cell = file.read()
            if not cell:
                raise ValueError("the file is empty")
        if not cell:  # as `read`: an empty string is an absent clip
            return np.zeros(self.tensor_shape, "float32")
        if cell[:4] == b"RIFF":
            try:
                return self.compiled_read(tf.constant([cell])).numpy()[0]
            except tf.errors.InvalidArgumentError:
                self._refuse_broken(cell)  # else of another rate or kind
        wave = decode_file(cell, self.sampling_rate, self.samples)
        return np.pad(wave, (0, self.samples - len(wave)))

    def _refuse_broken(self, data):
        """Raises what is wrong with a WAV file that `read` does not take."""
        holds, why = (x.numpy() for x in _verdict(self.sampling_rate)(data))
        _, known, *_, same_rate = holds
        # libsndfile mends no broken file; of one of another kind it is the judge
        fatal = np.array([True, False, known, known, False])
        for reason in why[fatal & ~holds]:
            raise ValueError(reason.decode())
        if known and same_rate:
            raise ValueError("a sample is NaN or infinite")

    def call(self, wave):
        return ops.cast(wave, "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "sampling_rate": self.sampling_rate,
            "seconds": self.seconds,
        }


@functools.cache
def _verdict(sampling_rate):
    """The checks of `wav` as one graph: op by op they take 10 ms a file."""
    import tensorflow as tf

    def verdict(raw):
        holds, why = zip(*wav.checks(wav.header(raw), sampling_rate), strict=True)
        return tf.stack(holds), tf.stack(why)

    return tf.function(verdict, input_signature=[tf.TensorSpec((), tf.string)])


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
        places = ops.arange(1, ops.shape(wave)[1] + 1, dtype="int32")
        return ops.max(ops.where(wave != 0, places[None], 0), axis=1)

    def compute_output_shape(self, wave_shape):
        return (wave_shape[0],)

    def compute_output_spec(self, wave):
        return keras.KerasTensor((wave.shape[0],), dtype="int32")
