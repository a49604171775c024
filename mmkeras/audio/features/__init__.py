"""The front end: from waveforms to frames of features, and what works on frames."""

from mmkeras.audio.features.frames import (
    BlankFrames,
    CepstralNormalization,
    Delta,
    FrameMask,
    FrameNormalization,
    FrameStatistics,
)
from mmkeras.audio.features.mel import LogMel
from mmkeras.audio.features.mfcc import MFCC

__all__ = [
    "MFCC",
    "BlankFrames",
    "CepstralNormalization",
    "Delta",
    "FrameMask",
    "FrameNormalization",
    "FrameStatistics",
    "LogMel",
]
