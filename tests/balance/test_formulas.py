"""The papers' formulas, in numpy float64 and by hand."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from mmkeras import balance
from mmkeras.balance.adaptive import shapley
from mmkeras.balance.on_the_fly import modulate
from mmkeras.balance.parts import log_likelihood


def test_blending_weights_by_hand():
    train = {"fused": 1.0, "photo": 1.2, "title": 1.1}
    after = {"fused": 0.3, "photo": 0.9, "title": 0.2}
    val = {"fused": 1.1, "photo": 1.2, "title": 1.2}
    held = {"fused": 0.7, "photo": 1.0, "title": 1.1}
    # G = 0.4, 0.2, 0.1; O = 0.4 - 0.1, 0.1 - 0, 0.9 - 0.1
    ratios = np.array([0.4 / 0.3**2, 0.2 / 0.1**2, 0.1 / 0.8**2])
    found = balance.blending_weights(train, after, val, held)
    np.testing.assert_allclose(list(found.values()), ratios / ratios.sum())
    assert list(found) == ["fused", "photo", "title"]


def test_blending_clamps_what_did_not_generalise_and_what_did_not_overfit():
    train, after = dict.fromkeys("abc", 1.0), {"a": 0.5, "b": 0.5, "c": 0.6}
    val, held = dict.fromkeys("abc", 1.0), {"a": 1.5, "b": 0.5, "c": 0.602}
    found = balance.blending_weights(train, after, val, held)
    # a got worse: 0. b's gap did not grow: 0.001 counts.
    b, c = 0.5 / 0.001**2, 0.398 / 0.002**2
    np.testing.assert_allclose(list(found.values()), [0, b / (b + c), c / (b + c)])


def test_blending_refuses():
    one = {"photo": 1.0}
    with pytest.raises(ValueError, match="same names"):
        balance.blending_weights(one, {"title": 1.0}, one, one)
    with pytest.raises(ValueError, match="No output's validation loss fell"):
        balance.blending_weights(one, {"photo": 0.5}, one, {"photo": 1.5})


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_ogm_scales(count, alpha):
    scores = np.random.default_rng(count).uniform(0.1, 0.9, count)
    found = balance.ogm_scales(scores.astype("float32"), np.ones(count, "f"), alpha)
    for m in range(count):
        ratio = scores[m] / np.delete(scores, m).mean()
        wanted = 1 - np.tanh(alpha * ratio) if ratio > 1 else 1.0
        np.testing.assert_allclose(found[m], wanted, rtol=1e-5)


def test_ogm_scales_leave_out_a_modality_that_no_row_has():
    scores, there = np.array([0.6, 0.0, 0.3], "f"), np.array([1, 0, 1], "f")
    found = balance.ogm_scales(scores, there, 0.5)
    np.testing.assert_allclose(found, [1 - np.tanh(0.5 * 2), 1, 1], rtol=1e-6)
    alone = balance.ogm_scales(scores, np.array([1, 0, 0], "f"), 0.5)
    np.testing.assert_array_equal(alone, [1, 1, 1])


@pytest.mark.parametrize("count", [2, 3])
def test_agm_scales(count):
    rng = np.random.default_rng(count)
    scores, reference = rng.uniform(-2, -0.1, (2, count))
    there = np.ones(count, "float32")
    found = balance.agm_scales(
        scores.astype("float32"), reference.astype("float32"), there, 0.7
    )
    for m in range(count):
        ratio, usual = (
            np.exp(sum(s[m] - s[n] for n in range(count) if n != m) / (count - 1))
            for s in (scores, reference)
        )
        np.testing.assert_allclose(found[m], np.exp(-0.7 * (ratio - usual)), rtol=1e-5)


def test_agm_scales_leave_out_a_modality_that_no_row_has():
    scores, there = np.array([-1.0, -9.0, -2.0], "f"), np.array([1, 0, 1], "f")
    found = balance.agm_scales(scores, np.zeros(3, "f"), there, 1.0)
    wanted = [np.exp(1 - np.e), 1, np.exp(1 - np.exp(-1))]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_shapley_is_the_mean_marginal_over_all_orders():
    names = ("a", "b", "c")
    subsets, table = shapley(names)
    worth = dict(zip(subsets, np.random.default_rng(0).normal(size=8), strict=True))
    found = table @ [worth[x] for x in subsets]
    for name, value in zip(names, found, strict=True):
        marginals = []
        for order in itertools.permutations(names):
            before = tuple(sorted(order[: order.index(name)]))
            after = tuple(sorted((*before, name)))
            marginals.append(worth[after] - worth[before])
        np.testing.assert_allclose(value, np.mean(marginals) + worth[()] / 3)
    np.testing.assert_allclose(found.sum(), worth[names])


def test_log_likelihood():
    z = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    single = np.array([0, 2, 1, 1])
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    wanted = np.log(softmax[np.arange(4), single])
    for label in (single, single[:, None]):
        found = log_likelihood("single", z, label)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    multi = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    p = 1 / (1 + np.exp(-z))
    wanted = np.log(np.where(multi, p, 1 - p)).mean(axis=1)
    np.testing.assert_allclose(log_likelihood("multi", z, multi), wanted, rtol=1e-5)
    sure = np.array([[0.0, 1e4]], "float32")
    found = log_likelihood("single", sure, np.array([0]))
    np.testing.assert_allclose(found, [np.log(1e-8)])


def gradient(x, upstream, *arguments):
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = modulate(x, *arguments)
    np.testing.assert_array_equal(y, x)  # bit for bit
    return np.asarray(tape.gradient(y, x, output_gradients=tf.constant(upstream)))


def test_modulate_scales_the_gradient_and_nothing_else():
    x, upstream = np.random.default_rng(0).normal(size=(2, 6, 4)).astype("float32")
    keep = np.ones((6, 1), "float32")
    nothing = np.zeros_like(x)
    found = gradient(x, upstream, np.float32(0.25), nothing, keep)
    np.testing.assert_array_equal(found, upstream * np.float32(0.25))
    np.testing.assert_array_equal(
        gradient(x, upstream, np.float32(1), nothing, keep), upstream
    )


def test_modulate_adds_noise_as_strong_as_the_gradient_of_the_rows_there():
    rng = np.random.default_rng(0)
    x, upstream, noise = rng.normal(size=(3, 6, 4)).astype("float32")
    keep = np.array([1, 1, 0, 1, 1, 0], "float32")[:, None]
    upstream = upstream * keep
    found = gradient(x, upstream, np.float32(0.5), noise, keep)
    std = upstream[keep[:, 0] > 0].astype("float64").std()
    wanted = 0.5 * upstream + std * noise * keep
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_modulate_in_float16():
    x = np.ones((4, 2), "float16")
    found = gradient(
        x, x * 3, np.float32(0.5), np.zeros((4, 2), "f"), np.ones((4, 1), "f")
    )
    assert found.dtype == "float16"
    np.testing.assert_array_equal(found, np.full((4, 2), 1.5))
    assert keras.backend.standardize_dtype(ops.convert_to_tensor(x).dtype) == "float16"
