"""Augmentation: measured in numpy, absent at inference, blind to the padding."""

import keras
import numpy as np
import pytest

from mmkeras import audio

RATE = 1000
SAMPLES = 4000
LENGTHS = np.array([4000, 2500, 600, 1, 0, 3999])
WAVES = {
    "shift": audio.TimeShift(0.5, RATE, seed=1),
    "gain": audio.Gain(12.0, seed=1),
    "noise": audio.AddNoise((5.0, 20.0), seed=1),
    "mix": audio.MixClips((5.0, 20.0), seed=1),
}
ALL = {**WAVES, "spec": audio.SpecAugment(seed=1)}


def fresh(name, **changes):
    layer = ALL[name]
    return type(layer).from_config({**layer.get_config(), **changes})


def clips(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    waves = 0.1 * rng.standard_normal((len(lengths), SAMPLES)).astype("float32")
    return np.where(np.arange(SAMPLES) < np.asarray(lengths)[:, None], waves, 0)


def spectra(lengths=(200, 150, 0), dim=40):
    x = np.random.default_rng(0).normal(size=(len(lengths), 200, dim)) + 5
    mask = np.arange(200) < np.asarray(lengths)[:, None]
    return x.astype("float32"), mask.astype("float32")


def batch(name):
    return spectra() if name == "spec" else (clips(),)


def run(layer, *inputs):
    return np.asarray(layer(*inputs, training=True))


def decibels(signal, noise):
    """Per clip; padding adds nothing to either sum."""
    power = np.square(np.float64(signal)).sum(1) / np.square(np.float64(noise)).sum(1)
    return 10 * np.log10(power)


@pytest.mark.parametrize("name", list(ALL))
def test_acts_in_training_while_trainable_and_only_then(name):
    inputs = batch(name)
    layer = fresh(name)
    assert (run(layer, *inputs) != inputs[0]).any()
    np.testing.assert_array_equal(layer(*inputs), inputs[0])
    np.testing.assert_array_equal(layer(*inputs, training=False), inputs[0])
    layer.trainable = False
    np.testing.assert_array_equal(run(layer, *inputs), inputs[0])
    np.testing.assert_array_equal(run(fresh(name, rate=0.0), *inputs), inputs[0])


def test_no_strength_is_the_identity():
    none = [audio.TimeShift(0.0), audio.Gain(0.0), audio.AddNoise(10.0, rate=0)]
    for layer in none:
        np.testing.assert_array_equal(run(layer, clips()), clips())
    x, mask = spectra()
    for layer in (
        audio.SpecAugment(time_masks=0, frequency_masks=0),
        audio.SpecAugment(time_width=0, frequency_width=0),
        audio.SpecAugment(time_share=0.0, frequency_masks=0),
    ):
        np.testing.assert_array_equal(run(layer, x, mask), x)
    alone = clips([4000])
    np.testing.assert_array_equal(run(audio.MixClips(0.0), alone), alone)


@pytest.mark.parametrize("name", list(WAVES))
def test_padding_stays_and_silence_stays(name):
    layer = fresh(name)
    for _ in range(3):
        y = run(layer, clips())
        assert y.dtype == "float32" and np.isfinite(y).all()
        assert not y[np.arange(SAMPLES) >= LENGTHS[:, None]].any()
        found = np.asarray(audio.ClipLength()(y))
        if name == "shift":
            assert (found <= LENGTHS).all() and (found >= LENGTHS // 2).all()
        else:
            np.testing.assert_array_equal(found, LENGTHS)
    quiet = np.zeros((3, 100), "float32")
    np.testing.assert_array_equal(run(layer, quiet), quiet)


@pytest.mark.parametrize("name", list(ALL))
def test_same_seed_same_numbers_after_its_config(name):
    first, second, other = fresh(name), fresh(name), fresh(name, seed=2)
    inputs = batch(name)
    for _ in range(2):
        y = run(first, *inputs)
        np.testing.assert_array_equal(run(second, *inputs), y)
    assert (run(other, *inputs) != y).any() and (run(first, *inputs) != y).any()
    config = keras.saving.serialize_keras_object(first)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == first.get_config()


@pytest.mark.parametrize("name", ["noise", "mix"])
@pytest.mark.parametrize("snr", [-10.0, 0.0, 25.0])
def test_the_ratio_is_the_stated_one(name, snr):
    x = clips([4000, 2500, 600, 3999])
    y = run(fresh(name, snr=snr), x)
    np.testing.assert_allclose(decibels(x, np.float64(y) - x), snr, atol=0.1)


def test_the_ratio_is_drawn_for_each_clip():
    x = clips([4000] * 64)
    found = decibels(x, np.float64(run(fresh("noise"), x)) - x)
    assert found.min() > 4.9 and found.max() < 20.1
    assert found.std() == pytest.approx(15 / 12**0.5, rel=0.25)


def test_noise_is_gaussian_and_white():
    x = clips([4000])
    noise = (np.float64(run(fresh("noise", snr=0.0), x)) - x)[0]
    noise /= noise.std()
    assert abs(noise.mean()) < 0.06 and abs((noise**4).mean() - 3) < 0.4
    neighbours = np.mean(noise[1:] * noise[:-1])
    assert abs(neighbours) < 0.06


def test_the_background_is_another_clip_of_the_batch():
    x = clips([4000] * 5)
    background = np.float64(run(fresh("mix", snr=6.0), x)) - x
    background /= np.linalg.norm(background, axis=1, keepdims=True)
    alike = background @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    assert (alike.max(axis=1) > 0.999).all()
    assert (alike.argmax(axis=1) != np.arange(5)).all()


def test_shift_moves_whole_samples_and_loses_what_leaves():
    x = np.tile(np.arange(1.0, 11.0, dtype="float32"), (400, 1))
    x[:, 8:] = 0
    y = run(audio.TimeShift(0.003, RATE, seed=0), x)
    counts = {}
    for row in y:
        left = [np.r_[x[0, s:8], np.zeros(s + 2)] for s in range(1, 4)]
        right = [np.r_[np.zeros(s), x[0, : 8 - s], 0, 0] for s in range(4)]
        where = [i for i, z in enumerate(right + left) if np.array_equal(z, row)]
        assert len(where) == 1, row
        counts[where[0]] = counts.get(where[0], 0) + 1
    # seven shifts, 57 of 400 each, deviation 7
    assert len(counts) == 7 and min(counts.values()) > 30


def test_a_short_clip_keeps_half_of_itself():
    x = np.zeros((300, 50), "float32")
    x[:, :4] = [1, 2, 3, 4]
    y = run(audio.TimeShift(0.03, RATE, seed=0), x)
    assert ((y != 0).sum(axis=1) >= 2).all() and ((y != 0).sum(axis=1) == 2).any()


def test_gain_is_uniform_in_decibels():
    x = np.full((2000, 1), 0.5, "float32")
    found = 20 * np.log10(run(audio.Gain((-6.0, 3.0), seed=0), x) / 0.5)
    assert found.min() >= -6.001 and found.max() <= 3.001
    assert found.mean() == pytest.approx(-1.5, abs=0.3)
    assert found.std() == pytest.approx(9 / 12**0.5, rel=0.05)


@pytest.mark.parametrize("name", list(WAVES))
def test_rate_is_the_share_of_changed_clips(name):
    x = clips([4000] * 300)
    changed = (run(fresh(name, rate=0.25), x) != x).any(axis=1)
    assert 0.15 < changed.mean() < 0.35


def test_masks_lie_in_the_valid_frames_and_hold_the_value():
    layer = audio.SpecAugment(2, 1, 30, 5, time_share=1.0, value=-3.0, seed=0)
    x, mask = spectra()
    for _ in range(20):
        y = run(layer, x, mask)
        hidden = y == -3.0
        np.testing.assert_array_equal(y[~hidden], x[~hidden])
        assert not hidden[mask == 0].any()
        for i, length in enumerate((200, 150)):
            frames = hidden[i, :length].all(axis=1)
            bands = hidden[i, :length].all(axis=0)
            assert frames.sum() <= 60 and bands.sum() <= 5
            np.testing.assert_array_equal(
                hidden[i, :length], frames[:, None] | bands[None]
            )
            edges = np.diff(np.r_[0, bands.astype(int), 0])
            assert (edges == 1).sum() <= 1  # one run


def test_masked_share_is_the_expected_one():
    """One mask of width 0..W hides W / 2 on average; at most `time_share` of a clip."""
    x, mask = spectra((200,) * 200 + (40,) * 200)
    y = run(audio.SpecAugment(1, 0, 30, 0, time_share=0.25, seed=0), x, mask)
    hidden = (y[:, :, 0] == 0).sum(axis=1)
    assert hidden[:200].mean() == pytest.approx(15, abs=2)
    assert hidden[:200].max() == 30
    assert hidden[200:].mean() == pytest.approx(5, abs=1)
    assert hidden[200:].max() == 10
    y = run(audio.SpecAugment(0, 1, 0, 8, seed=0), x, mask)
    assert (y[:, 0] == 0).sum(axis=1).mean() == pytest.approx(4, abs=0.5)


def test_gradient_is_that_of_the_numbers():
    import tensorflow as tf

    for name in ALL:
        inputs = [tf.constant(x) for x in batch(name)]
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            y = fresh(name)(*inputs, training=True)
            total = tf.reduce_sum(y)
        gradient = tape.gradient(total, inputs[0]).numpy()
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, name
    # what is masked has none, what is not has 1
    np.testing.assert_array_equal(gradient, np.where(y.numpy() == 0, 0, 1))


@pytest.mark.filterwarnings("error")
def test_every_dtype_and_length():
    import tensorflow as tf

    keras.config.set_dtype_policy("mixed_float16")
    try:
        wave = keras.Input((None,), name="wave")
        x = wave
        for name in WAVES:
            x = fresh(name)(x)
        assert x.dtype == "float32"
        model = keras.Model(wave, x)
        y = tf.function(model)(clips(), training=True)
        assert y.dtype == tf.float32 and np.isfinite(y).all()
        features, mask = keras.Input((None, 40)), keras.Input((None,))
        masked = fresh("spec", value=-1.0, dtype="mixed_float16")(features, mask)
        assert masked.dtype == "float16"
        x, real = spectra()
        y = keras.Model([features, mask], masked)([x, real], training=True)
        y = np.asarray(y)
        np.testing.assert_array_equal(y[y != -1], x.astype("float16")[y != -1])
        assert (y == -1).any()
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: audio.Gain(1.0, rate=1.5), r"`rate` .*\[0, 1\]. Received: rate=1.5"),
        (lambda: audio.TimeShift(-1.0), "`seconds` wants 0 or more.*seconds=-1.0"),
        (lambda: audio.Gain(-3.0), r"`decibels` wants .*low <= high.*decibels=-3.0"),
        (lambda: audio.AddNoise((9, 3)), r"`snr` wants .*Received: snr=\(9, 3\)"),
        (lambda: audio.MixClips("loud"), "`snr` wants .*Received: snr='loud'"),
        (lambda: audio.SpecAugment(time_masks=-1), "`time_masks` wants an integer.*-1"),
        (lambda: audio.SpecAugment(time_share=2), r"`time_share` .*time_share=2"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_an_encoder_takes():
    options = {"sampling_rate": RATE, "seconds": 0.5, "units": 4}
    with pytest.raises(ValueError, match="`augment` wants layers.*Received: <Dropout"):
        audio.mfcc_cnn(**options, augment=keras.layers.Dropout(0.1))
    with pytest.raises(ValueError, match="1000 Hz. Received: TimeShift at 16000 Hz"):
        audio.mfcc_rnn(**options, augment=[audio.TimeShift(0.1)])
    layers = [audio.SpecAugment(), audio.TimeShift(0.1, RATE), audio.Gain(3.0)]
    front = audio.LogMel(RATE, n_fft=64, hop_length=32, num_mel_bins=20)
    encoder = audio.mfcc_cnn(**options, front_end=front, augment=layers)
    names = [type(x).__name__ for x in encoder.layers]
    order = ["Waveform", "TimeShift", "Gain", "ClipLength", "LogMel"]
    order += ["FrameNormalization", "SpecAugment", "BlankFrames"]
    assert [x for x in names if x in order][: len(order)] == order
    assert not any(x in encoder.layers for x in layers)  # its own copies
    x = clips([500])[:, :500]
    assert (np.asarray(encoder(x, training=True)) != np.asarray(encoder(x))).any()


def test_frozen_in_a_model_its_features_can_be_kept(tmp_path):
    """What a feature cache leans on: one digest, and `fit` sees what `predict` does."""
    import mmkeras as mm
    from mmkeras.transfer.digest import encoder_digest

    def make():
        front = audio.LogMel(RATE, n_fft=64, hop_length=32, num_mel_bins=20, name="mel")
        layers = [audio.MixClips(), audio.AddNoise(), audio.SpecAugment()]
        return audio.mfcc_rnn(RATE, 0.5, units=4, front_end=front, augment=layers)

    encoder, twin = make(), make()
    twin.set_weights(encoder.get_weights())
    assert encoder_digest(twin) == encoder_digest(encoder)
    model = mm.multimodal({"clip": encoder}, mm.fusion.Add(4), keras.layers.Dense(2))
    mm.transfer.freeze(model, "clip")
    x = clips()[:, :500]
    np.testing.assert_array_equal(encoder(x, training=True), encoder(x))
    model.save(tmp_path / "model.keras")
    again = mm.load_model(tmp_path / "model.keras")
    (loaded,) = mm.model.encoders(again).values()
    np.testing.assert_array_equal(loaded(x, training=True), encoder(x))
    mm.transfer.unfreeze(model, "clip")
    assert (np.asarray(encoder(x, training=True)) != np.asarray(encoder(x))).any()
