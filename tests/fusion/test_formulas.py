"""Each fusion against its formula, written out again in numpy."""

import numpy as np
import pytest

from mmkeras import fusion

DIMS = {"photo": 5, "clip": 3, "title": 4}
NAMES = sorted(DIMS)
ROWS = 6


@pytest.fixture
def batch():
    """Features, and presence: row 0 has all, row 1 none, row 2 just the clip."""
    rng = np.random.default_rng(0)
    features = {
        k: rng.normal(size=(ROWS, d)).astype("float32") for k, d in DIMS.items()
    }
    there = rng.integers(0, 2, (ROWS, 3)).astype("float32")
    there[:3] = [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    return features, {name: there[:, i] for i, name in enumerate(NAMES)}


def shaken(layer, features):
    """`layer`, built, with random weights: formulas show, initial zeros do not."""
    layer(features)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def weights(layer):
    """Weights by the last parts of their paths: 'photo_gate/kernel', 'photo_score'."""
    found = {}
    for w in layer.weights:
        parts = w.path.split("/")
        found["/".join(parts[-2:] if "_" in parts[-2] else parts[-1:])] = w.numpy()
        found[parts[-1]] = w.numpy()
    return found


def dense(w, name, x):
    return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]


def softmax(scores):
    e = np.exp(scores - scores.max(axis=0))
    return e / e.sum(axis=0)


def by_row(layer, batch, formula, absent=0.0):
    """Compares with `formula(names, x)` of the modalities present, row by row."""
    features, presence = batch
    got = layer(features, presence).numpy()
    for i in range(ROWS):
        names = [n for n in NAMES if presence[n][i]]
        x = {n: features[n][i] for n in names}
        wanted = formula(names, x) if names else absent
        np.testing.assert_allclose(got[i], wanted + 0 * got[i], rtol=1e-4, atol=1e-5)


def whole(x):
    """The concatenation, zeros where absent."""
    return np.concatenate([x.get(n, np.zeros(DIMS[n])) for n in NAMES])


def test_concat(batch):
    by_row(fusion.Concat(), batch, lambda names, x: whole(x))


def test_concat_with_learned_tokens(batch):
    layer = shaken(fusion.Concat(missing="token"), batch[0])
    token = {n: weights(layer)[f"{n}_token"] for n in NAMES}
    assert all(t.any() for t in token.values())

    def formula(names, x):
        return np.concatenate([x.get(n, token[n]) for n in NAMES])

    by_row(layer, batch, formula, absent=formula([], {}))


def test_add(batch):
    layer = shaken(fusion.Add(4), batch[0])
    w = weights(layer)
    by_row(
        layer,
        batch,
        lambda names, x: sum(dense(w, f"{n}_projection", x[n]) for n in names),
    )


def test_add_without_units_takes_equal_widths_only(batch):
    x = {"a": np.ones((2, 3)), "b": np.full((2, 3), 2.0)}
    np.testing.assert_array_equal(fusion.Add()(x), np.full((2, 3), 3))
    with pytest.raises(ValueError, match=r"'clip': 3.*Give `units`"):
        fusion.Add()(batch[0])


@pytest.mark.parametrize("per_example", [False, True])
def test_weighted_sum(batch, per_example):
    layer = shaken(fusion.WeightedSum(4, per_example=per_example), batch[0])
    w = weights(layer)

    def formula(names, x):
        p = np.stack([dense(w, f"{n}_projection", x[n]) for n in names])
        scores = np.array([w[f"{n}_score"] for n in names])
        if per_example:
            vectors = np.stack([w[f"{n}_score_vector"] for n in names])
            scores = scores + (p * vectors).sum(axis=1)
        return softmax(scores) @ p

    by_row(layer, batch, formula)


@pytest.mark.parametrize("per_unit", [True, False])
def test_gated(batch, per_unit):
    layer = shaken(fusion.GatedFusion(4, per_unit=per_unit), batch[0])
    w = weights(layer)

    def formula(names, x):
        candidates = [np.tanh(dense(w, f"{n}_projection", x[n])) for n in names]
        scores = np.stack([dense(w, f"{n}_gate", whole(x)) for n in names])
        return (softmax(scores) * np.stack(candidates)).sum(axis=0)

    by_row(layer, batch, formula)


def test_gates_start_as_the_plain_mean_of_what_is_there(batch):
    layer = fusion.GatedFusion(4)
    layer(batch[0])
    w = weights(layer)

    def formula(names, x):
        return np.mean(
            [np.tanh(dense(w, f"{n}_projection", x[n])) for n in names], axis=0
        )

    by_row(layer, batch, formula)


def test_normalised_features_have_mean_0_and_variance_1(batch):
    out = fusion.Concat(normalize="layer")(batch[0]).numpy()
    start = 0
    for name in NAMES:
        x = batch[0][name]
        wanted = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        got = out[:, start : start + DIMS[name]]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        start += DIMS[name]


def test_dropout_drops_in_training_only_and_rests_while_frozen():
    x = {"a": np.ones((200, 10), "float32")}
    layer = fusion.Concat(dropout=0.5)
    np.testing.assert_array_equal(layer(x), x["a"])
    trained = layer(x, training=True).numpy()
    assert set(np.unique(trained)) == {0.0, 2.0}
    assert abs((trained == 0).mean() - 0.5) < 0.05
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), x["a"])
