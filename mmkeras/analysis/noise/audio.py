"""Corruptions of clips, float `(samples,)` in [-1, 1], padded with zeros at the end.

Each takes `(wave, level, rng)`, level in [0, 1], and gives a wave of the same shape and
dtype. What lies behind a clip's last sample that is not 0 is padding and stays zeros,
a silent clip stays silent. Where a result would pass full scale (or the clip's own
peak, if that already did) the whole clip is turned down: nothing is clipped by chance.
Level 0 is the identity.
"""

import numpy as np

from mmkeras.analysis.noise.level import corruption

DECAY = 1.0  # s, in which the reverberation falls by 60 dB
OVERDRIVE = 30.0  # dB, at level 1


@corruption
def noise_at_snr(wave, level, rng):
    """Adds white noise of `level` times the clip's RMS: SNR -20 log10(level) dB.

    0 dB at level 1, 6 at 0.5, 20 at 0.1. The noise is scaled to its RMS exactly.

    Example:
    >>> from mmkeras.analysis.noise import audio
    >>> wave = 0.1 * np.sin(np.arange(8000.0))
    >>> noise = audio.noise_at_snr(wave, 0.1, np.random.default_rng(0)) - wave
    >>> round(float(10 * np.log10((wave**2).mean() / (noise**2).mean())), 3)
    20.0
    """
    clip = _clip(wave)
    if not len(clip):
        return wave
    noise = rng.standard_normal(len(clip))
    noise *= level * _rms(clip) / _rms(noise)
    return _padded(clip + noise, wave)


@corruption
def reverberation(wave, level, rng, sampling_rate):
    """Adds the sound of a room whose reverberation falls by 60 dB in 1 s.

    The tail is white noise that decays exponentially (Polack 1988), of `level` times
    the direct sound's RMS: direct to reverberant -20 log10(level) dB, 0 dB at level 1.
    The clip keeps its RMS and its length: a tail that would last longer is cut off.

    Example:
    >>> from mmkeras.analysis.noise import audio
    >>> wave = np.zeros(8000)
    >>> wave[[0, 7999]] = 0.5, 1e-6
    >>> rng = np.random.default_rng(0)
    >>> heard = audio.reverberation(wave, 1.0, rng, sampling_rate=8000)
    >>> round(float((heard[1:] ** 2).sum() / heard[0] ** 2), 6)  # tail to direct sound
    1.0

    Args:
        wave: float array `(samples,)`.
        level: Float in [0, 1].
        rng: `np.random.Generator`, of the room.
        sampling_rate: Hz.
    """
    clip = _clip(wave)
    if not len(clip):
        return wave
    time = np.arange(1, int(DECAY * sampling_rate) + 1) / sampling_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / DECAY)
    tail *= level / np.sqrt((tail**2).sum())
    heard = _convolved(clip, np.concatenate([[1.0], tail]))
    return _padded(heard * (_rms(clip) / _rms(heard)), wave)


@corruption
def clipping(wave, level, rng=None):
    """Overdrives by 30 * level dB: what passes the clip's own peak is cut off.

    Example:
    >>> from mmkeras.analysis.noise import audio
    >>> wave = np.array([0.01, 0.5, -0.04, 0.1])
    >>> audio.clipping(wave, 2 / 3)  # 20 dB, a factor of 10
    array([ 0.1,  0.5, -0.4,  0.5])
    """
    peak = np.abs(wave).max(initial=0.0)
    return np.clip(wave * 10 ** (OVERDRIVE * level / 20), -peak, peak).astype(
        wave.dtype
    )


def _clip(wave):
    """The samples without padding, in float64."""
    there = np.flatnonzero(wave)
    return wave[: there[-1] + 1 if len(there) else 0].astype("float64")


def _padded(clip, wave):
    """`clip` in the place of the samples of `wave`, within its range."""
    limit = max(1.0, np.abs(wave).max(initial=0.0))
    peak = np.abs(clip).max(initial=0.0)
    padded = np.zeros_like(wave)
    padded[: len(clip)] = clip if peak <= limit else clip * (limit / peak)
    return padded


def _rms(x):
    return np.sqrt(np.mean(x**2))


def _convolved(clip, response):
    """The clip's own samples of the convolution with a room's response."""
    size = 1 << (len(clip) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(clip, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(clip)]
