import importlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import hub, transfer
from mmkeras.image import Pixels
from mmkeras.modality import ModalityInput, contract
from mmkeras.testing import process

SIZE = (6, 5)


class Module(tf.train.Checkpoint):
    """What TF-Hub calls a reusable SavedModel: dense, statistic, dropout, a table."""

    def __init__(self, width=4):
        super().__init__()
        rng = np.random.default_rng(0)
        kernel = rng.normal(size=(3, width)).astype("float32")
        self.kernel = tf.Variable(kernel, name="dense/kernel")
        self.bias = tf.Variable(tf.zeros(width), name="dense/bias")
        self.moving = tf.Variable(tf.zeros(width), trainable=False, name="moving")
        rows = tf.lookup.KeyValueTensorInitializer([0], [1.0], tf.int32)
        self.table = tf.lookup.StaticHashTable(rows, -1.0)
        self.regularization_losses = [self.penalty]
        self.variables = [self.kernel, self.bias, self.moving]
        self.trainable_variables = [self.kernel, self.bias]

    @tf.function(input_signature=[])
    def penalty(self):
        return 0.01 * tf.reduce_sum(self.kernel**2)

    @tf.function
    def __call__(self, pictures, training=False):
        x = tf.reduce_mean(pictures, [1, 2]) @ self.kernel + self.bias
        x *= self.table.lookup(tf.constant(0))
        if training:
            self.moving.assign(0.9 * self.moving + 0.1 * tf.reduce_mean(x, 0))
            x = tf.nn.dropout(x - self.moving, 0.5)
        else:
            x -= self.moving
        return x


def saved(path, module=None, **signatures):
    module = module or Module()
    spec = tf.TensorSpec((None, None, None, 3), tf.float32, name="pictures")
    for training in (False, True):
        module.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(module, str(path), signatures or None)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    return saved(tmp_path / "module")


def pictures(count=4):
    shape = (count, *SIZE, 3)
    return np.random.default_rng(1).uniform(0, 255, shape).astype("float32")


def expected(layer_or_module, x):
    """The module's inference by hand, in numpy."""
    kernel, bias, moving = (np.array(w) for w in values(layer_or_module))
    return (x / 255).mean((1, 2)) @ kernel + bias - moving


def values(encoder):
    layer = encoder.get_layer("module")
    by_name = {v.name: v.value for v in layer.module_variables}
    return [by_name[x] for x in ("dense_kernel", "dense_bias", "moving")]


def trained(encoder, steps=1, rate=0.1):
    model = keras.Sequential([encoder, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    model.fit(pictures(), np.ones((4, 1)), epochs=steps, verbose=0)
    return model


def test_features_and_contract(folder):
    encoder = hub.saved_model(folder, SIZE)
    assert encoder.output_shape == (None, 4) and encoder.inputs[0].name == "image"
    assert encoder.name == "module" and contract(encoder).scaling == "unit"
    x = pictures()
    np.testing.assert_allclose(encoder(x), expected(encoder, x), rtol=1e-5, atol=1e-6)


def test_frozen_moves_nothing_and_fit_sees_what_predict_gives(folder):
    encoder = hub.saved_model(folder, SIZE)
    x, before = pictures(), [np.array(w) for w in values(encoder)]
    assert not encoder.trainable_weights and len(encoder.weights) == 3
    np.testing.assert_array_equal(encoder(x, training=True), encoder(x))
    trained(encoder)
    for weight, old in zip(values(encoder), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_trains_weights_and_statistic_and_can_be_toggled(folder):
    encoder = hub.saved_model(folder, SIZE, trainable=True)
    assert {w.name for w in encoder.trainable_weights} == {"dense_kernel", "dense_bias"}
    before = [np.array(w) for w in values(encoder)]
    trained(encoder)
    for weight, old in zip(values(encoder), before, strict=True):
        assert not np.allclose(weight, old)
    encoder.trainable = False
    before = [np.array(w) for w in values(encoder)]
    trained(encoder)
    for weight, old in zip(values(encoder), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    transfer.unfreeze(encoder)
    trained(encoder)
    assert not np.allclose(values(encoder)[0], before[0])


def test_regularization_of_the_module_joins_the_loss_while_it_trains(folder):
    for trainable in (True, False):
        encoder = hub.saved_model(folder, SIZE, trainable=trainable)
        encoder(pictures())
        want = 0.01 * (np.array(values(encoder)[0]) ** 2).sum() if trainable else 0
        np.testing.assert_allclose(sum(map(float, encoder.losses)), want, rtol=1e-5)


def test_keras_file_outlives_the_folder(folder, tmp_path):
    model = trained(hub.saved_model(folder, SIZE, trainable=True))
    x, path = pictures(), tmp_path / "model.keras"
    model.save(path)
    want = model.predict(x, verbose=0)
    tf.io.gfile.rmtree(folder)
    loaded = keras.models.load_model(path, safe_mode=False)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), want)
    encoder = loaded.layers[0]
    assert contract(encoder).size == SIZE
    assert {w.name for w in encoder.trainable_weights} == {"dense_kernel", "dense_bias"}
    before = np.array(values(encoder)[0])
    loaded.fit(x, np.ones((4, 1)), verbose=0)  # its optimizer came along
    assert not np.allclose(values(encoder)[0], before)
    loaded.save(tmp_path / "again.keras")  # from the layer's own copy of the module
    again = keras.models.load_model(tmp_path / "again.keras", safe_mode=False)
    want = loaded.predict(x, verbose=0)
    np.testing.assert_array_equal(again.predict(x, verbose=0), want)


def test_optimizer_state_comes_back(folder, tmp_path):
    model = keras.Sequential([hub.saved_model(folder, SIZE, trainable=True)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    x, y = pictures(), np.ones((4, 4))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras", safe_mode=False)
    for ours, theirs in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert len(loaded.optimizer.variables) == 2 + 2 * 2


def test_frozen_stays_frozen_in_the_file(folder, tmp_path):
    encoder = hub.saved_model(folder, SIZE)
    encoder.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras", safe_mode=False)
    assert not loaded.trainable_weights
    np.testing.assert_array_equal(
        loaded(pictures(), training=True), encoder(pictures())
    )


def test_safe_mode_refuses(folder, tmp_path):
    hub.saved_model(folder, SIZE).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="SavedModel.*safe_mode=False"):
        keras.models.load_model(tmp_path / "a.keras")


def test_export_through_a_module_of_raw_variables(folder, tmp_path):
    model = trained(hub.saved_model(folder, SIZE, trainable=True))
    model.save(tmp_path / "a.keras")
    model = keras.models.load_model(tmp_path / "a.keras", safe_mode=False)
    x = pictures()
    export = tf.Module()
    export.variables_ = [w.value for w in model.variables]
    export.modules_ = [model.layers[0].get_layer("module").module]
    spec = tf.TensorSpec((None, *SIZE, 3), tf.float32)
    export.serve = tf.function(
        lambda x: model(x, training=False), input_signature=[spec]
    )
    tf.saved_model.save(export, str(tmp_path / "export"))
    served = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_allclose(served.serve(x), model.predict(x, verbose=0), rtol=1e-6)


class TwoOutputs(Module):
    @tf.function
    def __call__(self, pictures, training=False):
        return {"map": pictures[..., :2], "mean": tf.reduce_mean(pictures, [1, 2])}


class Plain(tf.Module):
    """A module that lists no variables: what its function reads is found."""

    def __init__(self):
        super().__init__()
        self.scale = tf.Variable(2.0, name="scale")
        self.offset = tf.Variable(1.0, name="offset", trainable=False)

    @tf.function
    def __call__(self, pictures):
        return tf.reduce_mean(pictures, [1, 2]) * self.scale + self.offset


def test_variables_that_the_module_does_not_list(tmp_path):
    module = Plain()
    spec = tf.TensorSpec((None, None, None, 3), tf.float32)
    module.__call__.get_concrete_function(spec)
    tf.saved_model.save(module, str(tmp_path / "plain"))
    encoder = hub.saved_model(tmp_path / "plain", SIZE, trainable=True)
    assert [w.name for w in encoder.trainable_weights] == ["scale"]
    trained(encoder)
    scale = float(encoder.trainable_weights[0])
    assert scale != 2.0
    x = pictures()
    want = (x / 255).mean((1, 2)) * scale + 1
    np.testing.assert_allclose(encoder(x), want, rtol=1e-5)
    encoder.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded(x), encoder(x))


def test_output_key_and_pooling(tmp_path):
    folder = saved(tmp_path / "two", TwoOutputs())
    x = pictures()
    mean = hub.saved_model(folder, SIZE, output_key="mean")
    np.testing.assert_allclose(mean(x), (x / 255).mean((1, 2)), rtol=1e-5)
    tokens = hub.saved_model(folder, SIZE, output_key="map", pooling=None)(x)
    np.testing.assert_allclose(
        tokens["tokens"], (x / 255)[..., :2].reshape(4, 30, 2), rtol=1e-6
    )
    with pytest.raises(ValueError, match="Choose with `output_key`"):
        hub.saved_model(folder, SIZE)
    with pytest.raises(ValueError, match=r"`output_key` wants one of \['map', 'mean'"):
        hub.saved_model(folder, SIZE, output_key="max")


class Serving(tf.Module):
    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="x")]
    )
    def serve(self, x):
        return {"y": tf.reduce_mean(x, [1, 2])}


def test_signature_where_there_is_no_call(tmp_path):
    module = Serving()
    folder = str(tmp_path / "serving")
    tf.saved_model.save(module, folder, {"serving_default": module.serve})
    with pytest.raises(ValueError, match=r"no `__call__`.*\['serving_default'\]"):
        hub.saved_model(folder, SIZE)
    with pytest.raises(ValueError, match=r"`signature` wants one of"):
        hub.saved_model(folder, SIZE, signature="predict")
    options = {"signature": "serving_default", "output_key": "y"}
    encoder = hub.saved_model(folder, SIZE, **options)
    x = pictures()
    np.testing.assert_allclose(encoder(x), (x / 255).mean((1, 2)), rtol=1e-5)
    encoder.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded(x), encoder(x))


@keras.saving.register_keras_serializable("test_hub")
class Row(ModalityInput):
    kind, cell = "table", "value"

    @property
    def tensor_shape(self):
        return (3,)

    def call(self, tensor):
        return keras.ops.reshape(tensor, (-1, 1, 1, 3))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1, 1, 3)


def test_another_contract(folder):
    encoder = hub.saved_model(folder, contract=Row())
    assert encoder.input_shape == (None, 3) and encoder.inputs[0].name == "table"
    x = np.eye(3, dtype="float32")
    np.testing.assert_allclose(encoder(x), values(encoder)[0], rtol=1e-6)


def test_half_precision_policy_leaves_the_module_alone(folder):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        encoder = hub.saved_model(folder, SIZE)
        x = pictures()
        np.testing.assert_allclose(encoder(x), expected(encoder, x), 1e-5, 1e-6)
    finally:
        keras.config.set_dtype_policy("float32")


def test_tf1_module(tmp_path):
    folder = str(tmp_path / "one")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 3))
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": x})
        builder = tf.compat.v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}
        )
        builder.save()
    with pytest.raises(ValueError, match="TF1 module"):
        hub.saved_model(folder, SIZE)


class Fixed(Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
    def __call__(self, pictures):
        return tf.reduce_mean(pictures, [1, 2])


def test_wrong_size(tmp_path):
    tf.saved_model.save(Fixed(), str(tmp_path / "fixed"))
    assert hub.saved_model(tmp_path / "fixed", (8, 8)).output_shape == (None, 3)
    with pytest.raises(ValueError, match=r"\(batch, 6, 5, 3\). Try another `size`"):
        hub.saved_model(tmp_path / "fixed", SIZE)


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match="`handle` wants the folder of a SavedModel"):
        hub.saved_model(tmp_path)


def test_url_goes_through_tensorflow_hub(folder, monkeypatch):
    hub_package = importlib.import_module("tensorflow_hub")
    monkeypatch.setattr(hub_package, "resolve", {"https://a/b/1": folder}.get)
    encoder = hub.saved_model("https://a/b/1", SIZE)
    assert encoder.output_shape == (None, 4) and encoder.name == "1"

    def refuse(handle):
        raise OSError("no route to host")

    monkeypatch.setattr(hub_package, "resolve", refuse)
    with pytest.raises(OSError, match="not be fetched: no route.*Give the folder"):
        hub.saved_model("https://a/b/1", SIZE)


def test_pixels_of_the_encoder_read_files(folder):
    assert isinstance(contract(hub.saved_model(folder, SIZE)), Pixels)


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [True, False])
def test_two_replicas_train_as_one_device(on_replicas, trainable):
    folder, start = on_replicas, np.random.default_rng(0).normal(size=(3, 4))
    with np.load(folder / f"{trainable}_1.npz") as one:
        with np.load(folder / f"{trainable}_2.npz") as two:
            for name in one:
                np.testing.assert_allclose(two[name], one[name], atol=1e-6)
            kernel = next(one[x] for x in one if one[x].shape == (3, 4))
    assert np.allclose(kernel, start, atol=1e-6) != trainable


@pytest.fixture(scope="module")
def on_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    process.run("tests.hub_on_replicas", folder)
    return folder


def test_warns_that_a_graph_is_a_program(folder):
    with pytest.warns(UserWarning, match="is a SavedModel, a program that can read"):
        hub.saved_model(folder, size=SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub.saved_model(folder, size=SIZE, trust=True)
