"""Late fusions against numpy's probabilities, and through the laws."""

import keras
import numpy as np
import pytest
from scipy import special

from mmkeras import fusion, testing

UNITS = 4
LATE = {
    "average": fusion.LateAverage(UNITS),
    "average multi": fusion.LateAverage(UNITS, kind="multi"),
    "average number": fusion.LateAverage(UNITS, kind="number"),
    "weighted": fusion.LateWeighted(UNITS),
    "product": fusion.LateProduct(UNITS),
    "product mean": fusion.LateProduct(UNITS, kind="multi", mean=True),
    "mlp": fusion.LateMLP(UNITS, hidden=(8,)),
}


@pytest.mark.parametrize("name", LATE)
def test_keeps_the_laws(name):
    testing.check_fusion(LATE[name], (1, 3), export=False, fresh_process=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LATE)
def test_keeps_the_laws_with_more_modalities_and_exported(name):
    testing.check_fusion(LATE[name], (2, 5), fresh_process=False)


ROWS = 6


@pytest.fixture
def answers():
    made = np.random.default_rng(0)
    return {x: made.normal(0, 3, (ROWS, UNITS)) for x in ("a", "b", "c")}


@pytest.fixture
def presence():
    made = np.ones((ROWS, 3))
    made[0, 1] = made[1, [0, 2]] = made[2, :] = 0
    return made


def call(layer, answers, presence):
    there = {name: presence[:, i] for i, name in enumerate(answers)}
    tensors = {name: x.astype("float32") for name, x in answers.items()}
    return keras.ops.convert_to_numpy(layer(tensors, there)).astype("float64")


def over_present(values, presence, weights=(1, 1, 1)):
    """Weighted mean over what is there, row by row."""
    found = []
    for row in range(ROWS):
        w = np.array(weights) * presence[row]
        found.append((values[:, row] * w[:, None]).sum(0) / max(w.sum(), 1e-9))
    return np.array(found)


@pytest.mark.parametrize(
    "kind, probability",
    [("single", lambda z: special.softmax(z, -1)), ("multi", special.expit)],
)
def test_average_is_the_mean_of_the_probabilities(answers, presence, kind, probability):
    layer = fusion.LateAverage(UNITS, kind, dense=False)
    found = probability(call(layer, answers, presence))
    stacked = np.stack([probability(x) for x in answers.values()])
    some = presence.any(1)
    wanted = over_present(stacked, presence)
    np.testing.assert_allclose(found[some], wanted[some], atol=1e-6)
    np.testing.assert_allclose(found[~some], probability(np.zeros((1, UNITS))))


def test_average_of_numbers(answers, presence):
    layer = fusion.LateAverage(UNITS, "number", dense=False)
    wanted = over_present(np.stack(list(answers.values())), presence)
    np.testing.assert_allclose(call(layer, answers, presence), wanted, atol=1e-5)


def test_a_probability_below_float32_stays_finite():
    layer = fusion.LateAverage(2, dense=False)
    sure = {"a": np.array([[200.0, -200.0]]), "b": np.array([[200.0, -200.0]])}
    found = call(layer, sure, np.ones((1, 2)))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0, 0] - found[0, 1], 400, rtol=1e-5)


def test_weighted_is_the_mean_with_the_weights_given(answers, presence):
    layer = fusion.LateWeighted(UNITS, dense=False)
    call(layer, answers, presence)
    layer.set_modality_weights({"a": 3, "b": 1, "c": 0})
    found = special.softmax(call(layer, answers, presence), -1)
    stacked = np.stack([special.softmax(x, -1) for x in answers.values()])
    # weight 0 still answers where it is alone; no row is like that here
    wanted = over_present(stacked, presence, (3, 1, 0))
    some = presence.any(1)
    np.testing.assert_allclose(found[some], wanted[some], atol=1e-6)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"a": 1, "b": 1}, "one for each of"),
        ({"a": 1, "b": 1, "c": -1}, "numbers from 0"),
        ({"a": 0, "b": 0, "c": 0}, "at least one above"),
    ],
)
def test_wrong_weights(answers, presence, weights, message):
    layer = fusion.LateWeighted(UNITS, dense=False)
    call(layer, answers, presence)
    with pytest.raises(ValueError, match=message):
        layer.set_modality_weights(weights)


def test_product_multiplies_probabilities(answers, presence):
    layer = fusion.LateProduct(UNITS, dense=False)
    found = special.softmax(call(layer, answers, presence), -1)
    for row in range(ROWS):
        wanted = np.ones(UNITS)
        for i, x in enumerate(answers.values()):
            if presence[row, i]:
                wanted = wanted * special.softmax(x[row])
        np.testing.assert_allclose(found[row], wanted / wanted.sum(), atol=1e-6)


def test_geometric_mean_of_equal_answers_is_that_answer(answers):
    same = {name: answers["a"] for name in answers}
    layer = fusion.LateProduct(UNITS, dense=False, mean=True)
    found = special.softmax(call(layer, same, np.ones((ROWS, 3))), -1)
    np.testing.assert_allclose(found, special.softmax(answers["a"], -1), atol=1e-6)


def test_mlp_without_hidden_layers_is_linear(answers, presence):
    layer = fusion.LateMLP(UNITS, dense=False, hidden=())
    call(layer, answers, presence)
    kernel, bias = layer.get_weights()
    logs = [special.log_softmax(x, -1) for x in answers.values()]
    logs = [x * presence[:, [i]] for i, x in enumerate(logs)]
    wanted = np.concatenate([*logs, presence], axis=1) @ kernel + bias
    wanted[~presence.any(1)] = 0
    np.testing.assert_allclose(call(layer, answers, presence), wanted, atol=1e-5)


def test_experts_are_each_modalitys_own_logits():
    layer = fusion.LateAverage(3)
    features = {"a": np.ones((2, 5), "float32"), "b": np.ones((2, 7), "float32")}
    layer(features)
    found = layer.experts(features, {"a": np.array([1.0, 0.0])})
    kernel, bias = layer.own_heads["a"].get_weights()
    np.testing.assert_allclose(found["a"][0], kernel.sum(0) + bias, atol=1e-5)
    np.testing.assert_allclose(found["a"][1], bias)
    assert found["b"].shape == (2, 3)


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="`kind` wants one of"):
        fusion.LateAverage(3, kind="softmax")
    with pytest.raises(ValueError, match="takes logits as they are"):
        fusion.LateAverage(3, dense=False, normalize="layer")
    with pytest.raises(ValueError, match="wants logits of width units=3"):
        fusion.LateAverage(3, dense=False)({"a": np.ones((1, 2))})
