"""Class weights against scikit-learn's and against sums in numpy."""

import keras
import numpy as np
import pandas
import pytest
from sklearn.utils.class_weight import compute_sample_weight

import mmkeras as mm

TABLE = pandas.DataFrame(
    {
        "size": np.arange(8.0),
        "label": list("aaaaabbc"),
        "other": list("xxyyyyyy"),
        "price": np.arange(8.0),
        "many": ["a", "a|b", "|", "b", "a", "|", "|", "|"],
    }
)


def model(heads):
    """Heads (a dict for several outputs) on one column."""
    columns = mm.tabular.Columns(numeric={"size": (0.0, 1.0)})
    body = mm.multimodal(
        {"size": mm.tabular.mlp(columns, (2,))},
        mm.fusion.Concat(),
        keras.layers.Identity(),
    )
    if not isinstance(heads, dict):
        return keras.Model(body.input, heads(body.output), name=body.name)
    outputs = {key: head(body.output) for key, head in heads.items()}
    return keras.Model(body.input, outputs)


CONTRACT = {"size": mm.tabular.Columns(numeric={"size": (0.0, 1.0)})}


def behind(label, **kwargs):
    """Labels and weights of all rows."""
    (row,) = mm.data.from_table(TABLE, CONTRACT, label, batch_size=8, **kwargs)
    return [keras.tree.map_structure(np.asarray, x) for x in row[1:]]


def test_balanced_is_scikit_learns():
    names = {"classes": ["a", "b", "c"]}
    _, found = behind("label", class_weight="balanced", **names)
    wanted = compute_sample_weight("balanced", TABLE.label)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert abs(found.mean() - 1) < 1e-6
    weights = np.arange(8.0)
    _, found = behind(
        "label", class_weight="balanced", sample_weight=list(weights), **names
    )
    np.testing.assert_allclose(found, wanted * weights, rtol=1e-6)


def test_weights_by_name():
    head = mm.heads.classification(["a", "b", "c"]).layer
    labels = np.array([0, 0, 1, 2], "int32")
    weigh = mm.data.weighting.row_weights
    one = model(head)
    assert weigh(labels, {"c": 4.0, "a": 0.5}, one).tolist() == [0.5, 0.5, 1, 4]
    assert weigh(labels, {2: 4.0}, CONTRACT).tolist() == [1, 1, 1, 4]
    with pytest.raises(ValueError, match=r"does not have: 'd'.*\['a', 'b', 'c'\]"):
        weigh(labels, {"d": 1.0}, one)
    with pytest.raises(ValueError, match="0 or more. Received: 'a': -1"):
        weigh(labels, {"a": -1.0}, one)
    with pytest.raises(ValueError, match="'balanced' or a dict, class -> weight"):
        weigh(labels, "equal", one)
    with pytest.raises(ValueError, match="positive_weight"):
        weigh(np.ones((4, 2), "float32"), "balanced", one)


def test_several_outputs_weigh_each_by_its_own_classes():
    widths = {"kind": 3, "side": 2, "cost": 1}
    both = model({key: keras.layers.Dense(x, name=key) for key, x in widths.items()})
    labels = {"kind": "label", "side": "other", "cost": "price"}
    (row,) = mm.data.from_table(
        TABLE, both, labels, batch_size=8, class_weight="balanced"
    )
    inputs, y, weight = keras.tree.map_structure(np.asarray, row)
    for key, column in (("kind", "label"), ("side", "other")):
        wanted = compute_sample_weight("balanced", TABLE[column])
        np.testing.assert_allclose(weight[key], wanted, rtol=1e-6)
    assert (weight["cost"] == 1).all()
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    both.compile("sgd", {"kind": classes, "side": classes, "cost": "mse"})
    found = both.evaluate(inputs, y, sample_weight=weight, batch_size=8, verbose=0)
    guesses = both.predict(inputs, verbose=0)
    wanted = 0.0
    for key in ("kind", "side"):
        z = guesses[key].astype("float64")
        log = z - np.log(np.exp(z).sum(-1, keepdims=True))
        wanted += -(weight[key] * log[np.arange(8), y[key]]).mean()
    wanted += ((guesses["cost"] - y["cost"]) ** 2).mean()
    total = found[0] if isinstance(found, list) else found
    assert abs(total - wanted) < 1e-4 * wanted
    with pytest.raises(ValueError, match=r"does not name: \['what'\]"):
        mm.data.weighting.row_weights(y, {"what": "balanced"}, both)


def test_positive_weights_make_both_sides_equal():
    hot, *_ = behind("many", classes=["a", "b"])
    weight = mm.data.positive_weights(hot)
    assert weight.tolist() == [5 / 3, 3.0]
    np.testing.assert_allclose((weight * hot).sum(0), (1 - hot).sum(0))
    some = np.vstack([hot, [[np.nan, np.nan]]])  # a row without labels
    np.testing.assert_array_equal(mm.data.positive_weights(some), weight)
    loss = mm.heads.multilabel(["a", "b"], positive_weight=weight).loss
    z = np.random.default_rng(0).normal(size=(8, 2))
    p = 1 / (1 + np.exp(-z))
    wanted = -(weight * hot * np.log(p) + (1 - hot) * np.log(1 - p)).mean()
    assert abs(float(loss(hot, z.astype("float32"))) - wanted) < 1e-6
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.positive_weight == loss.positive_weight
    plain = mm.heads.multilabel(["a", "b"], positive_weight=[1.0, 1.0]).loss
    usual = mm.heads.multilabel(["a", "b"]).loss
    z = z.astype("float32")
    assert abs(float(plain(hot, z)) - float(usual(hot, z))) < 1e-6
    with pytest.raises(ValueError, match="wants 2 floats"):
        mm.heads.multilabel(["a", "b"], positive_weight=[1.0])
    with pytest.raises(ValueError, match="above 0"):
        mm.heads.multilabel(["a", "b"], positive_weight=[1.0, 0.0])
