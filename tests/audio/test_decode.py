"""What becomes of each odd file: soundfile, scipy and librosa are the references."""

import io
import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
import tensorflow as tf

import mmkeras as mm
from mmkeras.audio import wav

# librosa.load imports audioread, which imports what Python 3.13 drops
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is deprecated and slated:DeprecationWarning"
)
RATE = 16000
RNG = np.random.default_rng(0)
NOISE = RNG.uniform(-0.5, 0.5, (40000, 6)).astype("float32")
SURROUND = NOISE[:5000]
KINDS = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]


@pytest.fixture(scope="module")
def clip():
    return mm.audio.Waveform(RATE, 0.5)


def write(samples, rate=RATE, **kwargs):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **kwargs})
    return file.getvalue()


# 5.1 and full scale: what libsndfile gives
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "FLAC", "OGG", "AIFF", "W64"])
def test_surround_is_the_mean_of_all_six(clip, container):
    raw = write(SURROUND, format=container)
    wanted, _ = soundfile.read(io.BytesIO(raw), dtype="float32")
    np.testing.assert_array_equal(clip.read_cell(raw)[:5000], wanted.mean(axis=1))


@pytest.mark.parametrize("rate", [RATE, 44100])
def test_surround_wav_on_both_roads(clip, rate):
    raw = write(SURROUND, rate, format="WAVEX")
    got = clip.read_cell(raw)
    if rate == RATE:
        np.testing.assert_array_equal(clip.read(raw), got)
    wanted, _ = soundfile.read(io.BytesIO(raw), dtype="float32")
    wanted = librosa.resample(
        wanted.mean(axis=1), orig_sr=rate, target_sr=RATE, res_type="soxr_hq"
    )
    np.testing.assert_array_equal(got[: len(wanted)], wanted)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_full_scale_equals_scipy(clip, dtype, channels, tmp_path):
    """Clipped clips come as they are; a float's peaks beyond 1 stay."""
    whole = np.issubdtype(dtype, np.integer)
    limits = np.iinfo(dtype) if whole else None
    ends = [limits.min, limits.max] if whole else [-1.5, 1.5]
    samples = np.repeat(np.array(ends, dtype)[[0, 1, 1, 0, 1]], 100)
    samples = np.repeat(samples[:, None], channels, axis=1)
    path = tmp_path / "clip.wav"
    scipy.io.wavfile.write(path, RATE, samples)
    _, read = scipy.io.wavfile.read(path)
    read = read.reshape(500, channels).astype("float64")
    if whole:
        half = 2.0 ** (8 * np.dtype(dtype).itemsize - 1)
        read = (read - 128 if dtype == "uint8" else read) / half
    wanted = read.mean(axis=1).astype("float32")
    for got in (clip.read_cell(str(path)), clip.read(path.read_bytes()).numpy()):
        np.testing.assert_array_equal(got[:500], wanted)
    assert wanted.min() == (-1.0 if whole else -1.5)


def test_an_mp3_passes_1_as_librosa_does(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE))
    path = tmp_path / "clip.mp3"
    path.write_bytes(write(square, format="MP3"))
    wanted, _ = librosa.load(path, sr=RATE)
    got = mm.audio.Waveform(RATE, 1.0).read_cell(str(path))
    assert got.max() > 1.05
    np.testing.assert_allclose(got, wanted[:RATE], rtol=0, atol=2e-6)


# files cut off
@pytest.mark.parametrize("road", ["path", "bytes"])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3", "ID3 MP3"])
def test_a_file_cut_off(container, road, tmp_path):
    *tagged, container = container.split()
    raw = write(NOISE[:, :2], format=container)
    if tagged:  # 300 bytes in front: 2 x 128 + 44
        raw = b"ID3\4\0\0" + bytes([0, 0, 2, 44]) + bytes(300) + raw
    path = tmp_path / "clip"

    def read(data, seconds):
        path.write_bytes(data)
        cell = str(path) if road == "path" else data
        return mm.audio.Waveform(RATE, seconds).read_cell(cell)

    whole = read(raw, 2.6)
    assert np.flatnonzero(whole)[-1] > 39000
    for share in (0.9, 0.5, 0.2):
        with pytest.raises(ValueError, match="truncated"):
            read(raw[: int(len(raw) * share)], 2.6)
    if container in ("FLAC", "MP3"):  # what is wanted is there
        got = read(raw[: int(len(raw) * 0.9)], 0.5)
        np.testing.assert_allclose(got, whole[:8000], atol=1e-6)


def test_a_stream_that_states_no_length_is_read_as_far_as_it_goes():
    mp3 = write(NOISE[:, 0], format="MP3")
    at = max(mp3.find(b"Info"), mp3.find(b"Xing"))
    second = mp3.find(mp3[:2], at)  # frames begin alike
    ogg = write(NOISE[:, 0], format="OGG")
    for raw in (mp3[second : len(mp3) // 2], ogg[: ogg.rfind(b"OggS")]):
        got = mm.audio.Waveform(RATE, 2.6).read_cell(raw)
        wanted, _ = soundfile.read(io.BytesIO(raw), dtype="float32")
        assert 8000 < len(wanted) < 40000
        np.testing.assert_array_equal(got[: len(wanted)], wanted)


@pytest.mark.parametrize("container", ["OGG", "AIFF"])
def test_a_header_alone_holds_0_samples(clip, container):
    with pytest.raises(ValueError, match="0 samples"):
        clip.read_cell(write(np.zeros(0), format=container))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_no_number(clip, bad, rate):
    for container in ("WAV", "AIFF"):
        samples = NOISE[:, :2].copy()
        samples[77, 1] = bad
        raw = write(samples, rate, format=container, subtype="FLOAT")
        with pytest.raises(ValueError, match="NaN or infinite"):
            clip.read_cell(raw)
        samples[77, 1], samples[-1, 1] = 0.0, bad  # behind what is wanted
        raw = write(samples, rate, format=container, subtype="FLOAT")
        assert np.isfinite(clip.read_cell(raw)).all()


@pytest.mark.parametrize("stuff", [b"\xff\xfb\x90", b"ID3", b"OggS", b"fLaC", b"RIFF"])
def test_a_name_and_nothing_behind(clip, stuff, tmp_path):
    path = tmp_path / "clip"
    for raw in (stuff, stuff + bytes(100)):
        path.write_bytes(raw)
        for cell in (raw, str(path)):
            with pytest.raises(ValueError, match="not audio|truncated|not a WAV"):
                clip.read_cell(cell)


def test_24_bits_in_four_bytes_are_no_noise(clip):
    """`read` takes packed samples alone; libsndfile knows the wide ones."""
    values = RNG.integers(-(2**23), 2**23, 300)
    data = (values * 256).astype("<i4").tobytes()  # the upper three of four bytes
    form = struct.pack("<HHIIHH", 1, 1, RATE, RATE * 4, 4, 24)
    body = b"WAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", len(data)) + data
    raw = b"RIFF" + struct.pack("<I", len(body)) + body
    with pytest.raises(tf.errors.InvalidArgumentError, match="24 bits, .* 4 bytes"):
        clip.read(raw)


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_half_an_hour_is_not_read(container, tmp_path):
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("this system does not count what a process reads")
    rate, path = 8000, tmp_path / "clip"
    samples = np.resize(NOISE[:, 0], 30 * 60 * rate)
    soundfile.write(path, samples, rate, format=container, subtype="PCM_16")
    layer = mm.audio.Waveform(RATE, 2.0)

    def read():
        return int(counter.read_text().split()[1])

    before = read()
    got = layer.read_cell(str(path))
    assert read() - before < 2**19 < path.stat().st_size / 30
    wanted, _ = librosa.load(path, sr=RATE, duration=2.25, res_type="soxr_hq")
    np.testing.assert_allclose(got, wanted[:32000], atol=2e-6)


def test_both_headers_agree_on_any_bytes():
    """The header of the serving graph and that in Python, on broken files too."""
    graph = tf.function(wav.header, input_signature=[tf.TensorSpec((), tf.string)])
    whole = [write(SURROUND[:9, :2], subtype=x) for x in KINDS]
    whole.append(write(SURROUND[:9], format="WAVEX"))
    whole.append(whole[1][:36] + b"LIST\3\0\0\0abc\0" + whole[1][36:])
    cases = [x[:n] for x in whole for n in (*range(0, 60, 3), len(x) - 1, len(x))]
    for raw in whole:
        for at in RNG.integers(0, 60, 12):
            value = RNG.integers(256).astype("uint8").tobytes()
            cases.append(raw[:at] + value + raw[at + 1 :])
    for raw in cases:
        wanted = [x.numpy() for x in graph(tf.constant(raw))]
        found = wav.header_of(io.BytesIO(raw))
        assert [int(x) for x in found] == [int(x) for x in wanted], raw
        holds = [bool(x) for x in wav.holds(wav.Header(*wanted), RATE)]
        assert [bool(x) for x in wav.holds(found, RATE)] == holds, raw
