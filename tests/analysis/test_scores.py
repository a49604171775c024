"""Scores against scikit-learn."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from mmkeras import scores


def single(classes=5, rows=200, unused=()):
    rng = np.random.default_rng(0)
    usable = [x for x in range(classes) if x not in unused]
    labels = rng.choice(usable, rows)
    outputs = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[labels]
    outputs[:, list(unused)] -= 100
    return labels, outputs


@pytest.mark.parametrize("unused", [(), (3,)])
def test_single_label(unused):
    labels, outputs = single(unused=unused)
    guess = outputs.argmax(1)
    assert scores.accuracy(labels, outputs) == sk.accuracy_score(labels, guess)
    expected = sk.f1_score(labels, guess, average="macro")
    assert scores.macro_f1(labels, outputs) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(
        scores.confusion(labels, guess, 5),
        sk.confusion_matrix(labels, guess, labels=range(5)),
    )


def test_single_label_area():
    labels, outputs = single()
    expected = sk.roc_auc_score(labels, softmax(outputs, 1), multi_class="ovr")
    assert scores.auc_roc(labels, outputs) == pytest.approx(expected, abs=1e-12)


def test_per_class():
    labels, outputs = single(unused=(3,))
    guess = outputs.argmax(1)
    found = scores.per_class(scores.confusion(labels, guess, 5))
    expected = sk.precision_recall_fscore_support(
        labels, guess, labels=range(5), zero_division=0
    )
    for name, values in zip(
        ("precision", "recall", "f1", "rows"), expected, strict=True
    ):
        np.testing.assert_allclose(found[name], values, atol=1e-12)


def test_multilabel():
    rng = np.random.default_rng(1)
    labels = (rng.random((150, 4)) < 0.4).astype(float)
    outputs = np.round(rng.normal(size=(150, 4)) + labels, 1)  # rounded: with ties
    expected = sk.roc_auc_score(labels, outputs, average="macro")
    assert scores.auc_roc(labels, outputs) == pytest.approx(expected, abs=1e-12)
    expected = sk.f1_score(labels, outputs > 0, average="macro")
    assert scores.macro_f1(labels, outputs) == pytest.approx(expected, abs=1e-12)


def test_area_leaves_out_classes_without_both_labels():
    labels = np.array([[1, 1], [0, 1], [1, 1]])
    outputs = np.array([[2.0, 1], [1.0, 0], [0.5, 3]])
    assert scores.auc_roc(labels, outputs) == 0.5  # one pair right, one wrong
    assert np.isnan(scores.auc_roc(labels[:, 1:], outputs[:, 1:]))


def test_regression():
    rng = np.random.default_rng(2)
    labels, outputs = rng.normal(size=90), rng.normal(size=(90, 1))
    assert scores.mae(labels, outputs) == pytest.approx(
        sk.mean_absolute_error(labels, outputs[:, 0])
    )
    assert scores.rmse(labels, outputs) == pytest.approx(
        sk.root_mean_squared_error(labels, outputs[:, 0])
    )
