"""The conformer: its laws, and its parts against Keras' own and numpy."""

import keras
import numpy as np
import pytest

from mmkeras import audio, testing
from mmkeras.audio import augment

RATE = 8000
SMALL = {"sampling_rate": RATE, "units": 16, "blocks": 1, "heads": 2, "kernel": 5}


def clips(samples=4000):
    rng = np.random.default_rng(0)
    waves = 0.1 * rng.standard_normal((3, samples)).astype("float32")
    waves[1, samples // 3 :] = 0
    waves[-1] = 0  # an absent clip
    return waves


def lived_in(encoder):
    """The encoder after its statistics have moved from where they began."""
    rng = np.random.default_rng(1)
    for layer in encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.beta.assign(rng.normal(size=layer.beta.shape))
    return encoder


@pytest.fixture(scope="module")
def tokens():
    return lived_in(audio.conformer(seconds=0.5, pooling=None, **SMALL))


@pytest.fixture(scope="module")
def augmented():
    layers = [
        audio.TimeShift(0.05, RATE),
        audio.Gain(6.0),
        audio.AddNoise(),
        audio.MixClips(),
        audio.SpecAugment(),
    ]
    return audio.conformer(seconds=0.2, augment=layers, **SMALL)


def test_frozen_with_every_augmentation_is_deterministic(augmented):
    drawing = [x for x in augmented.layers if isinstance(x, augment.Augmentation)]
    assert len(drawing) == 5
    x = clips(1600)
    augmented.trainable = False
    y = np.asarray(augmented(x))
    np.testing.assert_array_equal(augmented(x, training=True), y)
    augmented.trainable = True
    assert (np.asarray(augmented(x, training=True)) != y).any()


@pytest.mark.slow
def test_keeps_the_laws_with_every_augmentation(augmented):
    testing.check_encoder(augmented)


def test_padding_and_neighbours_change_nothing(tokens):
    waves = clips()
    found = {k: np.asarray(v) for k, v in tokens(waves).items()}
    # frames of 80 samples, then two halvings, each rounded up
    frames = [1 + n // 80 for n in (4000, 4000 // 3, 0)]
    np.testing.assert_array_equal(found["mask"].sum(1), [-(-n // 4) for n in frames])
    assert not found["tokens"][found["mask"] == 0].any()
    # other lengths, whose strides meet the end of the tensor elsewhere
    for seconds in (0.51, 0.53, 1.1):
        long = audio.conformer(seconds=seconds, pooling=None, **SMALL)
        long.set_weights(tokens.get_weights())
        padding = round(seconds * RATE) - 4000
        longer = long(np.pad(waves, [(0, 0), (0, padding)]))
        length = found["mask"].shape[1]
        for key, wanted in found.items():
            got = np.asarray(longer[key])
            np.testing.assert_allclose(got[:, :length], wanted, rtol=1e-4, atol=1e-4)
            assert not got[:, length:].any()
    for i, wave in enumerate(waves):
        alone = np.asarray(tokens(wave[None])["tokens"])[0]
        np.testing.assert_allclose(alone, found["tokens"][i], rtol=1e-4, atol=1e-4)


def test_the_mean_is_that_of_the_tokens(tokens):
    found = {k: np.asarray(v) for k, v in tokens(clips()).items()}
    pooled = audio.conformer(seconds=0.5, **SMALL)
    pooled.set_weights(tokens.get_weights())
    wanted = found["tokens"].sum(1) / found["mask"].sum(1, keepdims=True)
    np.testing.assert_allclose(pooled(clips()), wanted, atol=1e-5)


def test_attention_is_that_of_keras():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 12)).astype("float32")
    mask = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]], "float32")
    theirs = keras.layers.MultiHeadAttention(3, 4, use_bias=False)
    wanted = theirs(x, x, attention_mask=mask[:, None] > 0)
    parts = (theirs.query_dense, theirs.key_dense, theirs.value_dense)
    q, k, v = (x @ np.asarray(p.kernel).reshape(12, 12) for p in parts)
    module = type(audio.conformer(seconds=0.1, **SMALL).get_layer("block1_attention"))
    y = np.asarray(module(3)(q, k, v, mask))
    y = y @ np.asarray(theirs.output_dense.kernel).reshape(12, 12)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)


def test_mixed_precision_is_finite_and_every_weight_learns():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        encoder = audio.conformer(seconds=0.2, **SMALL)
        assert np.isfinite(np.asarray(encoder(clips(1600)))).all()
    finally:
        keras.config.set_dtype_policy("float32")
    encoder = audio.conformer(seconds=0.2, dropout=0.0, subsampling=2, **SMALL)
    before = [np.array(w) for w in encoder.trainable_weights]
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    model.train_on_batch(clips(1600), np.eye(3, 2))
    pairs = zip(before, encoder.trainable_weights, strict=True)
    still = [w.path for old, w in pairs if np.array_equal(old, w)]
    assert not still


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"heads": 3}, "`heads` wants a number that divides `units`.*heads=3"),
        ({"subsampling": 3}, r"`subsampling` wants one of \(1, 2, 4\).*subsampling=3"),
        ({"blocks": 0}, "`blocks` wants 1 or more. Received: blocks=0"),
        ({"pooling": "max"}, "`pooling` wants one of .*'max'"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        audio.conformer(**{**SMALL, **wrong})
