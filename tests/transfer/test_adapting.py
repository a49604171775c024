"""Standardising encoders by the training rows, against numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.modality import tensor_input
from mmkeras.standardize import Standardize
from tests import tiny


def model():
    contract = tiny.Numbers(3, name="numbers")
    inputs = tensor_input(contract, "numbers_in")
    x = keras.layers.Rescaling(10.0)(contract(inputs))
    scaled = keras.Model(inputs, Standardize(name="standardize")(x))
    encoders = {"left": scaled, "right": tiny.encoder(4, 5)}
    return mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(2))


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    inputs = {
        "left": rng.normal(5, [1, 2, 3], (40, 3)).astype("float32"),
        "left_present": (np.arange(40) % 4 > 0).astype("float32"),
        "right": rng.normal(size=(40, 4)).astype("float32"),
        "right_present": np.ones(40, "float32"),
    }
    return inputs


def test_columns_are_standardised_over_the_rows_that_are_there(rows, tmp_path):
    made = model()
    mm.transfer.adapt(made, tf.data.Dataset.from_tensor_slices(rows).batch(7))
    there = rows["left_present"] > 0
    x = 10 * rows["left"]
    wanted = (x - x[there].mean(0)) / x[there].std(0)
    made.save(tmp_path / "m.keras")
    for each in (made, mm.load_model(tmp_path / "m.keras")):
        got = each.get_layer("left_encoder").predict(rows["left"], verbose=0)
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_identity_before(rows):
    got = model().get_layer("left_encoder").predict(rows["left"], verbose=0)
    np.testing.assert_allclose(got, 10 * rows["left"], rtol=1e-6)


def test_only_our_layer_is_adapted():
    assert mm.transfer.to_adapt(model()) == ["left"]
    assert mm.transfer.to_adapt(tiny.model()) == []


def test_a_modality_that_no_row_has(rows):
    rows["left_present"][:] = 0
    with pytest.raises(ValueError, match="rows that have 'left'"):
        mm.transfer.adapt(model(), [rows])
