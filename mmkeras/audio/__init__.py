"""Audio: the contract `Waveform`, librosa's features as layers, and encoders."""

from mmkeras.audio import plot
from mmkeras.audio.augment import AddNoise, Gain, MixClips, TimeShift
from mmkeras.audio.conformer import conformer
from mmkeras.audio.encoders import mfcc_cnn, mfcc_rnn, mfcc_statistics
from mmkeras.audio.features import (
    MFCC,
    BlankFrames,
    CepstralNormalization,
    Delta,
    FrameMask,
    FrameNormalization,
    FrameStatistics,
    LogMel,
)
from mmkeras.audio.pretrained import ClipModule, yamnet
from mmkeras.audio.spec_augment import SpecAugment
from mmkeras.audio.speech import moonshine, whisper
from mmkeras.audio.wav import encode_wav
from mmkeras.audio.waveform import ClipLength, Waveform

__all__ = [
    "MFCC",
    "AddNoise",
    "BlankFrames",
    "CepstralNormalization",
    "ClipLength",
    "ClipModule",
    "Delta",
    "FrameMask",
    "FrameNormalization",
    "FrameStatistics",
    "Gain",
    "LogMel",
    "MixClips",
    "SpecAugment",
    "TimeShift",
    "Waveform",
    "conformer",
    "encode_wav",
    "mfcc_cnn",
    "mfcc_rnn",
    "mfcc_statistics",
    "moonshine",
    "plot",
    "whisper",
    "yamnet",
]
