"""Deep supervision and Gradient Blending: losses, weights and gradients by hand."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import balance
from mmkeras.balance.deep_supervision import OwnLogits
from tests import tiny
from tests.balance import linear
from tests.balance.linear import NAMES

HEAD = mm.heads.classification(3)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return linear.model()


def test_each_modality_answers_by_itself(model):
    training = balance.supervised(model)
    inputs, _ = linear.rows()
    found = training(inputs)
    assert sorted(found) == ["fused", "photo", "title"]
    np.testing.assert_array_equal(found["fused"], model(inputs))
    own, _ = linear.weights(model)
    for name in NAMES:
        kernel = training.get_layer(f"{name}_own").get_weights()[0]
        wanted = inputs[name] @ own[name] @ kernel
        wanted *= inputs[f"{name}_present"][:, None]
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-6)


def test_an_absent_modality_gives_no_gradient(model):
    training = balance.supervised(model)
    inputs, labels = linear.rows()
    inputs["photo_present"][:] = 0
    alone = keras.Model(training.input, training.output["photo"])
    layer = training.get_layer("photo_own")
    variables = [*layer.trainable_variables, *alone.get_layer("photo_encoder").weights]
    for value in linear.gradients(alone, variables, inputs, labels, HEAD.loss):
        np.testing.assert_array_equal(value, np.zeros_like(value))


def test_a_nan_in_an_absent_feature_reaches_no_weight():
    layer = OwnLogits(2)
    feature = np.array([[np.nan, 1.0], [2.0, 3.0]], "float32")
    present = np.array([0, 1], "float32")
    layer(feature, present)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        y = layer(feature, present)
        value = tf.reduce_sum(y)
    kernel = tape.gradient(value, layer.dense.kernel.value)
    np.testing.assert_array_equal(y[0], [0, 0])
    np.testing.assert_allclose(kernel, [[2, 2], [3, 3]])


def test_numbers_are_learnt_in_deviations_as_the_head_does():
    layer = OwnLogits(1, mean=[200.0], deviation=[50.0])
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    found = layer(x, np.array([1.0, 1.0, 0.0]))
    wanted = 200 + 50 * (x @ layer.dense.kernel.numpy())
    wanted[2] = 0
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    head = mm.heads.regression(standardize=[150.0, 250.0])
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 5)}
    training = balance.supervised(
        mm.multimodal(encoders, mm.fusion.Mean(4), head.layer)
    )
    assert training.get_layer("left_own").mean == [200.0]
    assert training.get_layer("left_own").deviation == [50.0]


def test_tokens_are_averaged_without_their_padding():
    layer = OwnLogits(2)
    tokens = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    tokens[0, 2] = np.nan
    mask = np.array([[1, 1, 0], [1, 1, 1]], "float32")
    found = layer({"tokens": tokens, "mask": mask}, np.ones(2))
    means = np.stack([tokens[0, :2].mean(axis=0), tokens[1].mean(axis=0)])
    wanted = means @ layer.dense.kernel.numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_losses_and_targets(model):
    """The losses that fit reports are the mean over the rows, by weight, by hand."""
    training = balance.supervised(model)
    arguments = balance.losses(training, HEAD, {"photo": 0.25})
    assert arguments["loss_weights"] == {"fused": 1.0, "photo": 0.25, "title": 1.0}
    training.compile(keras.optimizers.SGD(0.0), **arguments)
    inputs, labels = linear.rows()
    weight = np.linspace(0.5, 1.5, len(labels)).astype("float32")
    x, y, w = balance.with_targets((inputs, labels, weight), training)
    np.testing.assert_array_equal(w["fused"], weight)
    np.testing.assert_array_equal(w["photo"], weight * inputs["photo_present"])
    outputs = {n: np.asarray(z, "float64") for n, z in training(inputs).items()}
    found = training.evaluate(x, y, sample_weight=w, verbose=0, return_dict=True)
    total = 0
    for name, z in outputs.items():
        rows = -linear.log_softmax(z)[np.arange(len(labels)), labels]
        value = (rows * w[name]).mean()
        np.testing.assert_allclose(found[f"{name}_loss"], value, rtol=1e-5)
        total += arguments["loss_weights"][name] * value
        if name != "fused":
            right = z.argmax(axis=1) == labels
            share = (right * w[name]).sum() / w[name].sum()
            np.testing.assert_allclose(found[f"{name}_accuracy"], share, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], total, rtol=1e-5)


def test_fit_on_a_dataset_trains_the_model_and_leaves_nothing_in_it(tmp_path):
    import tensorflow as tf

    made = linear.model()
    inputs, labels = linear.rows(count=32)
    size, before = made.count_params(), linear.weights(made)[0]
    training = balance.supervised(made)
    training.compile("sgd", **balance.losses(training, HEAD))
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(16)
    dataset = balance.with_targets(dataset, training)
    training.fit(dataset, shuffle=False, verbose=0)
    for name in NAMES:
        assert np.abs(linear.weights(made)[0][name] - before[name]).max() > 0
    made.save(tmp_path / "model.keras")
    loaded = mm.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == made.count_params() == size
    np.testing.assert_array_equal(loaded(inputs), made(inputs))


def test_the_trunk_of_a_model_is_supervised_too(model):
    trunk = mm.transfer.trunk(model, cached=["photo"])
    training = balance.supervised(trunk)
    assert sorted(training.output) == ["fused", "photo", "title"]
    assert training.input["photo"].shape == (None, 2)


@pytest.mark.parametrize("dense", [True, False])
def test_a_late_fusion_answers_with_its_own_experts(dense):
    encoders = {}
    for name in NAMES:
        numbers = linear.tiny.Numbers(3, name="numbers")
        inputs = mm.modality.tensor_input(numbers, "in")
        encoders[name] = keras.Model(inputs, numbers(inputs), name=name)
    head = mm.heads.classification(3, dense=False)
    fusion = mm.fusion.LateAverage(3, dense=dense)
    made = mm.multimodal(encoders, fusion, head.layer)
    training = balance.supervised(made)
    x = {n: np.array([[1, 2, 3], [4, 5, 7]], "float32") for n in NAMES}
    x |= {f"{n}_present": np.ones(2, "float32") for n in NAMES}
    x["photo_present"][1] = 0
    found = training(x)
    for name in NAMES:
        wanted = x[name] @ fusion.own_heads[name].kernel if dense else x[name]
        wanted = wanted * x[f"{name}_present"][:, None]
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5)
    assert training.count_params() == made.count_params()


def test_refuses(model):
    training = balance.supervised(model)
    with pytest.raises(ValueError, match=r"names no output \['sound'\]"):
        balance.losses(training, HEAD, {"sound": 1.0})
    several = keras.Model(model.input, {"kind": model.output})
    with pytest.raises(ValueError, match="wants one output"):
        balance.supervised(several)
    inputs = {n: keras.Input((3,), name=n) for n in ("fused", "photo")}
    there = {n: keras.Input((), name=f"{n}_present") for n in inputs}
    fused = keras.layers.Dense(2)(mm.fusion.Concat()(inputs, there))
    everything = inputs | {f"{n}_present": x for n, x in there.items()}
    with pytest.raises(ValueError, match="A modality called 'fused'"):
        balance.supervised(keras.Model(everything, fused))


class Hand:
    """One step of gradient descent on y = F W + b by mean squared error, float64.

    F is the features side by side, each x A; every A, W and b takes the step.
    """

    def __init__(self, made, names, kernel, bias):
        own, _ = linear.weights(made)
        self.own = {n: own[n] for n in names}
        self.kernel, self.bias = kernel.astype("float64"), bias

    def features(self, x):
        return np.concatenate([x[n] @ a for n, a in self.own.items()], axis=1)

    def loss(self, x, y, weight):
        z = self.features(x) @ self.kernel + (0 if self.bias is None else self.bias)
        return (((z - y) ** 2).mean(axis=1) * weight).sum() / weight.sum()

    def step(self, x, y, weight, rate):
        features = self.features(x)
        z = features @ self.kernel + (0 if self.bias is None else self.bias)
        dz = 2 * (z - y) * weight[:, None] / y.size  # Keras divides by all rows
        df = dz @ self.kernel.T
        self.kernel = self.kernel - rate * features.T @ dz
        if self.bias is not None:
            self.bias = self.bias - rate * dz.sum(axis=0)
        for i, n in enumerate(self.own):
            change = x[n].T @ df[:, 2 * i : 2 * i + 2]
            self.own[n] = self.own[n] - rate * change


def blank(rows):
    """Absent features as zeros, which is what a fusion sees, in float64."""
    return {n: rows[n] * rows[f"{n}_present"][:, None].astype("float64") for n in NAMES}


def test_gradient_blending_by_hand():
    keras.utils.set_random_seed(3)
    made = linear.model(2, "number")
    training = balance.supervised(made)
    data, held = linear.rows(24)[0], linear.rows(16, seed=1)[0]
    mix = np.random.default_rng(2).normal(size=(7, 2))
    y, v = (np.concatenate([x[n] for n in NAMES], axis=1) @ mix for x in (data, held))
    loss = keras.losses.MeanSquaredError()
    before = [x.numpy() for x in training.variables]
    parameters = {"fused": (made.get_layer("head").get_weights()[0], None)}
    for name in NAMES:
        parameters[name] = training.get_layer(f"{name}_own").get_weights()
    found = balance.gradient_blending(
        training, (data, y), (held, v), loss, keras.optimizers.SGD(0.05), epochs=1
    )
    for variable, value in zip(training.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    ratios = {}
    for name, (kernel, bias) in parameters.items():
        hand = Hand(made, NAMES if name == "fused" else [name], kernel, bias)
        weights = [
            np.ones(len(x["photo"])) if name == "fused" else x[f"{name}_present"]
            for x in (data, held)
        ]
        rows = (blank(data), y, weights[0].astype("float64"))
        others = (blank(held), v, weights[1].astype("float64"))
        first = hand.loss(*rows), hand.loss(*others)
        hand.step(*rows, 0.05)
        last = hand.loss(*rows), hand.loss(*others)
        gap = (last[1] - last[0]) - (first[1] - first[0])
        ratios[name] = max(first[1] - last[1], 0) / max(abs(gap), 1e-3) ** 2
    assert min(ratios.values()) > 0
    for name, value in found.items():
        wanted = ratios[name] / sum(ratios.values())
        np.testing.assert_allclose(value, wanted, rtol=1e-3)
