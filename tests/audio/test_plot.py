"""The plots, read back from the figure and held against librosa's own numbers."""

import io

import librosa
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmkeras import audio
from mmkeras.audio import plot

RATE = 16000
TIME = np.arange(RATE) / RATE


def tone(hz):
    return np.sin(2 * np.pi * hz * TIME).astype("float32")


def drawn(axes):
    """Seconds and bands of the cells' ends, and the values, bands first."""
    (mesh,) = axes.collections
    corners = mesh.get_coordinates()
    return corners[0, :, 0], corners[:, 0, 1], np.asarray(mesh.get_array())


def test_values_and_seconds_are_those_of_librosa():
    wave = tone(440) * np.linspace(0, 1, RATE, dtype="float32")
    axes = plot.spectrogram(wave, title="a tone")
    seconds, bands, values = drawn(axes)
    mel = librosa.feature.melspectrogram(y=wave, sr=RATE)
    np.testing.assert_allclose(values, librosa.power_to_db(mel), atol=5e-3)
    centres = (seconds[1:] + seconds[:-1]) / 2
    wanted = librosa.frames_to_time(np.arange(values.shape[1]), sr=RATE)
    np.testing.assert_allclose(centres, wanted, atol=1e-9)
    assert len(bands) == 129
    assert axes.get_xlabel() == "Time (s)" and axes.get_ylabel() == "Hz"
    assert axes.get_title() == "a tone"
    bar = axes.figure.axes[1]
    bar.figure.canvas.draw()
    assert any("dB" in x.get_text() for x in bar.get_yticklabels())


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("hz", [512, 2048, 4096])
def test_a_tone_stands_at_its_tick(htk, hz):
    front = audio.LogMel(RATE, num_mel_bins=80, htk=htk, fmin=50.0)
    axes = plot.spectrogram(tone(hz), front)
    peak = drawn(axes)[2].mean(axis=1).argmax()
    names = [x.get_text() for x in axes.get_yticklabels()]
    assert names[-4:] == ["512", "1024", "2048", "4096"]
    place = axes.get_yticks()[names.index(str(hz))]
    # the band whose peak is nearest to the tone
    peaks = librosa.mel_frequencies(82, fmin=50, fmax=8000, htk=htk)[1:-1]
    between = np.interp(hz, peaks, np.arange(80))
    assert abs(place - between) < 0.02 and abs(place - peak) <= 0.5 + 1e-6


def test_features_of_a_padded_clip_and_axes_of_ones_own():
    front = audio.LogMel(RATE, n_fft=400, hop_length=160, num_mel_bins=40)
    features = np.asarray(front(np.stack([tone(300)]), np.array([8000])))[0]
    axes = Figure().add_subplot()
    assert plot.spectrogram(features, front, length=8000, ax=axes) is axes
    seconds, _, values = drawn(axes)
    assert values.shape == (40, 51) and seconds[-1] == pytest.approx(0.505)
    np.testing.assert_array_equal(values, features[:51].T)
    alone = drawn(plot.spectrogram(tone(300), front, length=8000))[2]
    np.testing.assert_allclose(alone, values, atol=5e-3)


def test_mfcc():
    axes = plot.mfcc(tone(440))
    values = drawn(axes)[2]
    wanted = librosa.feature.mfcc(y=tone(440), sr=RATE)
    np.testing.assert_allclose(values, wanted, atol=2e-3)
    assert axes.get_ylabel() == "MFCC"
    png = io.BytesIO()
    axes.figure.savefig(png)
    assert png.getvalue()[:4] == b"\x89PNG"


@pytest.mark.parametrize("shape", [(2, 5, 128), (5, 20), (0,)])
def test_errors(shape):
    with pytest.raises(ValueError, match=r"`x` wants a wave .*128.*Received: x of sh"):
        plot.spectrogram(np.zeros(shape))
