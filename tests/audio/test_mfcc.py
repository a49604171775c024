"""`LogMel` and `MFCC` against librosa, called clip by clip."""

import functools
import importlib.util
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm

RATE = 16000
# MFCC: 2e-3 at most (librosa in float32 is itself 1e-4 from float64)
LIMIT, MEDIAN = 2e-3, 5e-4

CONVENTIONS = {
    "librosa": {},
    "reflect": {"pad_mode": "reflect"},
    "speech": {"n_fft": 400, "hop_length": 160, "num_mel_bins": 80},
    "speech, matrix dft": {
        "n_fft": 400,
        "hop_length": 160,
        "num_mel_bins": 80,
        "dft": "matmul",
    },
    "matrix dft": {"dft": "matmul"},
    "htk, liftered, short window": {
        "n_fft": 512,
        "win_length": 400,
        "hop_length": 160,
        "num_mel_bins": 80,
        "htk": True,
        "norm": None,
        "pad_mode": "reflect",
        "lifter": 22,
    },
    "no top_db": {"top_db": None},
    "not centred": {"center": False, "top_db": 60.0, "fmin": 50.0, "fmax": 7000.0},
    "odd lengths": {"n_fft": 441, "hop_length": 147, "num_mel_bins": 40},
    "hop beyond frame": {"n_fft": 511, "hop_length": 600, "num_mel_bins": 40},
    "magnitude, hamming": {"power": 1.0, "window": "hamming", "amin": 1e-5, "ref": 2.0},
}


def tolerance(kwargs):
    """Greatest absolute gap that is due to float32."""
    if kwargs.get("lifter"):
        return LIMIT * (1 + kwargs["lifter"] / 2)
    return LIMIT


def logmel_reference(wave, layer):
    """librosa's log-mel spectrogram of one clip, `(frames, bands)`."""
    mel = librosa.feature.melspectrogram(
        y=wave,
        sr=layer.sampling_rate,
        n_fft=layer.n_fft,
        hop_length=layer.hop_length,
        win_length=layer.win_length,
        window=layer.window,
        center=layer.center,
        pad_mode=layer.pad_mode,
        power=layer.power,
        n_mels=layer.num_mel_bins,
        fmin=layer.fmin,
        fmax=layer.fmax,
        htk=layer.htk,
        norm=layer.norm,
    )
    return librosa.power_to_db(
        mel, ref=layer.ref, amin=layer.amin, top_db=layer.top_db
    ).T


def reference(wave, layer):
    """librosa's MFCC of one clip, `(frames, coefficients)`."""
    return librosa.feature.mfcc(
        S=logmel_reference(wave, layer).T,
        n_mfcc=layer.num_coefficients,
        lifter=layer.lifter,
    ).T


def padded(clips, beyond=0, garbage=np.nan):
    """Clips in one array, garbage after their ends, and their lengths."""
    lengths = np.array([len(x) for x in clips], "int32")
    batch = np.full((len(clips), max(lengths) + beyond), garbage, "float32")
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return batch, lengths


def gaps(layer, clips, wanted, beyond=0, garbage=np.nan):
    """The greatest absolute gap of each clip, all in one padded batch."""
    batch, lengths = padded(clips, beyond, garbage)
    got = np.asarray(layer(batch, lengths))
    frames = [layer.frame_count(len(x)) for x in clips]
    assert frames == [len(x) for x in wanted]
    return [np.abs(g[: len(w)] - w).max() for g, w in zip(got, wanted, strict=True)]


def signals():
    rng = np.random.default_rng(0)
    time = np.arange(24000) / RATE
    tone = np.sin(2 * np.pi * 440 * time)
    noise = 0.3 * rng.standard_normal(24000)
    made = {
        "silence": np.zeros(24000),
        "constant": np.full(24000, 0.5),
        "impulse": np.eye(1, 24000, 12000)[0],
        "tone": 0.5 * tone,
        "tone at -100 dB": 0.5e-5 * tone,
        "noise": noise,
        "clipped": np.sign(np.sin(2 * np.pi * 200 * time)),
        "chirp": 0.5 * np.sin(2 * np.pi * (100 * time + 2500 * time**2)),
        "noise, then silence": np.concatenate([noise, np.zeros(16000)]),
    }
    lengths = (1, 2, 10, 511, 512, 1000, 1024, 1025, 2047, 2048)
    made |= {f"{n} samples": noise[:n] for n in lengths}
    return {name: wave.astype("float32") for name, wave in made.items()}


# librosa warns of clips shorter than a frame, and of bands with no bin
@pytest.mark.filterwarnings("ignore:n_fft=.*is too large:UserWarning")
@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_edge_signals_equal_librosa(convention):
    kwargs = CONVENTIONS[convention]
    layer = mm.audio.MFCC(RATE, 20, **kwargs)
    clips = {
        name: wave
        for name, wave in signals().items()
        if layer.center or len(wave) >= layer.n_fft
    }
    if layer.top_db is None or layer.power < 2:
        # beyond the range of float32: test_pure_sounds_within_the_range_of_float32
        clips = {k: v for k, v in clips.items() if k not in ("tone", "chirp")}
    wanted = [reference(wave, layer) for wave in clips.values()]
    found = gaps(layer, list(clips.values()), wanted, beyond=1500)
    limit = tolerance(kwargs)
    too_far = {n: g for n, g in zip(clips, found, strict=True) if not g <= limit}
    assert not too_far
    # alone, and with no lengths given
    for (name, wave), mfcc in zip(clips.items(), wanted, strict=True):
        alone = np.asarray(layer(wave[None]))[0]
        assert alone.shape == mfcc.shape
        assert np.abs(alone - mfcc).max() <= limit, name


@pytest.mark.parametrize("power, within", [(2.0, 80), (1.0, 40)])
@pytest.mark.parametrize("name", ["tone", "chirp"])
def test_pure_sounds_within_the_range_of_float32(name, power, within):
    # librosa's FFT runs in float64, ours in float32: far below a pure sound's peak,
    # where there is nothing but leakage, rounding shows unless `top_db` cuts it off
    layer = mm.audio.LogMel(RATE, top_db=None, power=power)
    wave = signals()[name]
    wanted = logmel_reference(wave, layer)
    gap = np.abs(np.asarray(layer(wave[None]))[0] - wanted)
    near = wanted > wanted.max() - within
    assert 0.01 < near.mean() < 0.9
    assert gap[near].max() <= 5e-3
    print(f"{name}, power {power}: {gap[near].max():.1e} dB, all {gap.max():.1e} dB")


@pytest.mark.parametrize("power", [2.0, 1.0])
@pytest.mark.parametrize("name", ["tone", "chirp", "constant"])
def test_pure_sounds_in_float64(name, power):
    layer = mm.audio.MFCC(RATE, 20, top_db=None, power=power, dft="rfft64")
    mel = mm.audio.LogMel(RATE, top_db=None, power=power, dft="rfft64")
    wave = signals()[name]
    found = np.asarray(mel(wave[None]))[0]
    assert np.abs(found - logmel_reference(wave, mel)).max() <= 5e-3
    assert (
        np.abs(np.asarray(layer(wave[None]))[0] - reference(wave, layer)).max() <= LIMIT
    )


@pytest.fixture(scope="module")
def speech(stamps):
    """200 French recordings, resampled to 16 kHz."""
    contract = mm.audio.Waveform(RATE, 6.0)
    files = sorted(stamps.rglob("*_desc_fr.ogg"))[::4][:200]
    clips = [contract.read_cell(str(file)) for file in files]
    assert len(clips) == 200
    lengths = np.asarray(mm.audio.ClipLength()(np.stack(clips)))
    return [clip[:n] for clip, n in zip(clips, lengths, strict=True)]


@pytest.mark.weights
@pytest.mark.parametrize("convention", list(CONVENTIONS)[:7])
def test_speech_equals_librosa(convention, speech, monkeypatch):
    # librosa makes its filters anew for each clip: 5 ms of 7
    monkeypatch.setattr(librosa.filters, "mel", functools.cache(librosa.filters.mel))
    kwargs = CONVENTIONS[convention]
    layer = mm.audio.MFCC(RATE, 20, **kwargs)
    mel = mm.audio.LogMel(RATE, **{k: v for k, v in kwargs.items() if k != "lifter"})
    found, mel_found = [], []
    for i in range(0, 200, 50):
        clips = speech[i : i + 50]
        decibels = [logmel_reference(x, mel) for x in clips]
        mel_found += gaps(mel, clips, decibels, beyond=3000)
        wanted = [
            librosa.feature.mfcc(S=x.T, n_mfcc=20, lifter=layer.lifter).T
            for x in decibels
        ]
        found += gaps(layer, clips, wanted, beyond=3000)
    print(
        f"{convention}: max {max(found):.1e}, median {np.median(found):.1e}, ", end=""
    )
    print(f"log-mel max {max(mel_found):.1e} dB")
    scale = tolerance(kwargs) / LIMIT if kwargs.get("lifter") else 1
    assert max(found) <= tolerance(kwargs)
    assert np.median(found) < MEDIAN * scale
    assert max(mel_found) <= 5e-3


@pytest.mark.weights
def test_defaults_are_those_of_librosa(speech):
    layer = mm.audio.MFCC(sampling_rate=RATE, num_coefficients=20)
    wanted = [librosa.feature.mfcc(y=x, sr=RATE).T for x in speech]
    found = gaps(layer, speech, wanted)
    print(f"librosa.feature.mfcc: max {max(found):.1e}, median {np.median(found):.1e}")
    assert max(found) <= LIMIT and np.median(found) < MEDIAN


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e4])
def test_neighbours_and_padding_change_nothing(garbage):
    rng = np.random.default_rng(1)
    quiet = (1e-3 * rng.standard_normal(9000)).astype("float32")
    loud = (1e-1 * rng.standard_normal(20000)).astype("float32")  # 40 dB above
    for kwargs in ({}, {"pad_mode": "reflect"}):
        layer = mm.audio.MFCC(RATE, 20, **kwargs)
        wanted = [reference(x, layer) for x in (quiet, loud)]
        assert max(gaps(layer, [quiet, loud], wanted, 4000, garbage)) <= LIMIT
        assert max(gaps(layer, [quiet], wanted[:1], 4000, garbage)) <= LIMIT


def test_top_db_cuts_each_example_by_its_own_maximum():
    rng = np.random.default_rng(1)
    loud = rng.standard_normal((1, 8000)).astype("float32")
    layer = mm.audio.LogMel(RATE, top_db=10.0)
    found = np.asarray(layer(np.concatenate([loud, 1e-2 * loud])))
    np.testing.assert_allclose(np.ptp(found, axis=(1, 2)), [10, 10], atol=1e-4)
    np.testing.assert_allclose(found[0] - found[1], 40, atol=1e-3)


def test_any_integer_lengths():
    layer = mm.audio.MFCC(RATE, 20)
    wave = np.random.default_rng(0).standard_normal((2, 4000)).astype("float32")
    wanted = layer(wave, np.array([1000, 4000], "int32"))
    np.testing.assert_array_equal(layer(wave, np.array([1000, 4000])), wanted)


@pytest.mark.parametrize("samples", [None, 1, 511, 512, 32000])
@pytest.mark.parametrize("center", [True, False])
def test_shapes(samples, center):
    layer = mm.audio.MFCC(RATE, 13, center=center, n_fft=512, hop_length=100)
    if samples is None:
        assert layer(keras.Input((None,))).shape == (None, None, 13)
    elif center or samples >= 512:
        symbol = layer(keras.Input((samples,)))
        assert symbol.shape[1:] == layer(np.zeros((3, samples))).shape[1:]


@pytest.mark.parametrize("dft", ["rfft", "matmul"])
def test_dynamic_length_saved_and_served(dft, tmp_path):
    wave = keras.Input((None,), name="wave")
    lengths = keras.Input((), dtype="int32", name="lengths")
    layer = mm.audio.MFCC(RATE, 20, lifter=3, pad_mode="reflect", dft=dft)
    model = keras.Model([wave, lengths], layer(wave, lengths))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].get_config() == model.layers[-1].get_config()
    module = tf.Module()
    module.mfcc = tf.function(
        lambda wave, lengths: model([wave, lengths]),
        input_signature=[
            tf.TensorSpec([None, None], name="wave"),
            tf.TensorSpec([None], tf.int32, name="lengths"),
        ],
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.mfcc)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    rng = np.random.default_rng(0)
    for samples in (700, 8000, 20000):
        batch = rng.standard_normal((2, samples)).astype("float32")
        ends = np.array([samples, samples // 2], "int32")
        wanted = np.asarray(layer(batch, ends))
        np.testing.assert_allclose(again([batch, ends]), wanted, atol=1e-4)
        got = served(wave=tf.constant(batch), lengths=tf.constant(ends))
        np.testing.assert_allclose(next(iter(got.values())), wanted, atol=1e-4)


PIECES = {
    "librosa": {},
    "reflected": {"pad_mode": "reflect"},
    "odd": {"n_fft": 441, "hop_length": 147, "num_mel_bins": 40},
    "hop beyond frame": {"n_fft": 511, "hop_length": 600, "num_mel_bins": 40},
    "not centred": {"n_fft": 512, "win_length": 400, "hop_length": 160}
    | {"center": False, "align": "left", "remove_dc": True, "pad_mode": "reflect"},
}


@pytest.mark.parametrize("case", list(PIECES))
def test_frames_at_once_are_the_same_numbers(case):
    kwargs = {"num_mel_bins": 64, **PIECES[case]}
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(n).astype("float32") for n in (4000, 2501, 700, 1)]
    batch, lengths = padded(clips, beyond=500)
    batch[-1], lengths[-1] = np.nan, 0
    whole = mm.audio.MFCC(RATE, 20, **kwargs)
    counts = [whole.frame_count(int(n)) for n in lengths]
    wanted = np.asarray(whole(batch, lengths))
    for size in (5, 1000):
        layer = mm.audio.MFCC(RATE, 20, frames_at_once=size, **kwargs)
        got = np.asarray(layer(batch, lengths))
        assert got.shape == wanted.shape
        for row, full, count in zip(got, wanted, counts, strict=True):
            np.testing.assert_allclose(row[:count], full[:count], atol=5e-4)
    # the loudest at the end: frames beyond it must not raise the floor of `top_db`
    clip = np.append(1e-3 * clips[0], np.ones(10, "float32"))[None]
    layer = mm.audio.MFCC(RATE, 20, frames_at_once=5, **kwargs)
    np.testing.assert_allclose(layer(clip), whole(clip), atol=5e-4)


@pytest.mark.parametrize("case", list(PIECES))
def test_clips_at_once_are_the_same_numbers(case):
    kwargs = {"num_mel_bins": 64, **PIECES[case]}
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(n).astype("float32") for n in (4000, 2501, 700, 1)]
    batch, lengths = padded([clips[0], *clips], beyond=500)
    batch[0] *= 100  # a loud neighbour, whose peak is its own
    batch[-1], lengths[-1] = np.nan, 0
    whole = mm.audio.MFCC(RATE, 20, **kwargs)
    wanted = np.asarray(whole(batch, lengths))
    counts = [whole.frame_count(int(n)) for n in lengths]
    for sizes in ({"clips_at_once": 2}, {"clips_at_once": 9, "frames_at_once": 5}):
        layer = mm.audio.MFCC(RATE, 20, **sizes, **kwargs)
        got = np.asarray(layer(batch, lengths))
        assert got.shape == wanted.shape
        for row, full, count in zip(got, wanted, counts, strict=True):
            np.testing.assert_allclose(row[:count], full[:count], atol=5e-4)
        got = layer(batch[:3, :700])  # full clips
        np.testing.assert_allclose(got, whole(batch[:3, :700]), atol=5e-4)
        assert layer(batch[:0], lengths[:0]).shape == (0, *wanted.shape[1:])


@pytest.mark.parametrize("sizes", [{"frames_at_once": 4}, {"clips_at_once": 3}])
def test_pieces_in_a_graph_with_gradient(sizes):
    layer = mm.audio.MFCC(RATE, 20, **sizes)
    whole = mm.audio.MFCC(RATE, 20)
    spec = [tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)]

    def slope(layer):
        def run(wave, lengths):
            with tf.GradientTape() as tape:
                tape.watch(wave)
                y = layer(wave, lengths)
            return y, tape.gradient(y, wave)

        return run

    traced = tf.function(slope(layer), input_signature=spec)
    for samples in (300, 12000):
        wave = tf.random.stateless_normal((2, samples), (0, 1))
        ends = tf.constant([samples, samples // 3])
        for got, wanted in zip(
            traced(wave, ends), slope(whole)(wave, ends), strict=True
        ):
            size = np.abs(wanted).max()
            np.testing.assert_allclose(got, wanted, atol=2e-6 * size)


@pytest.mark.slow
def test_frames_at_once_take_little_memory():
    file = Path(__file__).parents[2] / "benchmarks/mfcc_memory.py"
    spec = importlib.util.spec_from_file_location("mfcc_memory", file)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    # 32 clips of 10 s: what the frames alone would take is 82 MB
    plain, pieces = (benchmark.measure(n)["megabytes"] for n in (None, 32))
    print(f"all frames at once {plain:.0f} MB, 32 {pieces:.0f} MB")
    assert pieces < 50 < plain


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_gradient_reaches_the_waveform(power):
    rng = np.random.default_rng(0)
    wave = rng.standard_normal((1, 1024))
    layer = mm.audio.LogMel(
        RATE, n_fft=256, hop_length=64, num_mel_bins=20, power=power
    )
    way = rng.standard_normal((1, 1024))
    # central difference along one direction
    step = 1e-3
    ends = [np.asarray(layer(wave + s * way)).mean() for s in (step, -step)]
    with tf.GradientTape() as tape:
        x = tf.constant(wave, "float32")
        tape.watch(x)
        y = tf.reduce_mean(layer(x))
    slope = np.sum(tape.gradient(y, x) * way)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=2e-2)
    with tf.GradientTape() as tape:
        x = tf.zeros((2, 1024))
        tape.watch(x)
        y = layer(x, np.array([1024, 0]))
    assert np.isfinite(tape.gradient(y, x)).all()


def test_float32_under_a_mixed_policy():
    wave = np.random.default_rng(0).standard_normal((1, 4000)).astype("float32")
    wanted = mm.audio.MFCC(RATE, 20)(wave)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        got = mm.audio.MFCC(RATE, 20)(wave)
    finally:
        keras.config.set_dtype_policy("float32")
    assert got.dtype == "float32"
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("clips_at_once", [None, 1])
def test_compiles_by_xla(clips_at_once):
    layer = mm.audio.MFCC(RATE, 20, clips_at_once=clips_at_once)
    wave = np.random.default_rng(0).standard_normal((2, 4000)).astype("float32")
    ends = np.array([1000, 4000], "int32")
    got = tf.function(layer, jit_compile=True)(wave, ends)
    np.testing.assert_allclose(got, layer(wave, ends), atol=LIMIT)


def test_bad_arguments_are_named():
    for name, value in {
        "sampling_rate": 0,
        "n_fft": 1,
        "hop_length": 0,
        "win_length": 4096,
        "pad_mode": "wrap",
        "num_mel_bins": 0,
        "fmin": 9000.0,
        "fmax": 9000.0,
        "norm": "l1",
        "power": 0,
        "amin": 0,
        "ref": 0,
        "top_db": -1,
        "dft": "fast",
        "align": "right",
        "scale": 0,
        "pre_emphasis": 1,
        "triangles": "bark",
        "log": "log2",
        "log_offset": -1,
        "frames_at_once": 0,
        "clips_at_once": 0,
        "lifter": -1,
        "lifter_start": 2,
        "dct_norm": "slaney",
        "num_coefficients": 129,
    }.items():
        with pytest.raises(ValueError, match=rf"`{name}` wants .*Received: {name}="):
            mm.audio.MFCC(**{name: value})
    with pytest.raises(ValueError, match=r"`MFCC` wants waves \(batch, samples\)"):
        mm.audio.MFCC()(np.zeros(16000))
