"""The contract `Waveform` against soundfile and librosa."""

import functools
import io
import struct

import keras
import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

import mmkeras as mm

RATE = 16000
RNG = np.random.default_rng(0)
NOISE = RNG.uniform(-1, 1, size=(5000, 3)).astype("float32")


def write(samples, rate=RATE, **kwargs):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **kwargs})
    return file.getvalue()


@functools.cache  # a contract compiles its reader once
def contract(seconds=0.5):
    return mm.audio.Waveform(RATE, seconds)


def everywhere(layer, raw):
    """What `read_cell`, eager `read` and tf.data, unbatched and batched, give."""
    yield layer.read_cell(raw)
    yield layer.read(raw).numpy()
    yield layer.read([raw])[0].numpy()
    data = tf.data.Dataset.from_tensor_slices([raw, raw, b""])
    yield next(iter(data.map(layer.read))).numpy()
    batch = next(iter(data.batch(3).map(layer.read))).numpy()
    assert not batch[2].any()
    yield batch[1]


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
)
def test_wav_equals_soundfile(subtype, container, channels):
    raw = write(NOISE[:, :channels], format=container, subtype=subtype)
    wanted, _ = soundfile.read(io.BytesIO(raw), dtype="float32", always_2d=True)
    layer = contract()
    got = layer.read(raw).numpy()
    assert got.shape == (8000,) and got.dtype == np.float32
    assert not got[5000:].any()
    # the mean of three channels rounds in one order or another
    exact = channels < 3
    np.testing.assert_allclose(
        got[:5000], wanted.mean(1), rtol=0, atol=0 if exact else 1e-7
    )
    np.testing.assert_array_equal(layer.read_cell(raw), got)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_every_road_gives_the_same_bits(subtype, tmp_path):
    raw = write(NOISE, subtype=subtype)
    layer = contract(0.2)
    first, *others = everywhere(layer, raw)
    assert first.shape == (3200,)
    for other in others:
        np.testing.assert_array_equal(first, other)
    path = tmp_path / "clip.wav"
    path.write_bytes(raw)
    np.testing.assert_array_equal(layer.read_cell(str(path)), first)


def test_chunks_before_the_data_and_of_odd_size():
    plain = mm.audio.encode_wav(NOISE[:, 0], RATE)
    for extra in (b"LIST\x03\0\0\0abc\0", b"JUNK\0\0\0\0", b"fact\4\0\0\0\1\2\3\4"):
        raw = plain[:36] + extra + plain[36:] + b"LIST\2\0\0\0zz"
        for got in (contract().read(raw), contract().read_cell(raw)):
            np.testing.assert_array_equal(got[:5000], NOISE[:, 0])


def test_a_size_left_open_by_a_pipe_means_up_to_the_end():
    raw = bytearray(mm.audio.encode_wav(NOISE[:, 0], RATE))
    raw[40:44] = b"\xff\xff\xff\xff"
    for got in everywhere(contract(), bytes(raw)):
        np.testing.assert_array_equal(got[:5000], NOISE[:, 0])


@pytest.mark.parametrize("subtype, gap", [("float", 0), ("pcm16", 2**-16)])
def test_encode_wav_is_read_by_soundfile(subtype, gap):
    for samples in (NOISE[:, 0], NOISE):
        raw = mm.audio.encode_wav(samples, RATE, subtype)
        got, rate = soundfile.read(io.BytesIO(raw), dtype="float32")
        assert rate == RATE
        # the largest value of 16 bits is 1 - 2^-15
        wanted = np.minimum(samples, 1 - 2**-15) if gap else samples
        np.testing.assert_allclose(got, wanted, rtol=0, atol=gap)


def test_encode_wav_refuses():
    with pytest.raises(ValueError, match=r"`subtype` wants .*Received: subtype='mp3'"):
        mm.audio.encode_wav(NOISE, RATE, "mp3")
    with pytest.raises(ValueError, match=r"`samples` wants shape"):
        mm.audio.encode_wav(np.zeros((1, 2, 3)), RATE)


def bad_files():
    good = mm.audio.encode_wav(NOISE[:, 0], RATE)
    nan = NOISE[:, 0].copy()
    nan[7] = np.nan
    zero_channels = good[:22] + b"\0\0" + good[24:]
    cut = r"truncated: \d+ of 20000 data bytes"
    return {
        "cut": (good[:9000], cut),
        "cut in a header": (good[:30], "not a WAV file"),
        "no samples": (mm.audio.encode_wav(np.zeros(0), RATE), "0 samples"),
        "nan": (mm.audio.encode_wav(nan, RATE), "NaN"),
        "no data": (good[:36], "not a WAV file"),
        "no channels": (zero_channels, "0 channels|can be read"),
        "text": (b"this is no sound at all, but words", "not a WAV|not audio"),
        "one byte": (b"R", "not a WAV|not audio"),
    }


@pytest.mark.parametrize("name", list(bad_files()))
def test_a_bad_file_says_why(name):
    raw, why = bad_files()[name]
    layer = contract()
    with pytest.raises(ValueError, match=why):
        layer.read_cell(raw)
    for road in (layer.read, tf.function(layer.read)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=why):
            road(tf.constant([raw]))


def test_read_refuses_what_read_cell_converts():
    layer = contract(0.1)
    slow = mm.audio.encode_wav(NOISE[:, 0], 8000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="16000 Hz.*8000 Hz"):
        tf.function(layer.read)(tf.constant([slow]))
    assert layer.read_cell(slow).any()
    law = write(NOISE[:, 0], subtype="ULAW")
    with pytest.raises(tf.errors.InvalidArgumentError, match="WAV format 7, 8 bits"):
        layer.read([law])
    wanted, _ = soundfile.read(io.BytesIO(law), dtype="float32")
    np.testing.assert_array_equal(layer.read_cell(law), wanted[:1600])


# librosa.load imports audioread, which imports what Python 3.13 drops
@pytest.mark.filterwarnings("ignore:'.*' is deprecated and slated:DeprecationWarning")
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_read_cell_equals_librosa_load(container, rate, tmp_path):
    time = np.arange(rate) / rate
    chirp = 0.5 * np.sin(2 * np.pi * (100 * time + 1000 * time**2))
    stereo = np.stack([chirp, 0.3 * chirp], axis=1)
    path = tmp_path / f"clip.{container.lower()}"
    path.write_bytes(write(stereo, rate, format=container))
    wanted, _ = librosa.load(path, sr=RATE, res_type="soxr_hq")
    for seconds in (2.0, 0.3):
        got = contract(seconds).read_cell(str(path))
        both = min(len(got), len(wanted))
        np.testing.assert_allclose(got[:both], wanted[:both], atol=2e-6)
        assert not got[both:].any()


@pytest.mark.parametrize("container", ["FLAC", "OGG"])
def test_a_truncated_file_is_refused(container):
    raw = write(RNG.uniform(-0.5, 0.5, 40000), format=container)
    with pytest.raises(ValueError, match="truncated"):
        contract(3.0).read_cell(raw[: int(len(raw) * 0.6)])


def test_an_ogg_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="0 samples"):
        contract().read_cell(write(np.zeros(0), format="OGG"))


def test_empty_cells(tmp_path):
    path = tmp_path / "nothing.wav"
    path.touch()
    with pytest.raises(ValueError, match="the file is empty"):
        contract().read_cell(str(path))
    assert not contract().read_cell(b"").any()
    with pytest.raises((OSError, tf.errors.NotFoundError)):
        contract().read_cell(str(tmp_path / "missing.wav"))


def test_half_an_hour_reads_its_beginning_alone():
    # 30 minutes stated and there, of which half a second is decoded
    samples = np.zeros(30 * 60 * RATE, "float32")
    samples[:5000], samples[-1] = NOISE[:, 0], np.nan
    raw = mm.audio.encode_wav(samples, RATE)
    np.testing.assert_array_equal(contract().read(raw)[:5000], NOISE[:, 0])
    np.testing.assert_array_equal(contract().read_cell(raw)[:5000], NOISE[:, 0])


def test_the_raw_endpoint_in_a_saved_model(tmp_path):
    layer = contract()
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string)
    module.read = tf.function(layer.read, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures=module.read)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    raw = write(NOISE, subtype="PCM_24")
    got = next(iter(served(tf.constant([raw, b""])).values()))
    np.testing.assert_array_equal(got[0], layer.read_cell(raw))
    wrong = mm.audio.encode_wav(NOISE, 44100)
    with pytest.raises(tf.errors.InvalidArgumentError, match="16000 Hz.*44100 Hz"):
        served(tf.constant([wrong]))


def test_config_and_arguments():
    layer = mm.audio.Waveform(8000, 0.25)
    again = mm.audio.Waveform.from_config(layer.get_config())
    assert (again.sampling_rate, again.seconds, again.tensor_shape) == (
        8000,
        0.25,
        (2000,),
    )
    for bad in ((0, 1.0), (8000, 0.0), (8000, -1.0)):
        with pytest.raises(ValueError, match="`sampling_rate` .*Received"):
            mm.audio.Waveform(*bad)


def test_stays_float32_under_a_mixed_policy():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = mm.audio.Waveform(8000, 0.25)
        wave = np.full((1, 2000), 1.00001, "float32")
        np.testing.assert_array_equal(layer(wave), wave)
    finally:
        keras.config.set_dtype_policy("float32")


def test_clip_length():
    wave = np.zeros((4, 9), "float32")
    wave[1, 0], wave[2, [2, 5]], wave[3, 8] = 1, 1e-30, -1
    layer = mm.audio.ClipLength()
    np.testing.assert_array_equal(layer(wave), [0, 1, 6, 9])
    symbol = layer(keras.Input((None,)))
    assert symbol.shape == (None,) and symbol.dtype == "int32"


def test_numbers_are_little_endian():
    # a fixture by hand: 24 bits, one sample of -1, one of the least step above 0
    data = struct.pack("<I", 0x800000)[:3] + struct.pack("<I", 1)[:3]
    form = struct.pack("<HHIIHH", 1, 1, RATE, RATE * 3, 3, 24)
    raw = b"WAVEfmt \x10\0\0\0" + form + b"data\6\0\0\0" + data
    raw = b"RIFF" + struct.pack("<I", len(raw)) + raw
    np.testing.assert_array_equal(contract().read(raw)[:2], [-1, 2.0**-23])
