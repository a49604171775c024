"""LoRA is merged in a SavedModel, and goes on in the model."""

import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from tests import tiny


def test_lora_is_merged(tmp_path):
    model = tiny.model()
    mm.transfer.enable_lora(model, "left", rank=2)
    rng = np.random.default_rng(0)
    model.set_weights([x + rng.uniform(0.1, 0.5, x.shape) for x in model.get_weights()])
    before, data = tiny.values(model), tiny.rows(16)
    wanted = model.predict(data[0], verbose=0)
    mm.export.saved_model(model, tmp_path / "1")
    after = tiny.values(model)
    assert list(before) == list(after) and any("lora_kernel_a" in x for x in before)
    for name, x in before.items():
        np.testing.assert_array_equal(x, after[name])
    # by numpy alone: one kernel in place of each three
    layer = mm.model.encoder(model, "left").get_layer("block1_dense")
    base, a, b = layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b
    merged = base.numpy() + layer.lora_alpha / layer.lora_rank * a.numpy() @ b.numpy()
    path = str(tmp_path / "1/variables/variables")
    names = [
        x for x, _ in tf.train.list_variables(path) if x.endswith("VARIABLE_VALUE")
    ]
    stored = [tf.train.load_variable(path, x) for x in names]
    assert len(stored) == len(model.variables) - 4
    assert any(x.shape == merged.shape and np.allclose(x, merged) for x in stored)
    assert not [x for x in stored if x.shape in (a.shape, b.shape)]
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["serve"]
    got = serve(**{x: tf.constant(y) for x, y in data[0].items()})["outputs"]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_array_equal(model.predict(data[0], verbose=0), wanted)
    moved = {x.split("/")[-1] for x in tiny.moved(model, data)}  # it goes on learning
    assert {"lora_kernel_a", "lora_kernel_b"} <= moved


def test_lora_comes_back_when_the_export_fails(tmp_path):
    model = tiny.model()
    mm.transfer.enable_lora(model, "left", rank=2)
    with pytest.raises(ValueError, match="differs from `model.predict`"):
        mm.export.saved_model(model, tmp_path / "1", tolerance=-1)
    assert mm.model.encoder(model, "left").get_layer("block1_dense").lora_enabled
