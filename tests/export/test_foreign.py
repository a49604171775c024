"""What no server can run is refused, and nothing is left behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.modality import ModalityInput, tensor_input
from tests import test_hub, tiny


def lengths(raw):
    return np.array([len(np.asarray(raw).item())], "float32")


@keras.saving.register_keras_serializable("tests")
class Python(ModalityInput):
    """Reads by a function of this Python process."""

    kind = "text"
    cell = "value"
    tensor_shape = (1,)

    def __init__(self, by="numpy_function", **kwargs):
        super().__init__(**kwargs)
        self.by = by

    def read_one(self, raw):
        if self.by == "erfinv":
            read = tf.math.erfinv(tf.strings.to_number(raw)[None])
        elif self.by == "py_function":
            read = tf.py_function(lambda x: lengths(x.numpy()), [raw], tf.float32)
        else:
            stateful = self.by == "numpy_function"
            read = tf.numpy_function(lengths, [raw], tf.float32, stateful=stateful)
        return tf.ensure_shape(read, (1,))

    def call(self, inputs):
        return inputs


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    """Computes in Python."""

    def call(self, x):
        y = tf.numpy_function(lambda x: 2 * x, [x], tf.float32)
        return tf.ensure_shape(y, x.shape)


def encoder(contract, *layers):
    x = inputs = tensor_input(contract, "input")
    for layer in (contract, *layers):
        x = layer(x)
    return keras.Model(inputs, x)


def model(title, **encoders):
    encoders = {"title": title, **encoders}
    return mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(2))


@pytest.mark.parametrize(
    "by, operation",
    [
        ("numpy_function", "PyFunc"),
        ("stateless", "PyFuncStateless"),
        ("py_function", "EagerPyFunc"),
    ],
)
def test_a_contract_that_reads_in_python(tmp_path, by, operation):
    told = (
        rf"Received: {operation} \(where the contract of 'title' reads\).*Nothing was"
    )
    with pytest.raises(ValueError, match=told):
        mm.export.saved_model(model(encoder(Python(by))), tmp_path / "new/1")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_computes_in_python(tmp_path):
    made = model(encoder(tiny.Numbers(3), Doubled(name="doubled")))
    with pytest.raises(ValueError, match=r"PyFunc \(in the endpoints serve, .*doubled"):
        mm.export.saved_model(made, tmp_path / "1")
    assert not list(tmp_path.iterdir())


def test_operations_of_hub_modules_alone_pass(tmp_path, monkeypatch):
    class Module(test_hub.Module):
        @tf.function
        def __call__(self, pictures, training=False):
            @tf.function
            def inner(x):
                return tf.math.erfinv(x / 9)

            return inner(tf.reduce_mean(pictures, [1, 2]) @ self.kernel)

    folder = test_hub.saved(tmp_path / "module", Module())
    hub = mm.hub.saved_model(folder, test_hub.SIZE, trust=True)
    made = model(encoder(tiny.Numbers(3)), photo=hub)
    # from here on an operation of nobody's: what a module has passes, by its name
    monkeypatch.delattr(tf.raw_ops, "Erfinv")
    report = mm.export.saved_model(made, tmp_path / "1")
    assert report.custom_ops == ("Erfinv",)
    assert "needs operations beyond TensorFlow's core:\n  Erfinv" in str(report)
    with pytest.raises(ValueError, match=r"Erfinv \(where the contract of 'title'"):
        mm.export.saved_model(model(encoder(Python("erfinv"))), tmp_path / "2")
    assert not (tmp_path / "2").exists()
