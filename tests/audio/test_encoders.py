"""Audio encoders: padding and neighbours, frozen, saved, trained."""

import keras
import librosa
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import modality

RATE = 8000
BUILDERS = {
    "mfcc_cnn": mm.audio.mfcc_cnn,
    "mfcc_rnn": mm.audio.mfcc_rnn,
    "mfcc_statistics": mm.audio.mfcc_statistics,
}
TRAINED = ("mfcc_cnn", "mfcc_rnn")


def build(name, seconds=0.5, **kwargs):
    if name in TRAINED:
        kwargs = {"units": 16, **kwargs}
    return BUILDERS[name](sampling_rate=RATE, seconds=seconds, **kwargs)


def clips(count=3, samples=4000):
    rng = np.random.default_rng(0)
    waves = 0.1 * rng.standard_normal((count, samples)).astype("float32")
    waves[1, samples // 3 :] = 0
    waves[-1] = 0  # an absent clip
    return waves


def lived_in(encoder):
    """The encoder after its statistics have moved from where they began."""
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            rng = np.random.default_rng(1)
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(size=shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, size=shape))
            layer.beta.assign(rng.normal(size=shape))
    return encoder


def outputs(encoder, waves):
    return np.asarray(encoder(waves))


@pytest.mark.parametrize("name", list(BUILDERS))
def test_padding_and_neighbours_change_nothing(name):
    short, long = lived_in(build(name)), build(name, seconds=1.25)
    long.set_weights(short.get_weights())
    waves = clips()
    wanted = outputs(short, waves)
    assert np.isfinite(wanted).all()
    padded = np.pad(waves, [(0, 0), (0, 6000)])
    np.testing.assert_allclose(outputs(long, padded), wanted, rtol=1e-4, atol=1e-4)
    alone = np.concatenate([outputs(short, wave[None]) for wave in waves])
    np.testing.assert_allclose(alone, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_tokens_are_one_a_frame_and_zero_in_the_padding(name):
    encoder = lived_in(build(name, pooling=None))
    waves = clips()
    found = encoder(waves)
    tokens, mask = np.asarray(found["tokens"]), np.asarray(found["mask"])
    assert tokens.shape == (3, 8, 16) and mask.dtype == "float32"
    frames = [1 + n // 512 for n in (4000, 4000 // 3, 0)]
    np.testing.assert_array_equal(mask.sum(axis=1), frames)
    assert not tokens[mask == 0].any() and tokens[mask == 1].any()
    pooled = build(name)
    pooled.set_weights(encoder.get_weights())
    wanted = tokens.sum(axis=1) / mask.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outputs(pooled, waves), wanted, atol=1e-5)


@pytest.mark.filterwarnings("ignore:n_fft=.*is too large:UserWarning")
def test_statistics_equal_librosa_and_numpy():
    encoder = build("mfcc_statistics", num_coefficients=13)
    assert encoder.count_params() == 0
    waves = clips()
    lengths = [4000, 4000 // 3]
    for row, wave, n in zip(outputs(encoder, waves), waves, lengths, strict=False):
        mfcc = librosa.feature.mfcc(y=wave[:n], sr=RATE, n_mfcc=13)
        slope = librosa.feature.delta(mfcc, mode="nearest")
        parts = [mfcc.mean(1), mfcc.std(1), slope.mean(1), slope.std(1)]
        np.testing.assert_allclose(row, np.concatenate(parts), atol=2e-3)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_save_and_load(name, tmp_path):
    encoder = lived_in(build(name))
    waves = clips()
    encoder.save(tmp_path / "encoder.keras")
    again = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(
        outputs(again, waves), outputs(encoder, waves), atol=1e-5
    )
    contract = modality.contract(again)
    assert contract.sampling_rate == RATE and contract.tensor_shape == (4000,)
    assert [x.name for x in again.inputs] == ["wave"]


@pytest.mark.parametrize("name", TRAINED)
def test_learns_a_sound_and_rests_while_frozen(name):
    rng = np.random.default_rng(0)
    time = np.arange(4000) / RATE
    label = np.arange(32) % 2
    pitch = np.where(label, 400, 900) * rng.uniform(0.9, 1.1, 32)
    waves = np.sin(2 * np.pi * pitch[:, None] * time).astype("float32")
    waves += 0.01 * rng.standard_normal(waves.shape).astype("float32")
    encoder = build(name, dropout=0.3)
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(waves, label, epochs=12, batch_size=16, verbose=0)
    assert model.evaluate(waves, label, verbose=0)[1] > 0.9

    encoder.trainable = False
    before = [np.asarray(w) for w in encoder.weights]
    np.testing.assert_array_equal(
        encoder(waves[:4], training=True), encoder(waves[:4], training=False)
    )
    model.compile("sgd", loss)
    model.fit(waves, label, epochs=1, verbose=0)
    for old, new in zip(before, encoder.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", TRAINED)
def test_mixed_precision_is_finite(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        encoder = build(name)
        assert np.isfinite(outputs(encoder, clips())).all()
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_front_end_of_ones_own():
    mel = mm.audio.LogMel(RATE, n_fft=400, hop_length=160, num_mel_bins=40)
    encoder = build("mfcc_cnn", front_end=mel, pooling=None)
    assert encoder(clips())["tokens"].shape == (3, 26, 16)
    with pytest.raises(ValueError, match="`front_end` wants .* 8000 Hz.*16000 Hz"):
        build("mfcc_cnn", front_end=mm.audio.MFCC(16000))


def test_unknown_pooling():
    with pytest.raises(ValueError, match=r"`pooling` wants one of \('mean', None\)"):
        build("mfcc_cnn", pooling="max")
