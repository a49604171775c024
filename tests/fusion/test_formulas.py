"""Each fusion against its formula, written out again in numpy."""

from itertools import combinations

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
    """Weights by path inside the layer: 'photo_gate/kernel', 'photo_score'."""
    return {w.path.split("/", 1)[1]: w.numpy() for w in layer.weights}


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
    token = {n: weights(layer)[f"missing/{n}_token"] for n in NAMES}
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


def test_gmu(batch):
    layer = shaken(fusion.GMU(4), batch[0])
    w = weights(layer)

    def formula(names, x):
        return sum(
            np.tanh(x[n] @ w[f"{n}_projection/kernel"])
            / (1 + np.exp(-whole(x) @ w[f"{n}_gate/kernel"]))
            for n in names
        )

    by_row(layer, batch, formula)


@pytest.mark.parametrize(
    "kind, combine",
    [(fusion.Mean, np.mean), (fusion.Max, np.max), (fusion.Product, np.prod)],
)
def test_pointwise(batch, kind, combine):
    layer = shaken(kind(4), batch[0])
    w = weights(layer)

    def formula(names, x):
        return combine([dense(w, f"{n}_projection", x[n]) for n in names], axis=0)

    by_row(layer, batch, formula)


def test_film(batch):
    layer = shaken(fusion.FiLM("photo", 4), batch[0])
    w = weights(layer)

    def formula(names, x):
        others = [n for n in names if n != "photo"]
        y = x.get("photo", np.zeros(5)) @ w["photo_projection/kernel"]
        scale = 1 + sum(x[n] @ w[f"{n}_scale/kernel"] for n in others)
        return (
            scale * y + sum(x[n] @ w[f"{n}_shift/kernel"] for n in others) + w["bias"]
        )

    by_row(layer, batch, formula, absent=w["bias"])
    with pytest.raises(ValueError, match=r"'foto'. Valid names: \['clip', 'photo'"):
        fusion.FiLM("foto", 4)(batch[0])


@pytest.mark.parametrize("width", [None, 2])
def test_multiplicative_interactions(batch, width):
    layer = shaken(fusion.MultiplicativeInteractions(4, width=width), batch[0])
    w = weights(layer)

    def formula(names, x):
        if width:
            x = {n: x[n] @ w[f"{n}_projection/kernel"] for n in names}
        y = w["bias"] + sum(x[n] @ w[f"{n}_linear/kernel"] for n in names)
        for a, b in combinations(names, 2):
            tensor = w[f"{a}_{b}_pair/kernel"].reshape(len(x[a]), len(x[b]), 4)
            y = y + np.einsum("i,iju,j->u", x[a], tensor, x[b])
        return y

    by_row(layer, batch, formula, absent=w["bias"])


def outer(vectors):
    product = np.ones(1)
    for x in vectors:
        product = np.outer(product, np.concatenate([[1.0], x])).ravel()
    return product


def test_tensor_fusion(batch):
    layer = shaken(fusion.TensorFusion(4, width=None), batch[0])
    w = weights(layer)

    def formula(names, x):
        tensor = outer([x.get(n, np.zeros(DIMS[n])) for n in NAMES])
        return dense(w, "tensor", tensor)

    by_row(layer, batch, formula, absent=formula([], {}))


def test_tensor_fusion_refuses_a_tensor_too_large():
    x = {n: np.ones((2, 150)) for n in "abc"}
    with pytest.raises(ValueError, match="3,442,951 entries.*`LowRankFusion`"):
        fusion.TensorFusion(4, width=None)(x)


def test_low_rank_is_tensor_fusion_with_the_weights_multiplied_out(batch):
    low = shaken(fusion.LowRankFusion(4, rank=3), batch[0])
    w = weights(low)
    full = fusion.TensorFusion(4, width=None)
    full(batch[0])
    kernel = 0
    for r in range(3):
        factors = []
        for n in NAMES:  # (1 + dim, units), the constant first
            both = np.vstack([w[f"{n}_factor/bias"], w[f"{n}_factor/kernel"]])
            factors.append(both.reshape(-1, 3, 4)[:, r])
        kernel = kernel + np.einsum("iu,ju,ku->ijku", *factors).reshape(-1, 4)
    full.set_weights([kernel, w["bias"]])
    np.testing.assert_allclose(low(*batch), full(*batch), rtol=1e-4, atol=1e-4)


def test_factorized_bilinear(batch):
    layer = shaken(fusion.FactorizedBilinear(4, factors=3), batch[0])
    w = weights(layer)

    def formula(names, x):
        p = np.prod([dense(w, f"{n}_projection", x[n]) for n in names], axis=0)
        z = p.reshape(4, 3).sum(axis=1)
        z = z / np.sqrt(np.abs(z) + 1e-4)
        return z / np.sqrt((z**2).sum() + 1e-6)

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
