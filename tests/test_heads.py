"""Heads: names, and metrics against scikit-learn."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

from mmkeras import heads


def outputs(rows=400, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, logits.astype("float32")


def scores(head, labels, logits):
    found = {}
    for metric in head.metrics:
        for part in np.array_split(np.arange(len(labels)), 3):  # as fit does, in steps
            metric.update_state(labels[part], logits[part])
        found[metric.name] = float(metric.result())
    return found


def test_classification_scores_equal_scikit_learn():
    labels, logits = outputs()
    found = scores(heads.classification(4), labels, logits)
    guess = logits.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, guess))
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(labels, guess, average="macro"), abs=1e-6
    )
    exact = sk.roc_auc_score(labels, softmax(logits, 1), multi_class="ovr")
    assert found["auc_roc"] == pytest.approx(exact, abs=3e-3)  # 200 thresholds


def test_multilabel_scores_equal_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (300, 3)).astype("float32")
    logits = (rng.normal(size=(300, 3)) + labels).astype("float32")
    found = scores(heads.multilabel(["a", "b", "c"]), labels, logits)
    guess = logits >= 0
    assert found["accuracy"] == pytest.approx((guess == labels).mean(), abs=1e-6)
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(labels, guess, average="macro"), abs=1e-6
    )
    exact = sk.roc_auc_score(labels, expit(logits), average="macro")
    assert found["auc_roc"] == pytest.approx(exact, abs=3e-3)


def test_regression_scores_equal_scikit_learn():
    rng = np.random.default_rng(2)
    labels, guess = rng.normal(size=(2, 100, 1)).astype("float32")
    found = scores(heads.regression(), labels, guess)
    assert found["mae"] == pytest.approx(
        sk.mean_absolute_error(labels, guess), rel=1e-5
    )
    assert found["rmse"] == pytest.approx(
        sk.root_mean_squared_error(labels, guess), rel=1e-5
    )


def test_shares_of_classes_are_labels_too():
    """Mixed rows: the loss is linear in the labels, and the largest share counts."""
    labels, logits = outputs()
    one_hot = np.eye(4, dtype="float32")[labels]
    head, shares = heads.classification(4), 0.7 * one_hot + 0.3 * one_hot[::-1]
    logs = np.log(softmax(logits.astype("float64"), 1))
    wanted = -(shares * logs).sum(1).mean()
    assert float(head.loss(shares, logits)) == pytest.approx(wanted, rel=1e-5)
    ids = float(head.loss(labels, logits))
    assert float(head.loss(one_hot, logits)) == pytest.approx(ids, rel=1e-6)
    assert float(head.loss(labels[:, None], logits)) == pytest.approx(ids, rel=1e-6)
    found = scores(heads.classification(4), labels, logits)
    assert scores(heads.classification(4), shares, logits) == found
    for part in (head.loss, *head.metrics):
        config = keras.saving.serialize_keras_object(part)
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is type(part) and again.get_config() == part.get_config()


def test_shares_of_several_labels_count_from_a_half():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (300, 3)).astype("float32")
    logits = (rng.normal(size=(300, 3)) + labels).astype("float32")
    shares = 0.6 * labels + 0.4 * labels[::-1]
    whole = scores(heads.multilabel(3), labels, logits)
    assert scores(heads.multilabel(3), shares, logits) == whole
    loss = float(heads.multilabel(3).loss(shares, logits))
    p = expit(logits.astype("float64"))
    wanted = -(shares * np.log(p) + (1 - shares) * np.log(1 - p)).mean()
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_loss_wants_logits():
    labels, logits = outputs()
    loss = float(heads.classification(4).loss(labels, logits))
    assert loss == pytest.approx(sk.log_loss(labels, softmax(logits, 1)), rel=1e-5)


def test_names_survive_the_file(tmp_path):
    model = keras.Sequential(
        [keras.Input((2,)), heads.classification(["a", "b"]).layer]
    )
    model.save(tmp_path / "m.keras")
    contract = heads.output_contract(keras.models.load_model(tmp_path / "m.keras"))
    assert (contract.classes, contract.kind) == (["a", "b"], "single")


def test_decode_names_the_winner_and_gives_probabilities():
    layer = heads.classification(["a", "b"]).layer
    row = layer.decode(np.array([[0.0, np.log(3.0)]], "float32"))[0]
    assert row["class"] == "b"
    assert row["b"] == pytest.approx(0.75)
    many = heads.multilabel(["a", "b", "c"]).layer
    assert many.decode(np.array([[5.0, -5.0, 5.0]]))[0]["class"] == "a|c"


def test_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = heads.classification(2).layer
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer(np.ones((1, 3), "float16")).dtype == "float32"


@pytest.mark.parametrize("dense", [True, False])
def test_temperature_divides_logits_where_they_become_probabilities(dense):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 3)).astype("float32")
    for make in (heads.classification, heads.multilabel):
        layer = make(["a", "b", "c"], dense=dense).layer
        plain = layer.decode(logits)
        layer.temperature = 2.5
        again = type(layer).from_config(layer.get_config())
        assert again.temperature == 2.5
        wide = logits.astype("float64") / 2.5
        wanted = softmax(wide, 1) if layer.kind == "single" else expit(wide)
        got = again.decode(logits)
        found = [[row[name] for name in "abc"] for row in got]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert [x["class"] for x in got] == [x["class"] for x in plain]
    limits = again.decode(logits, threshold=[float(x) for x in wanted.mean(0)])
    chosen = ["|".join(np.array(["a", "b", "c"])[x]) for x in wanted >= wanted.mean(0)]
    assert [x["class"] for x in limits] == chosen
    if not dense:
        np.testing.assert_array_equal(again(logits), logits)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf")])
def test_wrong_temperature(wrong):
    with pytest.raises(ValueError, match="`temperature` wants a float above 0"):
        heads.Outputs(["a", "b"], temperature=wrong)
    with pytest.raises(ValueError, match="Numbers have no probabilities"):
        heads.Prediction(["price"], "number", temperature=2.0)


@pytest.mark.parametrize(
    "classes, kind, message",
    [
        (["a", "a"], "single", "different names"),
        (["class", "b"], "single", "cannot be called 'class'"),
        (["class", "b"], "multi", "cannot be called 'class'"),
        (["a"], "single", "two or more classes"),
        (["a", "b"], "soft", "'single', 'multi', 'number'"),
        ([], "multi", "at least one"),
    ],
)
def test_wrong_arguments(classes, kind, message):
    with pytest.raises(ValueError, match=message):
        heads.Prediction(classes, kind)


def test_plain_dense_has_no_contract():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    assert heads.output_contract(model) is None


def test_the_likelihood_that_balances_modalities_takes_shares():
    from mmkeras.balance.parts import log_likelihood

    labels, logits = outputs()
    one_hot = np.eye(4, dtype="float32")[labels]
    shares = 0.7 * one_hot + 0.3 * one_hot[::-1]
    wanted = (shares * np.log(softmax(logits.astype("float64"), 1))).sum(1)
    found = log_likelihood("single", logits, shares)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    ids = log_likelihood("single", logits, labels)
    np.testing.assert_array_equal(log_likelihood("single", logits, one_hot), ids)
