"""Whisper's and Moonshine's encoders against keras_hub's own, with random weights."""

import keras
import keras_hub
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import audio

SHARED = {"vocabulary_size": 20, "hidden_dim": 16, "intermediate_dim": 32}
SAMPLES = 32000
LENGTHS = (32000, 21000, 0)


def clips():
    rng = np.random.default_rng(0)
    waves = 0.1 * rng.standard_normal((3, SAMPLES)).astype("float32")
    return np.where(np.arange(SAMPLES) < np.array(LENGTHS)[:, None], waves, 0)


def varied(backbone):
    """Random norms and biases too, that nothing stands on its neutral value."""
    rng = np.random.default_rng(1)
    for w in backbone.weights:
        if w.path.split("/")[-1] in ("gamma", "beta", "bias"):
            w.assign(w + 0.3 * rng.normal(size=w.shape))
    return backbone


@pytest.fixture(scope="module")
def whisper():
    return varied(
        keras_hub.models.WhisperBackbone(
            num_layers=2, num_heads=2, max_encoder_sequence_length=200, **SHARED
        )
    )


@pytest.fixture(scope="module")
def moonshine():
    return varied(
        keras_hub.models.MoonshineBackbone(
            filter_dim=16,
            encoder_num_layers=2,
            decoder_num_layers=1,
            encoder_num_heads=2,
            decoder_num_heads=2,
            **SHARED,
        )
    )


def decoder_inputs(rows):
    ones = np.ones((rows, 2), "int32")
    return {"decoder_token_ids": ones, "decoder_padding_mask": ones}


def found(encoder, waves):
    return {key: np.asarray(x) for key, x in encoder(waves).items()}


def test_whisper_equals_keras_hub_from_the_wave_on(whisper):
    encoder = audio.whisper(whisper, seconds=2.0, pooling=None)
    converter = keras_hub.layers.WhisperAudioConverter(max_audio_length=2)
    # its silent clip has no reflection to speak of: 1e-10 everywhere, as ours
    features = np.asarray(converter(clips()))
    ours = keras.Model(encoder.input, encoder.get_layer("scale").output)
    np.testing.assert_allclose(ours(clips()), features, atol=1e-4)
    inputs = {"encoder_features": features, **decoder_inputs(3)}
    wanted = np.asarray(whisper(inputs)["encoder_sequence_output"])
    got = found(encoder, clips())
    np.testing.assert_array_equal(got["mask"].sum(1), [100, 66, 1])
    real = got["mask"] == 1
    np.testing.assert_allclose(got["tokens"][real], wanted[real], atol=1e-3)
    assert not got["tokens"][~real].any()


def test_moonshine_equals_keras_hub_clip_by_clip(moonshine):
    encoder = audio.moonshine(moonshine, seconds=2.0, pooling=None)
    got = found(encoder, clips())
    for i, length in enumerate(LENGTHS[:2]):
        inputs = {
            "encoder_input_values": clips()[i : i + 1, :length, None],
            "encoder_padding_mask": np.ones((1, length), "bool"),
            **decoder_inputs(1),
        }
        wanted = np.asarray(moonshine(inputs)["encoder_sequence_output"])[0]
        count = len(wanted)
        np.testing.assert_array_equal(got["mask"][i], np.arange(82) < count)
        np.testing.assert_allclose(got["tokens"][i, :count], wanted, atol=1e-5)
    assert not got["mask"][2].any() and not got["tokens"][2].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", "moonshine"])
def test_saves_freezes_and_learns(name, request, tmp_path):
    make = getattr(audio, name)
    layers = [audio.Gain(6.0), audio.AddNoise()]
    encoder = make(request.getfixturevalue(name), seconds=0.5, augment=layers)
    x = clips()[:, :8000]
    encoder.trainable = False
    y = np.asarray(encoder(x))
    np.testing.assert_array_equal(encoder(x, training=True), y)
    encoder.save(tmp_path / "encoder.keras")
    again = mm.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(again(x), y, atol=1e-6)
    assert not again.trainable_weights
    encoder.trainable = True
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    before = [np.array(w) for w in encoder.trainable_weights]
    model.fit(x, np.eye(3, 2), verbose=0)
    pairs = zip(before, encoder.trainable_weights, strict=True)
    moved = [not np.array_equal(old, w) for old, w in pairs]
    assert np.mean(moved) > 0.9


def test_errors(whisper, moonshine):
    with pytest.raises(ValueError, match="`seconds` wants 0.02 to 2.*seconds=5"):
        audio.whisper(whisper, seconds=5)
    with pytest.raises(ValueError, match="`seconds` wants 0.056 or more"):
        audio.moonshine(moonshine, seconds=0.05)
    with pytest.raises(ValueError, match="`backbone` wants a .*WhisperBackbone.*Moon"):
        audio.whisper(moonshine)
    with pytest.raises(ValueError, match="`augment` wants layers for waves"):
        audio.moonshine(moonshine, augment=audio.SpecAugment())
