from pathlib import Path

import keras
import numpy as np
import pytest

from mmkeras import dropout, image, transfer
from mmkeras.modality import contract

REFERENCE = Path(__file__).parent.parent / "reference/efficientnet_lite0_torch.npz"


def small(picture=(8, 8, 3), top=True):
    x = inputs = keras.Input(picture)
    x = keras.layers.Conv2D(4, 3, name="first")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="second")(x)
    if top:
        x = keras.layers.Flatten()(x)
    return keras.Model(inputs, x, name="small")


def x8(count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("scaling, divisor", [("none", 1), ("unit", 255)])
def test_same_numbers_and_names_and_the_given_model_is_left_alone(scaling, divisor):
    model = small()
    model.compile("sgd", "mse")
    encoder = image.from_model(model, scaling=scaling)
    np.testing.assert_allclose(encoder(x8()), model(x8() / divisor), rtol=1e-5)
    assert encoder.inputs[0].name == "image" and encoder.name == "small"
    assert encoder.get_layer("first") is not model.get_layer("first")
    assert type(encoder.get_layer("drop")) is dropout.Dropout
    assert type(model.get_layer("drop")) is keras.layers.Dropout
    encoder.get_layer("first").kernel.assign_add(encoder.get_layer("first").kernel)
    assert not np.allclose(encoder(x8()), model(x8() / divisor))


def test_freezing_by_name_survives_save_and_load(tmp_path):
    encoder = image.from_model(small())
    transfer.freeze(encoder, until="norm")
    encoder.save(tmp_path / "a.keras")
    loaded = transfer.refreeze(keras.models.load_model(tmp_path / "a.keras"))
    want = ["second/kernel", "second/bias"]
    assert [w.path for w in encoder.trainable_weights] == want
    assert [w.path for w in loaded.trainable_weights] == want
    np.testing.assert_array_equal(loaded(x8()), encoder(x8()))
    assert contract(loaded).size == (8, 8)


def test_feature_map_pooled_and_as_tokens():
    model = small((None, None, 3), top=False)
    features = np.array(model(x8()))
    for pooling, over in (("mean", np.mean), ("max", np.max)):
        encoder = image.from_model(model, (8, 8), pooling=pooling)
        np.testing.assert_allclose(encoder(x8()), over(features, (1, 2)), rtol=1e-5)
    tokens = image.from_model(model, (8, 8), pooling=None)(x8())
    np.testing.assert_allclose(tokens["tokens"], features.reshape(2, 16, 6), rtol=1e-6)
    np.testing.assert_array_equal(tokens["mask"], np.ones((2, 16)))
    assert image.from_model(model).input_shape == (None, 224, 224, 3)


def test_sequential_nested_and_shared_layers(tmp_path):
    shared = keras.layers.Conv2D(3, 1, name="shared")
    body = keras.Sequential(
        [keras.layers.Conv2D(3, 1), keras.layers.Dropout(0.5)], name="body"
    )
    x = inputs = keras.Input((8, 8, 3))
    x = body(shared(shared(x)))
    x = keras.layers.GlobalAveragePooling2D()(body(x))
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.Model(inputs, x, name="trunk")], name="outer"
    )
    encoder = image.from_model(model)
    np.testing.assert_allclose(encoder(x8()), model(x8()), rtol=1e-5)
    assert len(encoder.weights) == len(model.weights)
    encoder.trainable = False
    np.testing.assert_array_equal(encoder(x8(), training=True), encoder(x8()))
    encoder.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(loaded(x8(), training=True), encoder(x8()))


def test_unbuilt_sequential_takes_the_size():
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    assert image.from_model(model, (8, 8)).output_shape == (None, 3)


def test_file_in_safe_mode(tmp_path):
    model = small()
    model.save(tmp_path / "a.keras")
    encoder = image.from_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(encoder(x8()), model(x8()))
    inputs = keras.Input((8, 8, 3))
    code = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs))
    code.save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match="Lambda"):
        image.from_model(tmp_path / "code.keras")


def test_random_layers_that_cannot_rest_are_named():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.RandomFlip(name="flip")(inputs)
    x = keras.layers.Reshape((64, 3))(x)
    x = keras.layers.LSTM(2, dropout=0.5, name="lstm")(x)
    with pytest.warns(UserWarning, match=r"\['flip', 'lstm'\]"):
        image.from_model(keras.Model(inputs, x))


def two_inputs():
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return keras.Model([a, b], keras.layers.Add()([a, b]))


def two_outputs():
    a = keras.Input((8, 8, 3))
    return keras.Model(a, [keras.layers.ReLU()(a), keras.layers.ReLU()(a)])


@pytest.mark.parametrize(
    "model, options, error, match",
    [
        (two_inputs(), {}, ValueError, "one input"),
        (two_outputs(), {}, ValueError, "one output"),
        (small((8, 8, 4)), {}, ValueError, r"\(None, 8, 8, 4\)"),
        (small(), {"size": (9, 8)}, ValueError, r"`size` wants \(8, 8\)"),
        (small(), {"pooling": None}, ValueError, "a vector has no tokens"),
        (small(), {"pooling": "avg"}, ValueError, "`pooling` wants one of"),
        (small(), {"scaling": "no"}, ValueError, "`scaling` wants one of"),
        (keras.Sequential([keras.layers.Dense(2)]), {}, TypeError, "unbuilt"),
        ("nowhere.keras", {}, ValueError, "no file at 'nowhere.keras'"),
        (3, {}, TypeError, "keras.Model or a path"),
    ],
)
def test_bad_arguments(model, options, error, match):
    with pytest.raises(error, match=match):
        image.from_model(model, **options)


@pytest.mark.weights
def test_efficientnet_lite0_equals_the_original(lite0):
    """Measured: 6.7e-6 at most, features up to 3.2."""
    reference = np.load(REFERENCE)
    encoder = image.from_model(lite0, trainable=False)
    got = encoder.predict(reference["pixels"].astype("float32"), verbose=0)
    np.testing.assert_allclose(got, reference["features"], rtol=0, atol=1e-5)
