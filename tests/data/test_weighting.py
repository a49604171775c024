"""Class weights against scikit-learn's and against sums in numpy."""

import keras
import numpy as np
import pandas
import pytest
from sklearn.preprocessing import MultiLabelBinarizer
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


def test_a_head_of_width_1_has_two_classes():
    """Strings, 0 and 1, with a row that has no label, alone and beside others."""
    two = TABLE.assign(which=list("aaaaaaab"), flag=[0, 1, 1, 1, 1, 1, 1, 1])
    one = model(keras.layers.Dense(1, name="y"))
    for column in ("which", "flag"):
        wanted = compute_sample_weight("balanced", two[column])
        options = {"batch_size": 8, "class_weight": "balanced"}
        ((_, y, weight),) = mm.data.from_table(two, one, column, **options)
        assert y.shape == (8, 1) and set(np.ravel(y)) == {0, 1}
        np.testing.assert_allclose(weight, wanted, rtol=1e-6)
        heads = {"y": keras.layers.Dense(1), "side": keras.layers.Dense(2)}
        label = {"y": column, "side": "other"}
        ((_, _, weight),) = mm.data.from_table(two, model(heads), label, **options)
        np.testing.assert_allclose(weight["y"], wanted, rtol=1e-6)
        wanted = compute_sample_weight("balanced", two.other)
        np.testing.assert_allclose(weight["side"], wanted, rtol=1e-6)
    weigh = mm.data.weighting.row_weights
    found = weigh(np.array([[0.0], [1.0], [1.0], [1.0], [np.nan]]), "balanced", one)
    np.testing.assert_allclose(found, [2, 2 / 3, 2 / 3, 2 / 3, 0], rtol=1e-6)
    found = weigh(np.array([[0.0], [1.0]]), {1: 5.0}, one)
    assert found.tolist() == [1, 5]


def test_several_classes_a_row_are_told_how_to_weigh():
    heads = {
        "many": mm.heads.multilabel(["a", "b"]).layer,
        "side": mm.heads.classification(["x", "y"]).layer,
        "cost": mm.heads.regression().layer,
    }
    label = {"many": "many", "side": "other", "cost": "price"}
    read = {"label": label, "batch_size": 8}
    heads = {k: x.from_config({**x.get_config(), "name": k}) for k, x in heads.items()}
    three = model(heads)
    message = "output 'many' takes several: .*positive_weights.*mmkeras.data.targets"
    with pytest.raises(ValueError, match=message):
        mm.data.from_table(TABLE, three, class_weight="balanced", **read)
    named = {"side": "balanced"}
    ((_, _, weight),) = mm.data.from_table(TABLE, three, class_weight=named, **read)
    weight = {key: np.asarray(x) for key, x in weight.items()}
    wanted = compute_sample_weight("balanced", TABLE.other)
    np.testing.assert_allclose(weight["side"], wanted, rtol=1e-6)
    assert (weight["many"] == 1).all() and (weight["cost"] == 1).all()
    unnamed = {key: keras.layers.Dense(x) for key, x in (("many", 2), ("cost", 1))}
    del label["side"]
    for several in (unnamed, {"many": heads["many"], "cost": heads["cost"]}):
        with pytest.raises(ValueError, match="output 'many' takes several"):
            mm.data.from_table(
                TABLE,
                model(several),
                classes={"many": ["a", "b"]},
                class_weight="balanced",
                **read,
            )
    with pytest.raises(ValueError, match="output 'cost' is of numbers"):
        mm.data.from_table(TABLE, three, class_weight={"cost": "balanced"}, **read)
    with pytest.raises(ValueError, match=r"all outputs are of numbers: \['cost'\]"):
        mm.data.weighting.row_weights({"cost": np.ones((4, 2)) * 3}, "balanced", three)


def test_the_way_that_the_error_names():
    """Multi-hot labels before there is a model; single words are rows of 0 and 1."""
    for column, names in (("many", ["a", "b"]), ("label", ["a", "b", "c"])):
        hot = mm.data.targets(TABLE, column, mm.heads.multilabel(names))
        wanted = MultiLabelBinarizer(classes=names).fit_transform(
            [[y for y in x.split("|") if y] for x in TABLE[column]]
        )
        np.testing.assert_array_equal(hot, wanted)
        weight = mm.data.positive_weights(hot)
        np.testing.assert_allclose((weight * hot).sum(0), (1 - hot).sum(0))
        mm.heads.multilabel(names, positive_weight=weight)
