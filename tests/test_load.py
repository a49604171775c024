"""Reading models back: safe, and no false alarm."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from tests import tiny


def test_a_lambda_is_not_loaded(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(abs)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(Exception, match="[Ll]ambda"):
        mm.load_model(tmp_path / "m.keras")


RATE = keras.optimizers.schedules.CosineDecay(0.1, 10)


@pytest.mark.parametrize("rate", [0.1, RATE])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_model_saved_before_its_first_step_loads_without_a_warning(
    rate, scaled, tmp_path
):
    model = tiny.model()  # compiled, never fitted: warnings are errors here
    optimizer = keras.optimizers.Adam(rate)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse")
    model.save(tmp_path / "m.keras")
    again = mm.load_model(tmp_path / "m.keras")
    inputs, _ = tiny.rows()
    np.testing.assert_array_equal(again(inputs), model(inputs))
