"""Two stages: what starts anew, what stays, and what a second stage is worth."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import balance, transfer
from mmkeras.model import fusion
from tests import tiny
from tests.balance import linear

HEADS = {"kind": mm.heads.classification(3), "price": mm.heads.regression()}


def part(model, layer):
    """Places of a layer's weights among the model's, as `tiny.moved` calls them."""
    own = {id(w) for w in layer.weights}
    return {f"{i}:{w.path}" for i, w in enumerate(model.weights) if id(w) in own}


def changed(before, model):
    after = tiny.values(model)
    return {k for k, x in before.items() if not np.array_equal(x, after[k])}


def several():
    head = mm.heads.several(HEADS)
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}
    return mm.multimodal(encoders, mm.fusion.Concat(), head.layer)


@pytest.fixture(scope="module")
def trained():
    """A model after one stage, an optimizer with momentum beside it."""
    keras.utils.set_random_seed(1)
    model = tiny.model(modality_dropout=0.2)
    model.compile("adam", HEADS["kind"].loss, run_eagerly=True)  # tracing takes long
    model.fit(*tiny.rows(), batch_size=16, verbose=0)
    return model


def test_the_head_starts_anew_and_alone_moves_after_a_reload_too(trained, tmp_path):
    model, data = trained, tiny.rows()
    before, steps = tiny.values(model), int(model.optimizer.iterations)
    head = part(model, model.get_layer("head"))
    assert balance.second_stage(model) is model
    assert changed(before, model) == head
    assert steps == 3 and int(model.optimizer.iterations) == 0
    assert tiny.moved(model, data) == head
    # all else is at rest: dropout and batch norm take no part in training
    parts = mm.model.encoders(model).items()
    for name, encoder in parts:
        x = data[0][name]
        np.testing.assert_array_equal(encoder(x, training=True), encoder(x))
    model.save(tmp_path / "model.keras")
    again = mm.load_model(tmp_path / "model.keras")
    # the file's optimizer knows one head and no more, and has its momentum
    assert int(again.optimizer.iterations) == 3
    assert {x.split(":")[1] for x in tiny.moved(again, data)} == {
        "head/kernel",
        "head/bias",
    }


def test_fusion_and_head_and_then_everything(trained):
    model = trained
    before = tiny.values(model)
    both = part(model, model.get_layer("head")) | part(model, fusion(model))
    balance.second_stage(model, ("fusion", "head"))
    kernels = {x for x in both if "bias" not in x}
    assert kernels <= changed(before, model) <= both
    assert {w.path for w in model.trainable_weights} == {x.split(":")[1] for x in both}
    balance.second_stage(model)
    balance.second_stage(model, ("fusion", "head"), fresh=False)
    transfer.unfreeze(model)
    statistics = 2 * 4  # of two batch norms in each encoder
    assert len(model.trainable_weights) == len(before) - statistics


def test_fresh_weights_follow_their_initialiser_and_the_seed():
    model = tiny.model()
    wide = mm.multimodal(
        {"left": tiny.encoder(6, 300)},
        mm.fusion.Concat(),
        keras.Sequential(
            [
                keras.layers.Dense(200, kernel_initializer="he_normal"),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(2, bias_initializer="ones"),
            ],
            name="head",
        ),
    )
    head = wide.get_layer("head")
    for w in head.weights:
        w.assign(keras.ops.full(w.shape, 7.0))
    balance.second_stage(wide, seed=4)
    first = head.get_weights()
    kernel, bias = first[:2]
    np.testing.assert_allclose(kernel.std(), (2 / 300) ** 0.5, rtol=0.02)
    assert abs(kernel.mean()) < 4 * kernel.std() / kernel.size**0.5
    np.testing.assert_array_equal(bias, 0)
    # gamma, beta, mean and variance of batch normalisation, then the last bias
    for value, wanted in zip(first[2:6], (1, 0, 0, 1), strict=True):
        np.testing.assert_array_equal(value, wanted)
    np.testing.assert_array_equal(first[7], 1)
    balance.second_stage(wide, seed=4)
    for old, new in zip(first, head.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    balance.second_stage(wide, seed=5)
    assert np.abs(head.get_weights()[0] - kernel).max() > 0
    # Keras' own seed decides where none is given
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(2)
        balance.second_stage(model)
        found.append(model.get_layer("head").get_weights()[0])
    np.testing.assert_array_equal(*found)


def test_a_seed_leaves_the_seeds_of_others_alone():
    import random

    model = linear.model()
    random.seed(3)
    wanted = random.random()
    random.seed(3)
    balance.second_stage(model, seed=1)
    assert random.random() == wanted


def test_weights_go_on_with_their_momentum_where_not_fresh():
    model = linear.model()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), HEADS["kind"].loss)
    inputs, labels = linear.rows()
    model.train_on_batch(inputs, labels)
    before = tiny.values(model)
    slots = {v.path: v.numpy() for v in model.optimizer.variables if "head" in v.path}
    balance.second_stage(model, fresh=False)
    assert not changed(before, model)
    assert int(model.optimizer.iterations) == 1
    after = {v.path: v.numpy() for v in model.optimizer.variables if "head" in v.path}
    (old,), (new,) = slots.values(), after.values()
    np.testing.assert_array_equal(old, new)
    assert [w.path for w in model.trainable_weights] == ["head/kernel"]


class SecondStage(keras.callbacks.Callback):
    """Begins the second stage after the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            balance.second_stage(self.model)
            self.before = tiny.values(self.model)


def test_a_second_stage_begins_within_fit_at_step_0_of_a_schedule(tmp_path):
    model, begins = tiny.model(), SecondStage()
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(keras.optimizers.AdamW(rate), HEADS["kind"].loss, run_eagerly=True)
    # three steps an epoch
    model.fit(*tiny.rows(), 16, 2, verbose=0, callbacks=[begins])
    assert changed(begins.before, model) == part(model, model.get_layer("head"))
    assert int(model.optimizer.iterations) == 3
    balance.second_stage(model)
    model.save(tmp_path / "model.keras")  # before its first step: nothing is missing
    again = mm.load_model(tmp_path / "model.keras")
    assert int(again.optimizer.iterations) == 0
    assert len(again.optimizer.variables) == len(model.optimizer.variables) == 5


def test_one_of_several_heads():
    model = several()
    before = tiny.values(model)
    price = model.get_layer("price_head")
    balance.second_stage(model, "price")
    assert changed(before, model) == {
        x for x in part(model, price) if x.endswith("kernel")
    }
    assert {id(w) for w in model.trainable_weights} == {id(w) for w in price.weights}
    balance.second_stage(model)
    assert len(model.trainable_weights) == 4


def test_what_a_head_was_adapted_to_stays():
    norm = keras.layers.Normalization(mean=None)
    head = keras.Sequential([norm, keras.layers.Dense(2)], name="head")
    model = mm.multimodal({"left": tiny.encoder()}, mm.fusion.Concat(), head)
    norm.adapt(np.arange(10, dtype="float32").reshape(2, 5))
    before, kernel = norm.mean.numpy(), head.layers[1].kernel.numpy()
    balance.second_stage(model)
    np.testing.assert_array_equal(norm.mean.numpy(), before)
    np.testing.assert_array_equal(norm.mean.numpy()[0], np.arange(5) + 2.5)
    assert np.abs(head.layers[1].kernel.numpy() - kernel).max() > 0


def test_modalities_alone_then_the_fusion_on_rows_that_have_both():
    encoders = mm.model.encoders(linear.model())
    model = mm.multimodal(encoders, mm.fusion.GatedFusion(4), HEADS["kind"].layer)
    inputs, labels = linear.rows()
    before = tiny.values(model)
    alone = balance.supervised(model)
    alone.compile("sgd", **balance.losses(alone, HEADS["kind"]), run_eagerly=True)
    alone.train_on_batch(*balance.with_targets((inputs, labels), alone))
    assert changed(before, model) == set(before)
    balance.second_stage(model, ("fusion", "head"))
    model.compile("sgd", HEADS["kind"].loss, run_eagerly=True)
    both = slice(2, None)  # the first two rows lack one
    before = tiny.values(model)
    model.train_on_batch({k: x[both] for k, x in inputs.items()}, labels[both])
    own = part(model, fusion(model)) | part(model, model.get_layer("head"))
    assert changed(before, model) == own


def tail(count, seed):
    """19 rows of class 0 for each of class 1: x = -1 or 1, and noise of deviation 1."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 20 == 0).astype("int32")
    inputs, _ = linear.rows(count)
    for i, name in enumerate(linear.NAMES):
        x = rng.normal(size=(count, linear.WIDTHS[name]))
        x[:, 0] += (2 * labels - 1) * (i == 0)
        inputs[name], inputs[f"{name}_present"] = x, np.ones(count)
    return {k: x.astype("float32") for k, x in inputs.items()}, labels


def test_a_second_stage_is_a_balanced_logistic_regression_on_the_frozen_features():
    """And has the balanced accuracy that two normal distributions allow."""
    import tensorflow as tf
    from scipy.stats import norm
    from sklearn.linear_model import LogisticRegression

    keras.utils.set_random_seed(0)
    model = transfer.freeze(linear.model(2))
    own, _ = linear.weights(model)
    for name, encoder in mm.model.encoders(model).items():
        # the first two columns of x: the feature that tells the classes is kept
        encoder.set_weights([np.eye(linear.WIDTHS[name])[:, :2]])
    inputs, labels = tail(4000, 0)
    trunk = transfer.trunk(model)
    x = {k: v[:, :2] if v.ndim == 2 else v for k, v in inputs.items()}
    weight = len(labels) / (2 * np.bincount(labels))[labels]
    features = np.concatenate([x[n] for n in linear.NAMES], axis=1)
    scores = []
    for own_weight in (np.ones(len(labels)), weight):
        balance.second_stage(trunk, seed=1)
        trunk.compile(
            keras.optimizers.SGD(1.0, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=150,
        )
        batch = (x, labels, own_weight.astype("float32"))
        data = tf.data.Dataset.from_tensors(batch).repeat(150)
        trunk.fit(data, shuffle=False, verbose=0)
        wanted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8)
        wanted.fit(features, labels, own_weight)
        kernel = model.get_layer("head").get_weights()[0]
        np.testing.assert_allclose(
            kernel[:, 1] - kernel[:, 0], wanted.coef_[0], atol=2e-3
        )
        right = model(inputs).numpy().argmax(axis=1) == labels
        scores.append((right[labels == 0].mean() + right[labels == 1].mean()) / 2)
    assert scores[1] > scores[0]
    np.testing.assert_allclose(scores[1], norm.cdf(1), atol=0.03)


def test_class_vectors_of_one_length():
    model = tiny.model()
    head = model.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + 1])
    balance.normalize_head(model, tau=0.5)
    found, zero = head.get_weights()
    lengths = np.linalg.norm(kernel.astype("float64"), axis=0)
    np.testing.assert_allclose(found, kernel / np.sqrt(lengths), rtol=1e-6)
    np.testing.assert_array_equal(zero, 0)
    balance.normalize_head(model)
    np.testing.assert_allclose(
        head.get_weights()[0], kernel / lengths, rtol=1e-5, atol=1e-7
    )
    head.set_weights([kernel * [1, 0, 1], bias])  # nothing divides by 0
    balance.normalize_head(model)
    np.testing.assert_array_equal(head.get_weights()[0][:, 1], 0)


def test_refuses():
    model = several()
    names = r"\['fusion', 'head', 'kind', 'price'\]"
    for parts in ("hed", ("head", "left"), ()):
        with pytest.raises(ValueError, match=rf"`parts` wants one or more of {names}"):
            balance.second_stage(model, parts)
    with pytest.raises(ValueError, match=r"has weights.*Valid names: \['head', 'kind'"):
        balance.second_stage(model, "fusion")
    with pytest.raises(ValueError, match="give the one it was made from"):
        balance.second_stage(balance.uncertainty(model))
    with pytest.raises(ValueError, match="dense head of one class a row"):
        balance.normalize_head(model, part="price")
    with pytest.raises(ValueError, match=r"`tau` wants a float in \[0, 1\]"):
        balance.normalize_head(model, 2)
