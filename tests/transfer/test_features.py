"""Feature transfer: the trunk on cached features is the model itself."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import load_model, transfer
from tests import tiny


def dataset(data, batch=16):
    return tf.data.Dataset.from_tensor_slices(data).batch(batch)


@pytest.fixture
def frozen():
    return transfer.freeze(tiny.model(), "left")


def test_trunk_on_features_equals_the_model(frozen):
    data = tiny.rows()
    features, labels = transfer.cache_features(frozen, dataset(data))
    trunk = transfer.trunk(frozen)
    assert features["left"].shape == (48, 5)  # encoded
    assert features["right"].shape == (48, 4)  # its encoder trains: raw
    np.testing.assert_array_equal(labels, data[1])
    np.testing.assert_allclose(
        trunk.predict(features, verbose=0),
        frozen.predict(data[0], verbose=0),
        atol=1e-6,
    )


def test_fitting_the_trunk_trains_the_model(frozen):
    data = tiny.rows()
    features, labels = transfer.cache_features(frozen, dataset(data))
    trunk = transfer.trunk(frozen)
    trunk.compile("adam", frozen.loss)
    before = frozen.predict(data[0], verbose=0)
    trunk.fit(features, labels, verbose=0)
    after = frozen.predict(data[0], verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(
        trunk.predict(features, verbose=0), after, rtol=1e-5, atol=1e-6
    )


def test_cached_training_equals_end_to_end():
    """With the encoder frozen, both roads end at the same weights."""
    data = tiny.rows()
    ends = []
    for cached in (True, False):
        import keras

        keras.utils.set_random_seed(3)
        model = transfer.freeze(tiny.model())
        part, inputs = model, data
        if cached:
            part = transfer.trunk(model)
            inputs = transfer.cache_features(model, dataset(data))
        part.compile("sgd", model.loss)
        part.fit(*inputs, epochs=3, batch_size=16, shuffle=False, verbose=0)
        ends.append(model.predict(data[0], verbose=0))
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_the_model_still_saves_after_its_trunk_was_cut(frozen, tmp_path):
    trunk = transfer.trunk(frozen)
    trunk.compile("adam", frozen.loss)
    data = tiny.rows()
    trunk.fit(*transfer.cache_features(frozen, dataset(data)), verbose=0)
    frozen.compile("adam", frozen.loss)
    frozen.fit(*data, verbose=0)
    frozen.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), frozen.predict(data[0], verbose=0)
    )


def test_sample_weights_come_along(frozen):
    data = (*tiny.rows(), np.arange(48, dtype="float32"))
    found = transfer.cache_features(frozen, dataset(data))
    np.testing.assert_array_equal(found[2], data[2])


def test_inputs_alone(frozen):
    found = transfer.cache_features(frozen, dataset(tiny.rows()[0]))
    assert found["left"].shape == (48, 5)


def test_named_encoders_only():
    model = tiny.model()
    found = transfer.cache_features(model, dataset(tiny.rows()), cached=["right"])
    assert found[0]["right"].shape == (48, 7)
    assert transfer.trunk(model, ["right"]).input["left"].shape == (None, 6)


def test_unknown_modality(frozen):
    with pytest.raises(ValueError, match=r"\['left', 'right'\]"):
        transfer.trunk(frozen, ["photo"])


def test_empty_dataset(frozen):
    with pytest.raises(ValueError, match="at least one batch"):
        transfer.cache_features(frozen, dataset(tiny.rows()).take(0))
