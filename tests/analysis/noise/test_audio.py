"""Corruptions of clips against their stated decibels, and scipy's convolution."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from mmkeras.analysis.noise import audio

RATE = 8000


def rng():
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def wave():
    """Half a second of a tone that fades, then padding."""
    time = np.arange(4000) / RATE
    clip = 0.4 * np.sin(2 * np.pi * 440 * time + 1) * np.exp(-3 * time)
    return np.pad(clip, (0, 2000)).astype("float32")


DAMAGES = {
    "noise": audio.noise_at_snr,
    "reverberation": lambda *x: audio.reverberation(*x, sampling_rate=RATE),
    "clipping": audio.clipping,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_padding_range_and_silence(wave, damage):
    for scale in (1.0, 2.4, 4.0):  # the last passes full scale itself
        found = damage(wave * scale, 1.0, rng())
        assert found[4000:].tobytes() == wave[4000:].tobytes()
        assert found[3999] != 0  # the clip's length is kept
        assert np.abs(found).max() <= max(1.0, np.abs(wave * scale).max())
        assert np.isfinite(found).all()
    silent = np.zeros(100, "float32")
    assert damage(silent, 1.0, rng()).tobytes() == silent.tobytes()


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5, 1.0])
def test_the_snr_is_the_stated_one(wave, level):
    clip = wave[:4000].astype(float)
    found = audio.noise_at_snr(wave.astype(float), level, rng())[:4000]
    snr = 10 * np.log10((clip**2).sum() / ((found - clip) ** 2).sum())
    assert snr == pytest.approx(-20 * np.log10(level), abs=1e-9)
    noise = found - clip
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 4 / np.sqrt(4000)  # white


def test_a_loud_clip_is_turned_down_as_a_whole(wave):
    loud = wave.astype(float) * 2.4
    found = audio.noise_at_snr(loud, 1.0, rng())
    plain = audio.noise_at_snr(loud / 100, 1.0, rng()) * 100
    assert np.abs(plain).max() > 1
    np.testing.assert_allclose(found, plain / np.abs(plain).max(), rtol=1e-9)


def room():
    """The response of a room, heard as what it makes of one click."""
    click = np.zeros(2 * RATE)
    click[0], click[-1] = 0.5, 1e-12
    heard = audio.reverberation(click, 0.5, rng(), sampling_rate=RATE)
    return heard / heard[0]


def test_reverberation_is_a_room():
    tail = room()[1 : RATE + 1]
    # direct to reverberant -20 log10(0.5) dB
    assert 10 * np.log10(1 / (tail**2).sum()) == pytest.approx(6.0206, abs=1e-4)
    # Schroeder's backward integral falls by 60 dB in a second: 10 dB in a sixth
    energy = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])
    time = np.arange(RATE) / RATE
    part = (time > 0.02) & (time < 0.4)
    slope = np.polyfit(time[part], energy[part], 1)[0]
    assert slope == pytest.approx(-60, rel=0.05)


def test_reverberation_is_a_convolution_of_the_same_rms(wave):
    clip = wave[:4000].astype(float)
    expected = fftconvolve(clip, room())[:4000]
    expected *= np.sqrt((clip**2).mean() / (expected**2).mean())
    found = audio.reverberation(wave.astype(float), 0.5, rng(), sampling_rate=RATE)
    np.testing.assert_allclose(found[:4000], expected, atol=1e-8)


def test_clipping_overdrives(wave):
    peak = np.abs(wave).max()
    for level, gain in ((1 / 3, 10**0.5), (2 / 3, 10.0), (1.0, 10**1.5)):
        found = audio.clipping(wave, level)
        inside = np.abs(wave) * gain < peak * 0.9999
        np.testing.assert_allclose(found[inside], wave[inside] * gain, rtol=1e-5)
        over = np.abs(wave) * gain > peak * 1.0001
        assert over.any()
        np.testing.assert_array_equal(found[over], np.sign(wave[over]) * peak)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_more_level_more_damage(wave, damage):
    clean = wave / np.linalg.norm(wave)
    alike = []
    for level in (0.1, 0.3, 0.6, 1.0):
        found = damage(wave, level, rng())
        alike.append(float(clean @ found / np.linalg.norm(found)))
    assert 1 > alike[0] and alike == sorted(alike, reverse=True)
    assert alike[-1] < 0.95
