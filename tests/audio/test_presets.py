"""`LogMel` and `MFCC` by preset, each against the tool it is named after.

The tools get one clip at a time; where none is at hand in Python (HTK), float64 numpy
written from the HTK book's formulas (Young et al. 2006, chapter 5).
"""

import functools

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm

RATE = 16000
PRESETS = ("librosa", "speech", "kaldi", "htk", "yamnet")
LAYERS = {"log-mel": mm.audio.LogMel, "mfcc": mm.audio.MFCC}
# log-mel 5e-3 dB, in nepers of the power where the preset has these
DECIBELS = {"librosa": 5e-3, "speech": 5e-3}
LIMIT, MEDIAN = 2e-3, 5e-4
#: Signals that reach below float32's range in presets without `top_db`.
PURE = {"kaldi": ("tone", "chirp"), "yamnet": ("tone", "chirp", "constant")}


def limit(preset, kind, layer, least=LIMIT):
    if kind == "log-mel":
        return DECIBELS.get(preset, 5e-3 * np.log(10) / 10)
    return least * (1 + layer.lifter / 2)


def by_librosa(wave, kind, **frames):
    wave = wave.astype("float32")
    if kind == "mfcc":
        return librosa.feature.mfcc(y=wave, sr=RATE, **frames).T
    mel = librosa.feature.melspectrogram(y=wave, sr=RATE, **frames)
    return librosa.power_to_db(mel).T


def by_kaldi(wave, kind):
    import kaldi_native_fbank as fbank

    options = fbank.MfccOptions() if kind == "mfcc" else fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = RATE
    options.mel_opts.num_bins = 23
    options.use_energy = False
    tool = fbank.OnlineMfcc if kind == "mfcc" else fbank.OnlineFbank
    tool = tool(options)
    tool.accept_waveform(RATE, (wave * 32768).tolist())
    tool.input_finished()
    frames = [tool.get_frame(i) for i in range(tool.num_frames_ready)]
    return np.reshape(frames, (-1, 13 if kind == "mfcc" else 23))


def by_the_htk_book(wave, kind):
    wave = 32768 * wave.astype("float64")
    count = max(0, 1 + (len(wave) - 400) // 160)
    return np.reshape(
        [_htk_frame(wave[160 * t :][:400], kind) for t in range(count)],
        (count, 13 if kind == "mfcc" else 26),
    )


def _htk_frame(s, kind):
    # 5.2: s'_n = s_n - k s_{n-1}, and HSigP's first sample (1 - k) s_1; 5.3: Hamming
    s = np.append((1 - 0.97) * s[0], s[1:] - 0.97 * s[:-1])
    n = np.arange(1, 401)
    s = s * (0.54 - 0.46 * np.cos(2 * np.pi * (n - 1) / 399))
    magnitude = np.abs(np.fft.rfft(s, 512))
    bank = np.log(np.maximum(_htk_bank() @ magnitude, 1.0))
    if kind == "log-mel":
        return bank
    # 5.14: c_i = sqrt(2 / N) sum_j m_j cos(pi i / N (j - 0.5)); 5.12: the lifter
    j = np.arange(1, 27)
    c = [np.sqrt(2 / 26) * bank @ np.cos(np.pi * i / 26 * (j - 0.5)) for i in range(13)]
    return [(1 + 11 * np.sin(np.pi * i / 22)) * x for i, x in enumerate(c)]


@functools.cache
def _htk_bank():
    def mel(f):
        return 2595 * np.log10(1 + f / 700)

    centres = np.arange(28) * mel(8000) / 27
    bank = np.zeros((26, 257))
    for k in range(257):
        m = mel(k * RATE / 512)
        for p in range(26):
            low, middle, high = centres[p : p + 3]
            if low < m <= middle:
                bank[p, k] = (m - low) / (middle - low)
            elif middle < m < high:
                bank[p, k] = (high - m) / (high - middle)
    return bank


def by_tf_signal(wave, kind):
    window = functools.partial(tf.signal.hann_window, periodic=True)
    if len(wave) < 400:  # tf.signal fails on no frames
        return np.zeros((0, 20 if kind == "mfcc" else 64))
    wave = tf.constant(wave, "float64")
    spectrum = tf.abs(tf.signal.stft(wave, 400, 160, 512, window))
    bank = tf.signal.linear_to_mel_weight_matrix(64, 257, RATE, 125, 7500, tf.float64)
    bands = tf.math.log(spectrum @ bank + 0.001)
    if kind == "log-mel":
        return bands.numpy()
    # YAMNet has no cepstrum: the orthonormal one
    return tf.signal.dct(bands, norm="ortho").numpy()[:, :20]


REFERENCES = {
    "librosa": by_librosa,
    "speech": functools.partial(by_librosa, n_fft=400, hop_length=160, n_mels=80),
    "kaldi": by_kaldi,
    "htk": by_the_htk_book,
    "yamnet": by_tf_signal,
}


def signals():
    rng = np.random.default_rng(0)
    time = np.arange(8000) / RATE
    noise = 0.3 * rng.standard_normal(8000)
    made = {
        "silence": np.zeros(8000),
        "constant": np.full(8000, 0.5),
        "impulse": np.eye(1, 8000, 4000)[0],
        "noise": noise,
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "chirp": 0.5 * np.sin(2 * np.pi * (100 * time + 2500 * time**2)),
        "clipped": np.sign(np.sin(2 * np.pi * 200 * time)),
        "noise, then silence": np.append(noise, np.zeros(4000)),
    }
    lengths = (1, 2, 10, 399, 400, 401, 511, 512, 1000, 1025, 2047)
    made |= {f"{n} samples": noise[:n] for n in lengths}
    return {name: wave.astype("float32") for name, wave in made.items()}


def together(clips, beyond=1500, garbage=np.nan):
    """Clips in one array with garbage after their ends, and their lengths."""
    lengths = np.array([len(x) for x in clips], "int32")
    batch = np.full((len(clips), max(lengths) + beyond), garbage, "float32")
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return batch, lengths


def gaps(layer, clips, wanted, **padding):
    """Greatest absolute gap of each clip, all in one batch."""
    batch, lengths = together(clips, **padding)
    got = np.asarray(layer(batch, lengths))
    assert [layer.frame_count(len(x)) for x in clips] == [len(x) for x in wanted]
    return [
        np.abs(g[: len(w)] - w).max(initial=0) for g, w in zip(got, wanted, strict=True)
    ]


# librosa warns of clips shorter than a frame
@pytest.mark.filterwarnings("ignore:n_fft=.*is too large:UserWarning")
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_edge_signals(preset, kind):
    layer = LAYERS[kind].from_preset(preset)
    matrix = LAYERS[kind].from_preset(preset, dft="matmul")
    clips = signals()
    # far below the peak there is float32's rounding alone: test_pure_sounds
    clips = {k: v for k, v in clips.items() if k not in PURE.get(preset, ())}
    wanted = {name: REFERENCES[preset](wave, kind) for name, wave in clips.items()}
    most = limit(preset, kind, layer)
    for one in (layer, matrix):
        found = gaps(one, list(clips.values()), list(wanted.values()))
        far = {n: g for n, g in zip(clips, found, strict=True) if not g <= most}
        assert not far
    for name, wave in clips.items():
        alone = np.asarray(layer(wave[None]))[0]
        assert alone.shape == wanted[name].shape, name
        assert np.abs(alone - wanted[name]).max(initial=0) <= most, name


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e4])
@pytest.mark.parametrize("preset", PRESETS)
def test_neighbours_and_padding_change_nothing(preset, garbage):
    rng = np.random.default_rng(1)
    quiet = (1e-3 * rng.standard_normal(5000)).astype("float32")
    loud = (1e-1 * rng.standard_normal(9000)).astype("float32")  # 40 dB above
    layer = mm.audio.MFCC.from_preset(preset)
    wanted = [REFERENCES[preset](x, "mfcc") for x in (quiet, loud)]
    most = limit(preset, "mfcc", layer)
    assert max(gaps(layer, [quiet, loud], wanted, garbage=garbage)) <= most
    assert max(gaps(layer, [quiet], wanted[:1], garbage=garbage)) <= most


def kaldi_in_float64(wave):
    """Kaldi's filter bank energies, its steps in float64 numpy: power, not logs."""
    wave = 32768 * wave.astype("float64")
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = (frames - 0.97 * before) * povey(400)
    return np.abs(np.fft.rfft(frames, 512)) ** 2 @ kaldi_bank()


def povey(length):
    """Kaldi's window."""
    turn = 2 * np.pi * np.arange(length) / (length - 1)
    return (0.5 - 0.5 * np.cos(turn)) ** 0.85


@functools.cache
def kaldi_bank():
    mel = 1127 * np.log(1 + np.arange(257) * RATE / 512 / 700)
    low, high = 1127 * np.log(1 + np.array([20, 8000]) / 700)
    step = (high - low) / 24
    left = low + step * np.arange(23)
    peak = 1 - np.abs(mel[:, None] - left - step) / step
    return np.maximum(peak, 0)


@pytest.mark.parametrize("name", ["tone", "chirp", "constant"])
@pytest.mark.parametrize("preset", PURE)
def test_pure_sounds(preset, name):
    # Kaldi's own FFT is in float32: all are held to float64, the float32 ones no lower
    # than 80 dB below the peak
    wave = signals()[name]
    if preset == "kaldi":
        wanted = np.log(np.maximum(kaldi_in_float64(wave), 2.0**-23))
    else:
        wanted = by_tf_signal(wave, "log-mel")
    make = mm.audio.LogMel.from_preset
    most = limit(preset, "log-mel", make(preset))
    found = np.asarray(make(preset, dft="rfft64")(wave[None]))[0]
    assert np.abs(found - wanted).max() <= most
    if name == "constant":  # whose peak is in no band
        return
    depth = 80 * np.log(10) / (10 if preset == "kaldi" else 20)  # power, magnitude
    near = wanted > wanted.max() - depth
    found = [np.asarray(make(preset)(wave[None]))[0]]
    if preset == "kaldi":
        found.append(by_kaldi(wave, "log-mel"))
    for one in found:
        assert np.abs(one - wanted)[near].max() <= most


def test_kaldi_equals_python_speech_features(monkeypatch):
    # it raises the treble of the whole wave and cuts its bands at whole bins: neither
    # here, so that framing, FFT, logarithm, DCT and lifter are compared
    import python_speech_features as features

    monkeypatch.setattr(
        features.base, "get_filterbanks", lambda *_: kaldi_bank().T, raising=True
    )
    layer = mm.audio.MFCC.from_preset("kaldi", pre_emphasis=0.0, remove_dc=False)
    for name in ("noise", "1000 samples", "400 samples"):
        wave = signals()[name]
        wanted = features.mfcc(
            # its power is 1 / n_fft of Kaldi's
            np.sqrt(512) * 32768 * wave.astype("float64"),
            RATE,
            nfilt=23,
            preemph=0,
            appendEnergy=False,
            winfunc=povey,
        )
        got = np.asarray(layer(wave[None]))[0]
        # it fills the last frame with zeros where Kaldi leaves it out
        assert 0 <= len(wanted) - len(got) <= 1
        assert np.abs(got - wanted[: len(got)]).max() <= limit("kaldi", "mfcc", layer)


@pytest.fixture(scope="module")
def recordings(stamps):
    """200 recorded words at 16 kHz."""
    contract = mm.audio.Waveform(RATE, 6.0)
    files = sorted(stamps.rglob("*_desc_fr.ogg"))
    chosen = files[:: len(files) // 200][:200]
    clips = [contract.read_cell(str(file)) for file in chosen]
    lengths = np.asarray(mm.audio.ClipLength()(np.stack(clips)))
    return [clip[:n] for clip, n in zip(clips, lengths, strict=True)]


def check_recordings(preset, kind, clips):
    layer = LAYERS[kind].from_preset(preset)
    found = []
    for i in range(0, len(clips), 50):
        part = clips[i : i + 50]
        found += gaps(layer, part, [REFERENCES[preset](x, kind) for x in part])
    print(
        f"{preset}, {kind}, {len(clips)} clips: max {max(found):.1e}, "
        f"median {np.median(found):.1e}"
    )
    assert max(found) <= limit(preset, kind, layer)
    if kind == "mfcc":
        assert np.median(found) < limit(preset, kind, layer, least=MEDIAN)


@pytest.mark.weights
@pytest.mark.parametrize("preset", PRESETS)
def test_five_recordings(preset, recordings):
    check_recordings(preset, "mfcc", recordings[::40])


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_two_hundred_recordings(preset, kind, recordings):
    assert len(recordings) == 200
    check_recordings(preset, kind, recordings)


@pytest.mark.parametrize("preset", PRESETS)
def test_config_gradient_policy_and_dynamic_length(preset):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = mm.audio.MFCC.from_preset(preset, frames_at_once=None)
    finally:
        keras.config.set_dtype_policy("float32")
    wave = np.random.default_rng(0).standard_normal((2, 3000)).astype("float32")
    ends = np.array([3000, 1000], "int32")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    wanted = again(wave, ends)
    assert wanted.dtype == "float32"
    np.testing.assert_array_equal(layer(wave, ends), wanted)
    spec = [tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)]
    traced = tf.function(again, input_signature=spec)
    np.testing.assert_allclose(traced(wave, ends), wanted, atol=1e-3)
    assert traced(wave[:, :100], ends[:1] * 0 + 100).shape[1] == layer.frame_count(100)
    symbol = layer(keras.Input((100,)))
    assert symbol.shape == (None, layer.frame_count(100), layer.num_coefficients)
    with tf.GradientTape() as tape:
        x = tf.constant(np.stack([wave[0], 0 * wave[0]]))
        tape.watch(x)
        y = layer(x)
    slope = tape.gradient(y, x).numpy()
    assert np.isfinite(slope).all() and np.abs(slope[0]).max() > 0


def test_gradient_is_the_slope():
    # Kaldi's mean, pre-emphasis and padded FFT, along one direction
    rng = np.random.default_rng(0)
    wave, way = rng.standard_normal((2, 1, 1024))
    layer = mm.audio.LogMel.from_preset("kaldi")
    ends = [np.asarray(layer(wave + s * way)).mean() for s in (1e-3, -1e-3)]
    with tf.GradientTape() as tape:
        x = tf.constant(wave, "float32")
        tape.watch(x)
        y = tf.reduce_mean(layer(x))
    slope = np.sum(tape.gradient(y, x) * way)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-3, rtol=2e-2)


def test_lengths_follow_the_rate_and_the_overrides():
    made = mm.audio.LogMel.from_preset
    for name, rate, wanted in [
        ("kaldi", 8000, (200, 80, 256)),
        ("kaldi", 22050, (551, 220, 1024)),
        ("speech", 48000, (1200, 480, 1200)),
        ("librosa", 22050, (None, 512, 2048)),
        ("yamnet", 16000, (400, 160, 512)),
    ]:
        layer = made(name, rate)
        assert (layer.win_length, layer.hop_length, layer.n_fft) == wanted
    assert made("htk", win_length=256).n_fft == 256
    assert made("htk", n_fft=1024, num_mel_bins=24).frame_length == 400
    assert made("speech", n_fft=512).frame_length == 512
    assert mm.audio.MFCC.from_preset("kaldi", lifter=0).num_coefficients == 13


def test_top_db_counts_decibels_in_nepers_too():
    rng = np.random.default_rng(1)
    wave = rng.standard_normal((1, 8000)).astype("float32")
    wave[:, 4000:] *= 1e-3
    layer = mm.audio.LogMel(RATE, log="ln", top_db=20.0)
    np.testing.assert_allclose(np.ptp(layer(wave)), 2 * np.log(10), atol=1e-4)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="`name` wants .*'kaldi'.*Received: name='kal"):
        mm.audio.LogMel.from_preset("kal")
