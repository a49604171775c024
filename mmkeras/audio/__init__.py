"""Audio: the contract `Waveform`, librosa's features as layers, and encoders."""

from mmkeras.audio.encoders import mfcc_cnn, mfcc_rnn, mfcc_statistics
from mmkeras.audio.frames import (
    BlankFrames,
    Delta,
    FrameMask,
    FrameNormalization,
    FrameStatistics,
)
from mmkeras.audio.mel import LogMel
from mmkeras.audio.mfcc import MFCC
from mmkeras.audio.wav import encode_wav
from mmkeras.audio.waveform import ClipLength, Waveform

__all__ = [
    "MFCC",
    "BlankFrames",
    "ClipLength",
    "Delta",
    "FrameMask",
    "FrameNormalization",
    "FrameStatistics",
    "LogMel",
    "Waveform",
    "encode_wav",
    "mfcc_cnn",
    "mfcc_rnn",
    "mfcc_statistics",
]
