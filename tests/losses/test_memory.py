"""InfoNCE with a memory of negatives, against float64 numpy over several steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from tests import paired

SIZE, TEMPERATURE = 10, 0.3


def batches(steps=5, rows=6):
    """`(features, presence)` of three modalities, NaN where absent."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        x = {name: rng.normal(size=(rows, 4)).astype("float32") for name in "abc"}
        there = {name: (rng.random(rows) > 0.3).astype("float32") for name in "ab"}
        for name, shown in there.items():
            x[name][shown == 0] = np.nan
        yield x, there


class Numpy:
    """Lists of past rows, newest first; one term of the loss at a time."""

    def __init__(self, size):
        self.size = size
        self.past = {name: [] for name in "abc"}

    def step(self, features, presence):
        rows = {}
        for name, x in features.items():
            shown = presence.get(name, np.ones(len(x)))
            x = x.astype("float64")
            rows[name] = [
                row / np.linalg.norm(row) if there else None
                for row, there in zip(x, shown, strict=True)
            ]
        losses = [self.pair(rows, *pair) for pair in ("ab", "ac", "bc")]
        for name, found in rows.items():
            new = [x for x in found if x is not None]
            self.past[name] = (new + self.past[name])[: self.size]
        return np.mean(losses)

    def pair(self, rows, a, b):
        both = [i for i, x in enumerate(rows[a]) if x is not None]
        both = [i for i in both if rows[b][i] is not None]
        terms = []
        for one, other in ((a, b), (b, a)):
            others = [rows[other][i] for i in both] + self.past[other]
            for i in both:
                s = np.exp([rows[one][i] @ x / TEMPERATURE for x in others])
                right = np.exp(rows[one][i] @ rows[other][i] / TEMPERATURE)
                terms.append(-np.log(right / s.sum()))
        return np.mean(terms)


def test_several_steps_as_by_hand():
    layer = mm.losses.InfoNCE(TEMPERATURE, memory=SIZE)
    hand = Numpy(SIZE)
    for features, presence in batches():
        passed = layer(features, presence, training=True)
        np.testing.assert_array_equal(passed["a"], features["a"])
        (loss,) = layer.losses
        wanted = hand.step(features, presence)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    for name, rows in hand.past.items():
        assert len(rows) == SIZE  # several batches fell out
        np.testing.assert_allclose(layer.past.rows[name], rows, atol=1e-6)
        np.testing.assert_array_equal(layer.past.taken[name], np.ones(SIZE))


def test_a_row_that_overflowed_is_not_kept():
    layer = mm.losses.InfoNCE(TEMPERATURE, memory=SIZE)
    features = {name: np.ones((3, 4), "float32") * np.eye(4)[:3] for name in "ab"}
    features["a"][1, 2] = np.inf
    layer(features, training=True)
    assert layer.past.taken["a"].numpy().sum() == 2
    assert layer.past.taken["b"].numpy().sum() == 3
    assert np.isfinite(layer.past.rows["a"]).all()


def test_only_training_remembers():
    remembers = mm.losses.InfoNCE(TEMPERATURE, memory=SIZE)
    plain = mm.losses.InfoNCE(TEMPERATURE)
    first, second = batches(2)
    remembers(*first, training=True)
    before = [np.asarray(x) for x in remembers.weights]
    for layer in (remembers, plain):
        layer(*second)
    np.testing.assert_allclose(remembers.losses, plain.losses, rtol=1e-6)
    for x, kept in zip(remembers.weights, before, strict=True):
        np.testing.assert_array_equal(x, kept)


def test_no_gradient_reaches_the_past():
    """The gradient is that of fixed negatives, by central differences."""
    rng = np.random.default_rng(1)
    a, b, past = rng.normal(size=(3, 5, 4))
    memory = ((past, np.ones(5)), (past[::-1], np.array([1.0, 1, 0, 1, 0])))
    x, y = tf.constant(a), tf.constant(past)
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        given = ((y, memory[0][1]), (y[::-1], memory[1][1]))
        loss = mm.losses.info_nce(x, b, TEMPERATURE, memory=given)
    of_x, of_past = tape.gradient(loss, [x, y])
    assert of_past is None or not np.any(of_past)

    def value(a):
        return float(mm.losses.info_nce(a, b, TEMPERATURE, memory=memory))

    step = np.zeros_like(a)
    step[2, 1] = 1e-6
    wanted = (value(a + step) - value(a - step)) / 2e-6
    np.testing.assert_allclose(of_x[2, 1], wanted, rtol=1e-5)
    # a place that is not taken yet counts for nothing
    changed = past[::-1].copy()
    changed[2] = np.nan
    memory = (memory[0], (changed, memory[1][1]))
    np.testing.assert_allclose(value(a), loss, rtol=1e-12)


@pytest.fixture(scope="module")
def model():
    """Two towers that have trained on two batches."""
    keras.utils.set_random_seed(0)
    loss = mm.losses.InfoNCE(TEMPERATURE, memory=20, name="contrastive")
    made = mm.two_tower(paired.encoders(), 4, loss=loss)
    made.compile("adam")
    rows = paired.rows(32)
    rows["left_present"][3] = 0
    made.fit(rows, batch_size=16, shuffle=False, verbose=0)
    return made


def test_saved_with_what_it_remembers(model, tmp_path):
    past = model.get_layer("contrastive").past
    assert np.sum(past.taken["left"]) == 20
    lengths = np.linalg.norm(past.rows["left"], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    model.save(tmp_path / "model.keras")
    again = mm.load_model(tmp_path / "model.keras")
    assert again.get_layer("contrastive").get_config()["memory"] == 20
    for x, kept in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(x, kept)


def test_no_memory_is_served(model):
    from mmkeras.losses.memory import without_memory

    served = without_memory(model)
    assert len(served) == len(model.weights) - 4
    assert not [x for x in served if "memory" in x.path]


def test_without_memory_nothing_is_new():
    layer = mm.losses.InfoNCE()
    layer.build({"a": (None, 3), "b": (None, 3)})
    assert [x.path.rpartition("/")[2] for x in layer.weights] == ["log_scale"]
    config = mm.losses.SigLIP().get_config()
    assert mm.losses.SigLIP.from_config(config).get_config() == config


@pytest.mark.parametrize("memory", [-1, 0.5, None])
def test_a_memory_of_no_size(memory):
    with pytest.raises(ValueError, match="`memory` wants an integer"):
        mm.losses.InfoNCE(memory=memory)
