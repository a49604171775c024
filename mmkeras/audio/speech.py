"""The encoders of Whisper and Moonshine, speech recognisers, from keras_hub.

keras_hub is an extra (`mmkeras[keras_hub]`). The weights' licence is theirs: MIT for
both at the time of writing.
"""

import keras
from keras import ops

from mmkeras.audio.conformer import EverySecond
from mmkeras.audio.features.frames import FrameMask
from mmkeras.audio.features.mel import LogMel
from mmkeras.audio.front import augmentations, check_pooling, pool, wave_input
from mmkeras.dropout import warn_of_others

#: Hz, the rate of both.
_RATE = 16000


def whisper(backbone, seconds=30.0, pooling="mean", augment=None, name="whisper"):
    """Whisper's encoder: log-mel frames, two convolutions, a transformer.

        encoder = mmkeras.audio.whisper("whisper_tiny_en", seconds=10.0)

    As in the original, the network hears the silence behind a clip up to `seconds`, 30
    when it was trained; the mask tells which tokens are the clip's.

    Args:
        backbone: `keras_hub.models.WhisperBackbone`, whose layers the encoder shares,
            or what its `from_preset` takes.
        seconds: Float, length of the tensor; longer clips are cropped.
        pooling: "mean" over the clip's tokens, or None for the tokens, one per 20 ms.
        augment: optional layer of mmkeras.audio, or list of them, as `mfcc_cnn` takes.
        name: name of the encoder.

    Returns:
        `keras.Model` with the input "wave" `(batch, samples)` at 16 kHz. Its output is
        `(batch, dim)`, or with `pooling=None` `{"tokens": (batch, length, dim),
        "mask": (batch, length)}`. One that was frozen in part is read back with
        `mmkeras.load_model`.

    Raises:
        ImportError: keras_hub is not installed.
        ValueError: an unknown pooling, an augmentation that is none, or a clip longer
            than the backbone's positions.

    Reference:
        Radford et al. 2022, arXiv:2212.04356.
    """
    check_pooling(pooling)
    backbone = _backbone("WhisperBackbone", backbone)
    waves, spectra = augmentations(augment, _RATE)
    most = backbone.max_encoder_sequence_length / 100
    if not 0.02 <= seconds <= most:
        raise ValueError(
            f"`seconds` wants 0.02 to {most:g}, which the backbone has positions for. "
            f"Received: seconds={seconds}"
        )
    wave, x, lengths = wave_input(_RATE, seconds, waves)
    mel = LogMel(
        _RATE,
        n_fft=400,
        hop_length=160,
        num_mel_bins=backbone.num_mels,
        pad_mode="reflect",
        top_db=None,
        name="log_mel",
    )
    # no lengths: the end that is mirrored is the tensor's, as in training
    x = WhisperScale(name="scale")(mel(x))
    mask = FrameMask(n_fft=400, hop_length=160, name="frame_mask")(x, lengths)
    for layer in spectra:
        x = layer(x, mask)
    tokens = backbone.get_layer("encoder_layer_norm").output
    network = keras.Model(backbone.input["encoder_features"], tokens, name="network")
    warn_of_others(network)
    mask = EverySecond(name="token_mask")(mask)
    return keras.Model(wave, pool(network(x), mask, pooling), name=name)


def moonshine(backbone, seconds=10.0, pooling="mean", augment=None, name="moonshine"):
    """Moonshine's encoder: three convolutions over the wave, a transformer.

        encoder = mmkeras.audio.moonshine("moonshine_tiny_en", seconds=10.0)

    A clip's tokens do not depend on the padding: its first normalisation counts the
    clip alone, where keras_hub's counts the padding too.

    Args:
        backbone: `keras_hub.models.MoonshineBackbone`, whose layers the encoder shares
            but for that normalisation, or what its `from_preset` takes.
        seconds: Float, length of the tensor; longer clips are cropped.
        pooling: "mean" over the clip's tokens, or None for the tokens, one per 24 ms.
        augment: optional `TimeShift`, `Gain`, `AddNoise`, `MixClips`, or list of them.
        name: name of the encoder.

    Returns:
        `keras.Model` as `whisper` gives. Clips below 56 ms have no token.

    Raises:
        ImportError: keras_hub is not installed.
        ValueError: an unknown pooling, an augmentation that is none or is for
            spectrograms, or `seconds` below 56 ms.

    Reference:
        Jeffries et al. 2024, arXiv:2410.15608.
    """
    check_pooling(pooling)
    backbone = _backbone("MoonshineBackbone", backbone)
    waves, spectra = augmentations(augment, _RATE)
    if spectra:
        raise ValueError(
            "`augment` wants layers for waves: the network hears the wave itself. "
            "Received: `SpecAugment`."
        )
    if ConvolvedMask.tokens(round(seconds * _RATE)) < 1:
        raise ValueError(
            f"`seconds` wants 0.056 or more, one token. Received: seconds={seconds}"
        )
    wave, x, lengths = wave_input(_RATE, seconds, waves)
    x = keras.layers.Reshape((-1, 1), name="channel")(x)
    x = backbone.tanh_after_conv1(backbone.conv1(x))
    theirs = backbone.group_norm
    norm = ClipNormalization(theirs.epsilon, name="clip_norm")
    x = norm(x, FrameMask(127, 64, False, name="frame_mask")(x, lengths))
    norm.set_weights(theirs.get_weights())
    x = backbone.gelu_after_conv2(backbone.conv2(x))
    x = backbone.gelu_after_conv3(backbone.conv3(x))
    mask = ConvolvedMask(name="token_mask")(x, lengths)
    places = backbone.get_layer("encoder_positions")(x)
    rotary = backbone.encoder_rotary_embedding(places)
    x = backbone.encoder_dropout(x)
    for block in backbone.encoder_blocks:
        x = block(x, rotary, attention_mask=mask > 0)
    x = backbone.encoder_final_layer_norm(x)
    encoder = keras.Model(wave, pool(x, mask, pooling), name=name)
    warn_of_others(encoder)
    return encoder


def _backbone(kind, backbone):
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            f"Whisper and Moonshine want the package keras-hub: {error}. Install it "
            f"with the extra mmkeras[keras_hub]."
        ) from error
    wanted = getattr(keras_hub.models, kind)
    if isinstance(backbone, wanted):
        return backbone
    if isinstance(backbone, keras.Model):
        raise ValueError(
            f"`backbone` wants a keras_hub.models.{kind} or the name of its preset. "
            f"Received: {type(backbone).__name__}"
        )
    return wanted.from_preset(backbone)


@keras.saving.register_keras_serializable("mmkeras")
class WhisperScale(keras.layers.Layer):
    """dB to what Whisper takes: (max(x / 10, its most - 8) + 4) / 4, clip by clip.

    The last frame, which stands on the clip's end, is dropped.

    Call arguments:
        decibels: float tensor `(batch, frames, bands)`.

    Output shape: `(batch, frames - 1, bands)`, float32 under any dtype policy.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})

    def call(self, decibels):
        x = decibels[:, :-1] / 10
        floor = ops.max(x, axis=(1, 2), keepdims=True) - 8
        return (ops.maximum(x, floor) + 4) / 4

    def compute_output_shape(self, decibels_shape):
        batch, frames, bands = decibels_shape
        return (batch, None if frames is None else frames - 1, bands)


@keras.saving.register_keras_serializable("mmkeras")
class ClipNormalization(keras.layers.Layer):
    """Normalises each clip over its valid frames and all channels at once.

    y = gamma (x - m) / sqrt(v + epsilon) + beta, m and v the clip's; zeros elsewhere.
    It is group normalisation with one group that does not count the padding.

    Args:
        epsilon: Float.

    Call arguments:
        features: float tensor `(batch, frames, dim)`.
        mask: float tensor `(batch, frames)`, 1 valid, 0 padding.

    Output shape: `(batch, frames, dim)`.

    Reference:
        Wu and He 2018, arXiv:1803.08494.
    """

    def __init__(self, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, features_shape, mask_shape=None):
        shape = (features_shape[-1],)
        self.gamma = self.add_weight(shape, "ones", name="gamma")
        self.beta = self.add_weight(shape, "zeros", name="beta")

    def call(self, features, mask):
        valid = mask[..., None] > 0
        x = ops.cast(features, "float32")
        count = ops.sum(ops.cast(valid, "float32"), axis=1, keepdims=True)
        count = ops.maximum(count, 1.0) * features.shape[-1]
        total = ops.sum(ops.where(valid, x, 0.0), axis=(1, 2), keepdims=True)
        gap = ops.where(valid, x - total / count, 0.0)
        variance = ops.sum(ops.square(gap), axis=(1, 2), keepdims=True) / count
        x = gap * ops.rsqrt(variance + self.epsilon)
        x = x * ops.cast(self.gamma, "float32") + ops.cast(self.beta, "float32")
        return ops.cast(ops.where(valid, x, 0.0), self.compute_dtype)

    def compute_output_shape(self, features_shape, mask_shape=None):
        return tuple(features_shape)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("mmkeras")
class ConvolvedMask(keras.layers.Layer):
    """1 for Moonshine's tokens that hear nothing but the clip, 0 for the others.

    Call arguments:
        features: float tensor `(batch, length, dim)`.
        lengths: int tensor `(batch,)`, samples of each clip.

    Output shape: `(batch, length)`, float32.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})

    @staticmethod
    def tokens(samples):
        """Tokens behind the three convolutions: of an integer, or of a tensor."""
        for size, stride in ((127, 64), (7, 3), (3, 2)):
            samples = (samples - size) // stride + 1
        return samples

    def call(self, features, lengths):
        place = ops.arange(ops.shape(features)[1], dtype="int32")
        count = self.tokens(ops.cast(lengths, "int32"))
        return ops.cast(place[None] < count[:, None], "float32")

    def compute_output_shape(self, features_shape, lengths_shape=None):
        return tuple(features_shape[:2])
