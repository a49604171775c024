"""The error table and slices beside scikit-learn and plain numpy."""

import numpy as np
import pandas
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error

import mmkeras as mm
from mmkeras.analysis.rows.errors import label_accuracy, of_outputs
from tests import tiny

RNG = np.random.default_rng(0)


def single(rows=60, classes=4):
    logits = RNG.normal(0, 2, (rows, classes))
    return logits, RNG.integers(0, classes, rows)


def softmax(logits):
    e = np.exp(logits)
    return e / e.sum(1, keepdims=True)


def table(rows):
    """Titles, a shop, a price with a gap, and a column called as one of ours."""
    return pandas.DataFrame(
        {
            "title": [f"title {i}" for i in range(rows)],
            "shop": np.where(np.arange(rows) % 3 == 0, "A", "B"),
            "price": np.where(np.arange(rows) == 7, np.nan, np.arange(rows) % 40.0),
            "loss": "theirs",
        },
        index=np.arange(rows) + 100,
    )


def test_losses_are_those_of_scikit_learn():
    logits, labels = single()
    report = mm.analysis.errors(logits, labels, table(60))
    p = softmax(logits)
    frame = report.rows
    for i, own in enumerate(frame["loss"]):
        expected = log_loss(labels[i : i + 1], p[i : i + 1], labels=range(4))
        assert own == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(frame["confidence"], p.max(1), rtol=1e-12)
    assert list(frame["predicted"]) == [str(x) for x in p.argmax(1)]
    assert frame["right"].mean() == accuracy_score(labels, p.argmax(1))
    wrong = int((p.argmax(1) != labels).sum())
    assert str(report).startswith(f"{wrong} of 60 rows wrong")


def test_the_worst_come_first_with_their_cells():
    logits, labels = single()
    report = mm.analysis.errors(logits, labels, table(60))
    truth = softmax(logits)[np.arange(60), labels]
    order = np.argsort(truth)[:5]
    assert list(report.worst(5).index) == list(order + 100)
    assert list(report.worst(5)["title"]) == [f"title {i}" for i in order]
    assert set(report.rows["table_loss"]) == {"theirs"}
    sure = softmax(logits).max(1)
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    expected = wrong[np.argsort(-sure[wrong])][:3]
    assert list(report.mistakes(3).index) == list(expected + 100)


def test_what_is_not_finite_is_worst():
    logits, labels = single()
    logits[11] = np.nan
    assert mm.analysis.errors(logits, labels, table(60)).worst(1).index == [111]


def test_the_model_is_asked_and_its_temperature_used():
    model, (inputs, labels) = tiny.model(), tiny.rows(12)
    head = mm.heads.output_contract(model)
    head.temperature = 2.5
    report = mm.analysis.errors(model, (inputs, labels), table(12))
    p = softmax(model.predict_on_batch(inputs).astype("float64") / 2.5)
    np.testing.assert_allclose(
        report.rows["loss"], -np.log(p[np.arange(12), labels]), rtol=1e-6
    )


def test_several_classes_a_row():
    logits = np.array([[9.0, -9.0, 9.0], [3.0, 2.0, -1.0]])
    labels = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    report = mm.analysis.errors(logits, labels, table(2))
    assert list(report.rows["true"]) == ["0|2", "1"]
    assert list(report.rows["predicted"]) == ["0|2", "0|1"]
    assert list(report.rows["right"]) == [True, False]
    p = 1 / (1 + np.exp(-logits))
    expected = [log_loss(y, x, labels=[0, 1]) for y, x in zip(labels, p, strict=True)]
    np.testing.assert_allclose(report.rows["loss"], expected, rtol=1e-9)
    assert label_accuracy(labels, logits) == accuracy_score(
        labels.ravel(), p.ravel() > 0.5
    )


def test_numbers():
    outputs, labels = RNG.normal(size=(30, 1)), RNG.normal(size=30)
    report = mm.analysis.errors(outputs, labels, table(30))
    np.testing.assert_allclose(report.rows["error"], outputs[:, 0] - labels)
    worst = np.abs(outputs[:, 0] - labels).argmax()
    assert report.worst(1).index == [worst + 100]
    found = report.slices(["shop"], bootstrap=0).set_index("value")
    a = np.arange(30) % 3 == 0
    expected = mean_absolute_error(labels[a], outputs[a, 0])
    assert found.mae["A"] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="`mistakes` wants classes"):
        report.mistakes()


def test_several_numbers_have_columns_each():
    outputs = RNG.normal(size=(4, 2))
    report = mm.analysis.errors(outputs, np.zeros((4, 2)), table(4), kind="number")
    assert {"true_0", "error_1"} <= set(report.rows)
    np.testing.assert_allclose(report.rows["loss"], np.abs(outputs).mean(1))


def test_slices_are_scores_of_the_rows():
    logits, labels = single()
    report = mm.analysis.errors(logits, labels, table(60))
    found = report.slices(["shop", "price"], bins=2, small=25, bootstrap=300)
    found = found.set_index(["column", "value"])
    right, a = logits.argmax(1) == labels, np.arange(60) % 3 == 0
    row = found.loc[("shop", "A")]
    assert row["accuracy"] == right[a].mean() and row["rows"] == 20
    assert row["elsewhere"] == right[~a].mean() and row["small"]
    assert not found.loc[("shop", "B"), "small"]
    assert row["low"] < row["accuracy"] < row["high"]
    # the interval of a share: about 2 standard errors to each side
    error = np.sqrt(right[a].mean() * (1 - right[a].mean()) / 20)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.25)
    price = found.loc["price"]
    values = table(60).price
    low = values <= values.median()
    first = price.index[0]
    assert price.loc[first, "rows"] == low.sum()
    assert price.loc[first, "accuracy"] == right[low].mean()
    assert price.loc["(missing)", "rows"] == 1 and price["rows"].sum() == 60


def test_columns_that_make_no_slices_are_left_out():
    logits, labels = single()
    frame = table(60)
    frame["half"] = [None if i % 2 else f"picture {i}" for i in range(60)]
    found = mm.analysis.errors(logits, labels, frame).slices(bootstrap=0)
    assert set(found["column"]) == {"shop", "price", "half"}
    half = found[found.column == "half"].set_index("value")
    assert list(half["rows"]) == [30, 30]
    assert list(half.index) == ["(there)", "(missing)"]


def test_what_is_wrong_is_told():
    logits, labels = single()
    with pytest.raises(ValueError, match="59 rows in the table, 60 in the dataset"):
        mm.analysis.errors(logits, labels, table(59))
    report = of_outputs(labels, logits, table(60))
    with pytest.raises(ValueError, match="wants columns of the table.*'shape'"):
        report.slices(["shape"])
    with pytest.raises(ValueError, match="`metric` wants a function or one of"):
        report.slices(metric="mae")
