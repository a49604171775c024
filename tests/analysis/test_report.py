"""The report per subset against the whole model on hidden inputs and scikit-learn."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from sklearn import metrics as sk

import mmkeras
from mmkeras.analysis import modality_report
from mmkeras.analysis.subsets import Trunk, subsets
from tests.analysis import standins

NAMES = ("clip", "photo", "title")


def batched(inputs, labels, size=16):
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(size)


def slow(model, inputs, shown):
    names = list(mmkeras.readers(model))
    return model.predict_on_batch(standins.hide(inputs, shown, names))


@pytest.mark.parametrize("make", [standins.vector_model, standins.token_model])
def test_trunk_answers_as_the_whole_model(make):
    model = make(keras.layers.Dense(3))
    inputs = standins.inputs_of(model)
    cut = Trunk(model)
    features, presence = cut.features(inputs)
    answers = [cut.answer(features, presence, x) for x in subsets(cut.names)]
    for subset, found in zip(subsets(cut.names), answers, strict=True):
        expected = slow(model, inputs, subset)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    spread = np.std(answers, axis=0).max()
    assert spread > 0.1  # the subsets do differ


def test_single_label_equals_scikit_learn():
    model = standins.vector_model(mmkeras.heads.classification(list("abcd")).layer)
    inputs = standins.inputs_of(model)
    labels = np.random.default_rng(1).integers(0, 4, 70)
    report = modality_report(model, batched(inputs, labels))
    assert (report.kind, report.classes, report.rows) == ("single", tuple("abcd"), 70)
    assert report.modalities == NAMES
    expected = [x for n in range(4) for x in itertools.combinations(NAMES, n)]
    assert list(report.table) == expected
    for subset, found in report.table.items():
        outputs = slow(model, inputs, subset)
        guess = outputs.argmax(1)
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, guess))
        f1 = sk.f1_score(labels, guess, average="macro")
        assert found["macro_f1"] == pytest.approx(f1)
        area = sk.roc_auc_score(labels, softmax(outputs, 1), multi_class="ovr")
        assert found["auc_roc"] == pytest.approx(area, abs=1e-5)
        there = [inputs[f"{x}_present"] for x in subset]
        assert report.present[subset] == int(
            np.all(there, axis=0).sum() if there else 70
        )
    guess = slow(model, inputs, NAMES).argmax(1)
    np.testing.assert_array_equal(
        report.confusion, sk.confusion_matrix(labels, guess, labels=range(4))
    )
    recall = sk.recall_score(labels, guess, average=None, zero_division=0)
    np.testing.assert_allclose(report.per_class()["recall"], recall)


def test_multilabel_equals_scikit_learn():
    model = standins.vector_model(mmkeras.heads.multilabel(["red", "old"]).layer)
    inputs = standins.inputs_of(model)
    labels = (np.random.default_rng(1).random((70, 2)) < 0.4).astype("float32")
    report = modality_report(model, batched(inputs, labels))
    assert (report.kind, report.metrics) == ("multi", ("auc_roc", "macro_f1"))
    assert report.confusion is None
    for subset, found in report.table.items():
        outputs = slow(model, inputs, subset)
        assert found["auc_roc"] == pytest.approx(
            sk.roc_auc_score(labels, outputs), abs=1e-6
        )
        f1 = sk.f1_score(labels, outputs > 0, average="macro", zero_division=0)
        assert found["macro_f1"] == pytest.approx(f1)
    with pytest.raises(ValueError, match="one class a row. Received: kind='multi'"):
        report.per_class()


def test_regression_equals_scikit_learn():
    model = standins.vector_model(mmkeras.heads.regression().layer)
    inputs = standins.inputs_of(model)
    labels = np.random.default_rng(1).normal(size=70).astype("float32")
    report = modality_report(model, batched(inputs, labels))
    assert report.kind == "number"
    for subset, found in report.table.items():
        guess = slow(model, inputs, subset)[:, 0]
        error = sk.mean_absolute_error(labels, guess)
        assert found["mae"] == pytest.approx(error, rel=1e-5)
        error = sk.root_mean_squared_error(labels, guess)
        assert found["rmse"] == pytest.approx(error, rel=1e-5)
    labels[[3, 7]] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in 2 rows.*row 3"):
        modality_report(model, batched(inputs, labels))


@pytest.mark.parametrize(
    ("labels", "units", "kind"),
    [
        (np.arange(8) % 3, 3, "single"),
        (np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]], 3, "multi"),
        (np.linspace(0, 1, 8), 1, "number"),
    ],
)
def test_kind_of_a_plain_head(labels, units, kind):
    model = standins.vector_model(keras.layers.Dense(units))
    inputs = standins.inputs_of(model, rows=8)
    report = modality_report(model, (inputs, labels))
    assert report.kind == kind
    assert "macro_f1" not in report.metrics or kind == "single"


def test_kind_that_is_not_plain():
    model = standins.vector_model(keras.layers.Dense(1))
    data = standins.inputs_of(model, rows=8), np.arange(8) % 2
    with pytest.raises(ValueError, match=r"not plain: labels of shape \(8,\), dtype"):
        modality_report(model, data)
    assert modality_report(model, data, kind="number").metrics == ("mae", "rmse")


def test_metrics_of_ones_own():
    model = standins.vector_model(keras.layers.Dense(3))
    data = standins.inputs_of(model, rows=8), np.arange(8) % 3

    def first_right(labels, outputs):
        return outputs[0].argmax() == labels[0]

    report = modality_report(model, data, metric=[first_right, "accuracy"])
    assert report.metrics == ("first_right", "accuracy")
    expected = float(slow(model, data[0], ("clip",))[0].argmax() == 0)
    assert report.score(["clip"]) == expected


def test_the_model_is_left_as_it_was():
    model = standins.vector_model(mmkeras.heads.classification(3).layer)
    model.compile("sgd", "mse")
    before = model.get_weights()
    modality_report(model, (standins.inputs_of(model, rows=8), np.arange(8) % 3))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.compiled


def test_score_and_frame():
    model = standins.vector_model(mmkeras.heads.classification(3).layer)
    data = standins.inputs_of(model, rows=30), np.arange(30) % 3
    report = modality_report(model, data)
    assert report.score(["clip", "photo"]) == report.table["clip", "photo"]["accuracy"]
    assert report.score() == report.table[NAMES]["accuracy"]
    frame = report.to_frame()
    assert list(frame.columns) == ["accuracy", "macro_f1", "auc_roc", "rows"]
    assert list(frame.index[:2]) == ["none", "clip"]
    assert frame.loc["clip + photo", "accuracy"] == report.score(["photo", "clip"])
    lines = str(report).splitlines()
    assert len({len(x) for x in lines}) == 1  # aligned
    assert re.fullmatch(r"none +0\.\d{4} +0\.\d{4} +0\.5000 +30", lines[1])
    with pytest.raises(ValueError, match=r"Received: \['smell'\]"):
        report.score(["smell"])
    with pytest.raises(ValueError, match="Received: metric='mae'"):
        report.score(metric="mae")


def test_errors():
    model = standins.vector_model(mmkeras.heads.classification(3).layer)
    inputs, labels = standins.inputs_of(model, rows=8), np.arange(8) % 3
    with pytest.raises(ValueError, match="`metric` wants .* Received: 'mae'"):
        modality_report(model, (inputs, labels), metric="mae")
    with pytest.raises(ValueError, match="`kind` wants one of .* kind='many'"):
        modality_report(model, (inputs, labels), kind="many")
    with pytest.raises(ValueError, match="integers below 3, one a row. .* 0 and 7"):
        modality_report(model, (inputs, np.arange(8)))
    with pytest.raises(ValueError, match="Received: batches without labels"):
        modality_report(model, tf.data.Dataset.from_tensor_slices(inputs).batch(4))
    with pytest.raises(ValueError, match="at least one batch. Received: none"):
        modality_report(model, [])
    del inputs["clip_present"]
    with pytest.raises(ValueError, match=r"without \['clip_present'\]"):
        modality_report(model, (inputs, labels))


def test_several_outputs():
    heads = {"kind": keras.layers.Dense(2), "price": keras.layers.Dense(1)}
    model = standins.vector_model(heads)
    data = standins.inputs_of(model, rows=8), np.arange(8) % 2
    with pytest.raises(ValueError, match=r"one output. Received: \['kind', 'price'\]"):
        modality_report(model, data)
    one = keras.Model(model.input, model.output["kind"])
    assert modality_report(one, data).kind == "single"
