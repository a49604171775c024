"""Models trained apart, joined: against numpy, SciPy and scikit-learn."""

import keras
import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

import mmkeras as mm
from tests import tiny

CLASSES = ["cat", "dog", "fox"]


def expert(name, encoder, classes=CLASSES):
    head = mm.heads.classification(classes).layer
    return mm.multimodal({name: encoder}, mm.fusion.Add(6), head)


@pytest.fixture(scope="module")
def experts():
    return {
        "photo": expert("photo", tiny.encoder(6, 5, "a")),
        "title": expert("title", tiny.encoder(4, 3, "b")),
    }


@pytest.fixture(scope="module")
def batch(experts):
    made = np.random.default_rng(0)
    found = {}
    for name, width in {"photo": 6, "title": 4}.items():
        found[name] = made.normal(size=(4, width)).astype("float32")
        found[f"{name}_present"] = np.ones(4, "float32")
    return found


def alone(experts, batch):
    return {
        name: model.predict(
            {key: batch[key] for key in (name, f"{name}_present")}, verbose=0
        )
        for name, model in experts.items()
    }


def test_joined_experts_answer_as_their_product(experts, batch, tmp_path):
    late = mm.fusion.LateProduct(3, dense=False)
    model = mm.late.join(experts, late)
    logits = alone(experts, batch)
    found = special.softmax(model.predict(batch, verbose=0), -1)
    wanted = special.softmax(sum(logits.values()), -1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)

    missing = {**batch, "title_present": np.zeros(4, "float32")}
    found = special.softmax(model.predict(missing, verbose=0), -1)
    np.testing.assert_allclose(found, special.softmax(logits["photo"], -1), atol=1e-5)

    model.save(tmp_path / "late.keras")
    again = mm.load_model(str(tmp_path / "late.keras"))
    np.testing.assert_array_equal(
        again.predict(batch, verbose=0), model.predict(batch, verbose=0)
    )
    assert mm.heads.output_contract(again).classes == CLASSES
    assert sorted(mm.model.encoders(again)) == ["photo", "title"]


def test_experts_keep_their_temperature(experts, batch):
    logits = alone(experts, batch)
    head = mm.heads.output_contract(experts["photo"])
    head.temperature = 2.5
    try:
        model = mm.late.join(experts, mm.fusion.LateProduct(3, dense=False))
    finally:
        head.temperature = 1.0
    found = special.softmax(model.predict(batch, verbose=0), -1)
    wanted = special.softmax(logits["photo"] / 2.5 + logits["title"], -1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_joined_model_is_trained_and_trains_its_experts(experts):
    model = mm.late.join(experts, mm.fusion.LateAverage(3, dense=False))
    shared = {id(x) for x in model.trainable_weights}
    for x in experts.values():
        assert {id(w) for w in x.trainable_weights} <= shared


def test_experts_that_do_not_fit(experts):
    late = mm.fusion.LateProduct(3, dense=False)
    with pytest.raises(ValueError, match="'title' wants this modality alone.*photo"):
        mm.late.join({"title": experts["photo"]}, late)
    other = expert("title", tiny.encoder(4, 3, "b"), ["dog", "cat", "fox"])
    with pytest.raises(ValueError, match="same classes in the same order"):
        mm.late.join({**experts, "title": other}, late)
    with pytest.raises(TypeError, match="dense=False"):
        mm.late.join(experts, mm.fusion.LateProduct(3))
    with pytest.raises(TypeError, match="dense=False"):
        mm.late.join(experts, mm.fusion.Concat())


def predictions(rows=400, missing=0.0, seed=1):
    """Experts of different strength: the truth's logit raised by it, and noise."""
    made = np.random.default_rng(seed)
    labels = made.integers(0, 3, rows)
    found = {}
    for name, strength in {"photo": 2.0, "title": 1.0, "clip": 0.0}.items():
        logits = made.normal(0, 1, (rows, 3))
        logits[np.arange(rows), labels] += strength * made.uniform(0, 2, rows)
        found[name] = special.softmax(2 * logits, -1)
        found[name][made.uniform(size=rows) < missing] = np.nan
    return found, labels


def negative_likelihood(weights, stacked, labels):
    there = ~np.isnan(stacked).any(-1)
    likelihood = np.nan_to_num(stacked[:, np.arange(len(labels)), labels])
    total = (weights[:, None] * there).sum(0)
    mean = (weights[:, None] * likelihood).sum(0)[total > 0] / total[total > 0]
    return -np.log(mean).sum()


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_searched_weights_are_the_most_likely(missing):
    found, labels = predictions(missing=missing)
    weights = mm.late.search_weights(found, labels, steps=3000)
    names = list(found)
    stacked = np.stack([found[x] for x in names])
    best = optimize.minimize(
        lambda a: negative_likelihood(special.softmax(a), stacked, labels),
        np.zeros(3),
        method="Nelder-Mead",
        options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000},
    )
    ours = np.array([weights[x] for x in names])
    assert negative_likelihood(ours, stacked, labels) <= best.fun + 1e-3
    np.testing.assert_allclose(ours, special.softmax(best.x), atol=0.01)
    assert ours.sum() == pytest.approx(1)


def test_selection_takes_what_helps_and_leaves_what_harms():
    found, labels = predictions()
    shares = mm.late.select(found, labels)
    assert sum(shares.values()) == pytest.approx(1)
    stacked = np.stack([found[x] for x in shares])
    mixed = np.einsum("m,mrc->rc", list(shares.values()), stacked)
    accuracy = (mixed.argmax(1) == labels).mean()
    single = {x: (found[x].argmax(1) == labels).mean() for x in found}
    assert accuracy >= max(single.values())
    assert shares["clip"] < shares["photo"]


def test_selection_by_hand():
    # b alone is right on rows 0 and 1, a on 0 and 2; together they are right on all
    found = {
        "a": np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8]]),
        "b": np.array([[0.8, 0.2], [0.9, 0.1], [0.6, 0.4]]),
    }
    assert mm.late.select(found, np.array([0, 0, 1]), rounds=2) == {"a": 0.5, "b": 0.5}


def test_selection_with_a_metric_of_ones_own():
    found, labels = predictions()
    asked = []

    def metric(labels, probabilities):
        asked.append(probabilities.shape)
        return -np.abs(probabilities[:, 0].mean() - found["clip"][:, 0].mean())

    assert mm.late.select(found, labels, metric, rounds=1) == {
        "clip": 1.0,
        "photo": 0.0,
        "title": 0.0,
    }
    assert asked == [(400, 3)] * 3


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_stacking_is_scikit_learns(missing):
    found, labels = predictions(missing=missing)
    layer = mm.late.stack(found, labels)
    names = sorted(found)
    columns = [np.nan_to_num(np.log(found[x])) for x in names]
    there = np.stack([~np.isnan(found[x][:, 0]) for x in names], 1)
    x = np.concatenate([*columns, there], 1)
    wanted = LogisticRegression(max_iter=1000).fit(x, labels).predict_proba(x)
    logits = {k: np.nan_to_num(np.log(v)).astype("float32") for k, v in found.items()}
    presence = {k: there[:, i].astype("float32") for i, k in enumerate(names)}
    given = special.softmax(keras.ops.convert_to_numpy(layer(logits, presence)), -1)
    some = there.any(1)
    np.testing.assert_allclose(given[some], wanted[some], atol=1e-5)
    assert not layer.trainable_weights


def test_stacking_of_two_classes():
    found, labels = predictions()
    two = {k: v[:, :2] / v[:, :2].sum(1, keepdims=True) for k, v in found.items()}
    layer = mm.late.stack(two, np.minimum(labels, 1))
    x = np.concatenate([np.log(two[k]) for k in sorted(two)] + [np.ones((400, 3))], 1)
    fitted = LogisticRegression(max_iter=1000).fit(x, np.minimum(labels, 1))
    logits = {k: np.log(v).astype("float32") for k, v in two.items()}
    given = special.softmax(keras.ops.convert_to_numpy(layer(logits)), -1)
    np.testing.assert_allclose(given, fitted.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p, y: ({}, y), "at least one modality"),
        (lambda p, y: ({**p, "clip": p["clip"][:5]}, y), "'clip'.*as many rows"),
        (lambda p, y: ({**p, "clip": p["clip"] * 9 - 4}, y), "'clip'.*logits"),
        (lambda p, y: (p, y + 0.5), "wants integers"),
    ],
)
def test_predictions_that_do_not_fit(change, message):
    found, labels = change(*predictions())
    with pytest.raises(ValueError, match=message):
        mm.late.search_weights(found, labels)


def test_stacking_wants_every_class():
    found, labels = predictions()
    with pytest.raises(ValueError, match=r"Lacking: \[2\]"):
        mm.late.stack(found, np.minimum(labels, 1))
