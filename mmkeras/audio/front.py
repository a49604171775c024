"""What the audio encoders share: from a wave to features and mask, and pooling."""

from mmkeras.audio.augment import WaveAugmentation
from mmkeras.audio.features.frames import (
    BlankFrames,
    FrameMask,
    FrameNormalization,
    FrameStatistics,
)
from mmkeras.audio.spec_augment import SpecAugment
from mmkeras.audio.waveform import ClipLength, Waveform
from mmkeras.augmentation import listed
from mmkeras.modality import tensor_input

POOLINGS = ("mean", None)


def wave_input(sampling_rate, seconds, augment=()):
    """The input "wave", its contract's output behind `augment`, and the lengths."""
    contract = Waveform(sampling_rate, seconds, name="waveform")
    wave = tensor_input(contract, "wave")
    x = contract(wave)
    for layer in augment:
        x = layer(x)
    return wave, x, ClipLength(name="clip_length")(x)


def wave_features(sampling_rate, seconds, front_end, augment=()):
    """Input, features `(batch, frames, dim)` and mask `(batch, frames)`."""
    if front_end.sampling_rate != sampling_rate:
        raise ValueError(
            f"`front_end` wants the rate of the encoder, {sampling_rate} Hz. Received: "
            f"{type(front_end).__name__} at {front_end.sampling_rate} Hz. Give both "
            f"the same `sampling_rate`."
        )
    wave, x, lengths = wave_input(sampling_rate, seconds, augment)
    features = front_end(x, lengths)
    mask = FrameMask(
        n_fft=front_end.frame_length,
        hop_length=front_end.hop_length,
        center=front_end.center,
        name="frame_mask",
    )
    return wave, features, mask(features, lengths)


def normalized_features(sampling_rate, seconds, front_end, augment):
    """As `wave_features`, normalised over the training data, then augmented."""
    waves, spectra = augmentations(augment, sampling_rate)
    wave, x, mask = wave_features(sampling_rate, seconds, front_end, waves)
    x = FrameNormalization(name="coefficients_norm")(x, mask)
    for layer in spectra:  # their 0 is now the mean
        x = layer(x, mask)
    return wave, x, mask


def augmentations(augment, sampling_rate):
    """Copies of the layers in `augment`: those for waves, those for spectrograms."""
    waves, spectra = [], []
    for layer in listed(augment):
        if not isinstance(layer, (WaveAugmentation, SpecAugment)):
            raise ValueError(
                f"`augment` wants layers of mmkeras.audio: `TimeShift`, `Gain`, "
                f"`AddNoise`, `MixClips`, `SpecAugment`, or one of your own derived "
                f"from `mmkeras.audio.augment.WaveAugmentation`. Received: {layer!r}"
            )
        rate = getattr(layer, "sampling_rate", None)
        if rate not in (None, sampling_rate):
            raise ValueError(
                f"`augment` wants layers at the rate of the encoder, {sampling_rate} "
                f"Hz. Received: {type(layer).__name__} at {rate} Hz. Give both the "
                f"same `sampling_rate`."
            )
        # a layer shared by two encoders would freeze with either
        kept = waves if isinstance(layer, WaveAugmentation) else spectra
        kept.append(type(layer).from_config(layer.get_config()))
    return waves, spectra


def check_pooling(pooling):
    if pooling not in POOLINGS:
        raise ValueError(
            f"`pooling` wants one of {POOLINGS}. Received: pooling={pooling!r}"
        )


def pool(x, mask, pooling):
    """The encoder's output: the mean over the valid frames, or tokens and mask."""
    check_pooling(pooling)
    if pooling is None:
        return {"tokens": BlankFrames(name="tokens")(x, mask), "mask": mask}
    return FrameStatistics(name="pool")(x, mask)
