"""Pretrained modules that take one wave at a time, as encoders of whole batches.

YAMNet and its like (TF-Hub) are called on one float32 waveform `(samples,)` and give
frames of scores, embeddings and a spectrogram. The folder or URL is the user's: its
licence is that of who made it.
"""

import keras
import numpy as np

from mmkeras.audio.front import augmentations, check_pooling, pool, wave_input
from mmkeras.hub import HubLayer

#: Places of YAMNet's outputs.
_OUTPUTS = ("scores", "embeddings", "log_mel_spectrogram")


def yamnet(
    handle,
    sampling_rate=16000,
    seconds=2.0,
    pooling="mean",
    output="embeddings",
    least=0.975,
    trainable=False,
    augment=None,
    name="yamnet",
):
    """An encoder around YAMNet, or a module of its form: one wave in, frames out.

        encoder = mmkeras.audio.yamnet("modules/yamnet", seconds=5.0)

    Each clip runs by itself and at its own length: what a module gives for it depends
    neither on the padding nor on the batch. Frames beyond it are zeros and masked; an
    absent clip, all zeros, is not run and has no frame. The module is stored in the
    `.keras` file, which, being a program, is read back only with
    `keras.models.load_model(path, safe_mode=False)`.

    Args:
        handle: folder of a TF2 SavedModel, or a URL that tensorflow_hub understands.
        sampling_rate: Integer, in Hz, the rate that the module was trained at.
        seconds: Float, length of the tensor; longer clips are cropped.
        pooling: "mean" over the valid frames, or None for one token a frame.
        output: which output: "scores", "embeddings" or "log_mel_spectrogram" where the
            module gives these three, its place as an integer where it gives others, a
            key where it gives a dict.
        least: Float, shorter clips are padded to so many seconds; YAMNet's window.
        trainable: Boolean, whether the module's trainable variables learn.
        augment: optional `TimeShift`, `Gain`, `AddNoise`, `MixClips`, or list of them;
            at rest while the module does not learn.
        name: name of the encoder.

    Returns:
        `keras.Model` with the input "wave" `(batch, samples)`. Its output is
        `(batch, dim)`, or with `pooling=None` `{"tokens": (batch, frames, dim),
        "mask": (batch, frames)}`; dim is 1024 for YAMNet's embeddings.

    Raises:
        ValueError: no SavedModel there, one that refuses one wave, an unknown output
            or pooling.
        OSError: the module cannot be fetched.

    Reference:
        Gemmeke et al. 2017 (AudioSet, which YAMNet was trained on); Howard et al. 2017,
        arXiv:1704.04861 (its network).
    """
    check_pooling(pooling)
    waves, spectra = augmentations(augment, sampling_rate)
    if spectra:
        raise ValueError(
            "`augment` wants layers for waves: the module makes its spectrogram "
            "itself. Received: `SpecAugment`."
        )
    layer = ClipModule(
        handle,
        samples=round(seconds * sampling_rate),
        least=round(least * sampling_rate),
        output=output,
        trainable=trainable,
        name="module",
    )
    for each in waves:  # a module that is frozen wants the same clips every time
        each.trainable = trainable
    wave, x, lengths = wave_input(sampling_rate, seconds, waves)
    feature = layer(x, lengths)
    return keras.Model(
        wave, pool(feature["tokens"], feature["mask"], pooling), name=name
    )


@keras.saving.register_keras_serializable("mmkeras")
class ClipModule(HubLayer):
    """A SavedModel called clip by clip, each at its own length; tokens and mask out.

    Args:
        handle: as `HubLayer` takes it.
        samples: Integer, most samples of a clip.
        least: Integer, samples that a shorter clip is padded to with zeros.
        output: which output, as `yamnet` takes it.
        frames: for reloading; the most frames of a clip and their width.
        **kwargs: those of `HubLayer`.

    Call arguments:
        wave: float tensor `(batch, samples)`.
        lengths: int tensor `(batch,)`, samples of each clip; one of 0 is not run.

    Output shape: `{"tokens": (batch, frames, dim), "mask": (batch, frames)}`.

    Raises:
        ValueError: as `HubLayer`, and a module that does not take one wave or gives no
            frames.
    """

    def __init__(
        self, handle, samples, least=1, output="embeddings", frames=None, **kwargs
    ):
        super().__init__(handle, **{**kwargs, "autocast": False})
        self.samples = samples
        self.least = least
        self.output_name = output
        self.frames = list(frames) if frames else self._tried()

    def _tried(self):
        """Frames and width of the longest clip, by running one."""
        longest = np.zeros(max(self.samples, self.least), "float32")
        try:
            outputs = self.run(longest)
        except Exception as error:  # TensorFlow raises many kinds here
            raise ValueError(
                f"The module '{self.handle}' does not take one wave (samples,). A "
                f"module that takes batches fits `mmkeras.hub.saved_model` with "
                f"`contract=mmkeras.audio.Waveform(...)`. The module says: {error}"
            ) from error
        found = self._chosen(outputs)
        if len(found.shape) != 2:
            raise ValueError(
                f"`output` wants frames (frames, dim). Received: output="
                f"{self.output_name!r} of shape {tuple(found.shape)} from "
                f"'{self.handle}'. It gives {_shapes(outputs)}."
            )
        return [int(x) for x in found.shape]

    def call(self, wave, lengths, training=False):
        import tensorflow as tf

        most, dim = self.frames
        tokens_spec = tf.TensorSpec((most, dim), tf.float32)
        count_spec = tf.TensorSpec((), tf.int32)

        def one(item):
            clip, length = item
            return tf.cond(length > 0, lambda: heard(clip[:length]), nothing)

        def heard(clip):
            short = tf.maximum(self.least - tf.shape(clip)[0], 0)
            found = self._chosen(self.run(tf.pad(clip, [[0, short]]), training))
            found = tf.cast(found, tf.float32)[:most]
            count = tf.shape(found)[0]
            found = tf.pad(found, [[0, most - count], [0, 0]])
            return tf.ensure_shape(found, (most, dim)), count

        def nothing():
            return tf.zeros((most, dim)), tf.constant(0)

        tokens, counts = tf.map_fn(
            one, (wave, lengths), fn_output_signature=(tokens_spec, count_spec)
        )
        self.add_penalties()
        mask = tf.cast(tf.range(most)[None] < counts[:, None], tf.float32)
        return {"tokens": tokens, "mask": mask}

    def _chosen(self, outputs):
        """The wanted output of what the module gives."""
        key = self.output_name
        if isinstance(outputs, dict):
            if key in outputs:
                return outputs[key]
        elif not isinstance(outputs, (list, tuple)):
            return outputs  # there is but one
        else:
            if key in _OUTPUTS and len(outputs) == len(_OUTPUTS):
                key = _OUTPUTS.index(key)
            if isinstance(key, int) and 0 <= key < len(outputs):
                return outputs[key]
        raise ValueError(
            f"`output` wants one of {list(_shapes(outputs))}. Received: output="
            f"{self.output_name!r}. '{self.handle}' gives {_shapes(outputs)}."
        )

    def compute_output_spec(self, wave, lengths, training=False):
        most, dim = self.frames
        return {
            "tokens": keras.KerasTensor((wave.shape[0], most, dim), "float32"),
            "mask": keras.KerasTensor((wave.shape[0], most), "float32"),
        }

    def get_config(self):
        own = {"samples": self.samples, "least": self.least}
        own |= {"output": self.output_name, "frames": self.frames}
        config = {**super().get_config(), **own}
        del config["output_key"]
        return config


def _shapes(outputs):
    """Shapes of a module's outputs, by the name or place that chooses each."""
    if isinstance(outputs, dict):
        pairs = sorted(outputs.items())
    elif len(outputs) == len(_OUTPUTS):
        pairs = zip(_OUTPUTS, outputs, strict=True)
    else:
        pairs = enumerate(outputs)
    return {key: tuple(x.shape) for key, x in pairs}
