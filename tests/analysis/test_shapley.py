"""What modalities add, against the definition over orders and worked cases."""

import itertools

import keras
import numpy as np
import pytest

import mmkeras
from mmkeras.analysis import ModalityReport, modality_report, shapley
from mmkeras.analysis.subsets import subsets
from tests.analysis import standins

NAMES = ("clip", "facts", "photo", "title")


def table_of(names, seed=0, shape=()):
    rng = np.random.default_rng(seed)
    return {x: rng.normal(size=shape) for x in subsets(names)}


def over_orders(table, names):
    """The definition: the mean over all orders of what each adds when it comes."""
    orders = list(itertools.permutations(names))
    found = dict.fromkeys(names, 0.0)
    for order in orders:
        for i, name in enumerate(order):
            after, before = (
                tuple(x for x in names if x in order[:j]) for j in (i + 1, i)
            )
            found[name] = found[name] + (table[after] - table[before]) / len(orders)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_values_equal_the_mean_over_orders(count):
    names = NAMES[:count]
    table = table_of(names, shape=(5,))
    found = shapley.values(table)
    for name, expected in over_orders(table, names).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-12)
    gain = table[names] - table[()]
    np.testing.assert_allclose(sum(found.values()), gain, atol=1e-12)


def test_a_dummy_has_nothing_and_twins_the_same():
    base = table_of(("clip", "photo"))
    table = {x: base[tuple(y for y in x if y != "facts")] for x in subsets(NAMES[:3])}
    for part in (shapley.values, shapley.unique, shapley.solo):
        assert part(table)["facts"] == pytest.approx(0, abs=1e-15)
    sizes = np.random.default_rng(1).normal(size=5)
    table = {x: sizes[len(x)] for x in subsets(NAMES)}
    values = list(shapley.values(table).values())
    assert values == pytest.approx([(sizes[4] - sizes[0]) / 4] * 4)


def test_unique_and_solo():
    table = {(): 1.0, ("a",): 4.0, ("b",): 2.0, ("a", "b"): 9.0}
    assert shapley.unique(table) == {"a": 7.0, "b": 5.0}
    assert shapley.solo(table) == {"a": 3.0, "b": 1.0}


def test_pairs_equal_the_two_taken_as_one():
    """I_ab is phi of a and b as one player, less phi of each in the other's absence."""
    table = table_of(NAMES)
    for (a, b), found in shapley.pairs(table).items():
        rest = tuple(x for x in NAMES if x not in (a, b))
        merged = {}
        for x in subsets((*rest, "ab")):
            inside = set(x) - {"ab"} | ({a, b} if "ab" in x else set())
            merged[x] = table[tuple(y for y in NAMES if y in inside)]
        expected = shapley.values(merged)["ab"]
        for one, gone in ((a, b), (b, a)):
            less = {x: y for x, y in table.items() if gone not in x}
            expected -= shapley.values(less)[one]
        assert found == pytest.approx(expected)


def test_a_table_that_lacks_a_subset():
    table = table_of(NAMES[:2])
    del table["clip",]
    with pytest.raises(ValueError, match=r"Received: none for \[\('clip',\)\]"):
        shapley.values(table)


def report_of(table, metrics):
    rows = {x: dict.fromkeys(metrics, y) for x, y in table.items()}
    names = max(table, key=len)
    return ModalityReport(names, "number", ("y",), metrics, rows, 9, {})


def test_lower_is_better_counts_upwards():
    table = {(): 4.0, ("a",): 3.0, ("b",): 4.0, ("a", "b"): 1.0}
    report = report_of(table, ("mae", "own"))
    assert report.shapley() == {"a": 2.0, "b": 1.0}
    assert report.shapley("own") == {"a": -2.0, "b": -1.0}
    parts = report.parts()
    assert list(parts.columns) == ["shapley", "unique", "solo"]
    assert list(parts.loc["b"]) == [1.0, 2.0, 0.0]
    assert report.pairs().loc["a + b", "together"] == 2.0
    with pytest.raises(ValueError, match="Received: metric='rmse'"):
        report.shapley("rmse")


@pytest.fixture(scope="module")
def model():
    return standins.vector_model(mmkeras.heads.classification(list("abcd")).layer)


def test_per_class_equals_each_class_scored_alone(model):
    inputs = standins.inputs_of(model)
    labels = np.random.default_rng(1).integers(0, 4, 70)

    def recall_of(i):
        def recall(truth, outputs):
            return (outputs.argmax(1) == truth)[truth == i].mean()

        recall.__name__ = f"recall{i}"
        return recall

    metrics = [recall_of(i) for i in range(4)]
    report = modality_report(model, (inputs, labels), metric=metrics)
    found = report.shapley_per_class()
    assert list(found.index) == list("abcd")
    assert list(found["rows"]) == list(np.bincount(labels))
    for i, name in enumerate("abcd"):
        for modality, expected in report.shapley(f"recall{i}").items():
            assert found.loc[name, modality] == pytest.approx(expected)
        assert found.loc[name, "none"] == report.score([], f"recall{i}")
        assert found.loc[name, "all"] == report.score(metric=f"recall{i}")
    f1 = report.shapley_per_class("f1")
    np.testing.assert_allclose(f1["all"], report.per_class()["f1"])
    with pytest.raises(ValueError, match="'f1'. Received: 'auc'"):
        report.shapley_per_class("auc")


def test_per_class_of_several_labels_a_row():
    from sklearn import metrics as sk

    model = standins.vector_model(mmkeras.heads.multilabel(["red", "old"]).layer)
    inputs = standins.inputs_of(model)
    labels = (np.random.default_rng(1).random((70, 2)) < 0.4).astype("float32")
    report = modality_report(model, (inputs, labels))
    guess = model.predict_on_batch(inputs) > 0
    expected = sk.f1_score(labels, guess, average=None, zero_division=0)
    found = report.shapley_per_class("f1")
    np.testing.assert_allclose(found["all"], expected)
    np.testing.assert_allclose(
        found[list(report.modalities)].sum(axis=1), found["all"] - found["none"]
    )


def test_a_modality_that_the_model_ignores_adds_nothing():
    model = standins.vector_model(keras.layers.Dense(3), mmkeras.fusion.Concat())
    inputs = standins.inputs_of(model)
    dense = model.layers[-1]
    kernel = dense.kernel.numpy()
    kernel[:6] = 0  # Concat goes by name: clip comes first
    dense.kernel.assign(kernel)
    labels = np.arange(70) % 3
    report = modality_report(model, (inputs, labels), bootstrap=50)
    for metric in report.metrics:
        for value in report.parts(metric).loc["clip"]:
            assert abs(value) < 1e-12  # and so are both ends of every interval
    assert report.parts().loc["photo", "shapley"] != 0
    with pytest.raises(ValueError, match="wants classes.* Received: kind='number'"):
        report_of({(): 0.0, ("a",): 1.0}, ("mae",)).shapley_per_class()
