"""Several tasks: losses by hand, labels that lack, saving, serving, reports."""

import json

import keras
import numpy as np
import pandas
import pytest
from scipy.special import log_softmax

import mmkeras as mm
from mmkeras import balance, heads
from tests import tiny

NAN = float("nan")
PRICES = np.array([100.0, 300.0, 200.0, NAN])


def head(**options):
    kind, price = heads.classification(3), heads.regression(standardize=PRICES)
    several = heads.multilabel(["a", "b"])
    return heads.several({"kind": kind, "price": price, "tags": several}, **options)


def network(found):
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}
    return mm.multimodal(encoders, mm.fusion.GatedFusion(8), found.layer)


@pytest.fixture(scope="module")
def trained():
    """`(head, model, training model, inputs, labels)`, after two epochs."""
    keras.utils.set_random_seed(0)
    found = head(absent_labels=True)
    model = network(found)
    training = balance.uncertainty(model)
    # no AUC: its graph takes seconds to trace
    metrics = {task: own[:2] for task, own in found.metrics.items()}
    training.compile(keras.optimizers.Adam(0.01), found.loss, metrics=metrics)
    inputs, kinds = tiny.rows()
    labels = {
        "kind": kinds.astype("int32"),
        "price": np.linspace(100, 300, 48, dtype="float32")[:, None],
        "tags": np.eye(2, dtype="float32")[kinds % 2],
    }
    labels["kind"][::3], labels["price"][1::3], labels["tags"][2::3] = -1, NAN, NAN
    training.fit(inputs, labels, epochs=2, batch_size=16, verbose=0)
    scores = training.evaluate(inputs, labels, verbose=0, return_dict=True)
    return found, model, training, inputs, labels, scores


def test_standardized_numbers_are_in_the_labels_units():
    made = heads.regression(standardize=PRICES)
    layer, deviation = made.layer, np.sqrt((100**2 + 100**2) / 3)
    assert layer.mean == [200.0]
    assert layer.deviation == pytest.approx([deviation])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    layer.build(x.shape)
    layer.bias.assign([0.5])
    wanted = 200 + deviation * (x @ layer.kernel.numpy() + 0.5)
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-5)
    always = np.full((3, 1), 200.0)
    assert float(made.loss(PRICES[:3, None], always)) == pytest.approx(1.0)
    again = heads.Prediction.from_config(layer.get_config())
    assert (again.mean, again.deviation) == (layer.mean, layer.deviation)


def test_losses_by_hand_with_absent_labels():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 3)).astype("float32")
    found = head(weights={"kind": 2.0}, absent_labels=True)
    rows = -log_softmax(logits.astype("float64"), axis=1)
    wanted = 2 * (rows[0, 2] + rows[3, 1]) / 4
    loss = float(found.loss["kind"](np.array([2, -1, -1, 1]), logits))
    assert loss == pytest.approx(wanted, rel=1e-5)
    error, deviation = np.array([50.0, 0, -20.0, 7.0]), found.layer["price"].deviation
    guess = (PRICES + error)[:, None]
    guess[3] = 7.0
    loss = float(found.loss["price"](PRICES[:, None], guess))
    wanted = (50.0**2 + 20.0**2) / deviation[0] ** 2 / 4
    assert loss == pytest.approx(wanted, rel=1e-5)
    tags = np.array([[1, 0], [NAN, NAN], [0, 1], [NAN, 0]])
    z = rng.normal(size=(4, 2)).astype("float32")
    each = np.logaddexp(0, z.astype("float64")) - np.nan_to_num(tags) * z
    loss = float(found.loss["tags"](tags, z))
    assert loss == pytest.approx(each[[0, 2]].mean(1).sum() / 4, rel=1e-5)


def test_uncertainty_by_hand():
    """w (a exp(-s) L + s / 2), a = 1/2 for numbers; rows without a label count 0."""
    found = head(weights={"price": 3.0}, absent_labels=True)
    s = 0.7
    beside = np.array([[250.0, s], [300.0, s], [0.0, s], [9.0, s]])
    deviation = found.layer["price"].deviation[0]
    squared = np.array([150.0, 0.0, 200.0]) ** 2 / deviation**2
    wanted = 3 * (0.5 * np.exp(-s) * squared + s / 2).sum() / 4
    loss = float(found.loss["price"](PRICES[:, None], beside))
    assert loss == pytest.approx(wanted, rel=1e-5)
    logits = np.array([[1.0, 0.0, -1.0, s]])
    rows = -log_softmax(logits[:, :3], axis=1)
    loss = float(found.loss["kind"](np.array([0]), logits))
    assert loss == pytest.approx(np.exp(-s) * rows[0, 0] + s / 2, rel=1e-5)


def test_the_learned_variance_is_the_error_where_that_stays():
    """exp(s) = e for a fixed squared error e, 2 L for a fixed cross-entropy L."""
    layer = heads.LogVariances(rate=10.0)
    outputs = {"a": np.zeros((2000, 1)), "b": np.zeros((2000, 2))}
    number = heads.TaskLoss(keras.losses.MeanSquaredError(), 1, "number")
    single = heads.TaskLoss(heads.ClassCrossentropy(), 2, "single")
    labels = np.array([[3.0], [NAN]] * 1000)  # e = 9 in the rows that have one
    inputs = {key: keras.Input(x.shape[1:], name=key) for key, x in outputs.items()}
    model = keras.Model(inputs, layer(inputs))
    optimizer = keras.optimizers.Adam(0.005)
    model.compile(optimizer, {"a": number, "b": single})
    labels = {"a": labels, "b": np.zeros(2000)}
    model.fit(outputs, labels, batch_size=8, verbose=0)
    assert layer.values()["a"] == pytest.approx(np.log(9), abs=1e-3)
    assert layer.values()["b"] == pytest.approx(np.log(2 * np.log(2)), abs=1e-3)


def test_metrics_count_the_rows_that_have_a_label(trained):
    found, model, training, inputs, labels, scores = trained
    outputs = {key: np.asarray(x) for key, x in model(inputs).items()}
    there = labels["kind"] >= 0
    hits = (outputs["kind"].argmax(1) == labels["kind"])[there]
    assert scores["kind_accuracy"] == pytest.approx(hits.mean(), abs=1e-6)
    error = (outputs["price"] - labels["price"])[~np.isnan(labels["price"])]
    assert scores["price_mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    rmse = np.sqrt((error.astype("float64") ** 2).mean())
    assert scores["price_rmse"] == pytest.approx(rmse, rel=1e-5)
    assert set(scores) >= {"tags_macro_f1", "loss"}
    s = balance.log_variances(training)
    assert sorted(s) == ["kind", "price", "tags"] and all(s.values())


def test_a_task_without_labels_in_a_batch_moves_nothing_of_its_own(trained):
    found, _, training, inputs, labels, _ = trained
    lacking = {**labels, "price": np.full_like(labels["price"], NAN)}
    weights = training.get_layer("log_variances").scaled, found.layer["price"].kernel
    before = [x.numpy() for x in weights]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch([x.value for x in weights])
        outputs = training(inputs)
        loss = sum(found.loss[x](lacking[x], outputs[x]) for x in outputs)
    gradients = [np.asarray(x) for x in tape.gradient(loss, [x.value for x in weights])]
    at = sorted(outputs).index("price")
    assert np.isfinite(gradients[0]).all() and np.abs(gradients[0]).max() > 0
    assert gradients[0][at] == 0 and not gradients[1].any()
    assert [x.shape for x in before] == [x.shape for x in gradients]


def test_saved_and_read_again_it_goes_on(trained, tmp_path):
    found, model, training, inputs, labels, scores = trained
    training.save(tmp_path / "training.keras")
    again = keras.models.load_model(tmp_path / "training.keras")
    assert balance.log_variances(again) == balance.log_variances(training)
    got = again.evaluate(inputs, labels, verbose=0, return_dict=True)
    assert got == pytest.approx(scores)
    model.compile("sgd", found.loss)
    model.save(tmp_path / "model.keras")
    plain = mm.load_model(tmp_path / "model.keras")
    outputs = plain(inputs)
    assert {k: x.shape[1] for k, x in outputs.items()} == dict(kind=3, price=1, tags=2)
    for key, x in model(inputs).items():
        np.testing.assert_array_equal(outputs[key], x)
        assert plain.loss[key].get_config() == found.loss[key].get_config()


@pytest.mark.slow
def test_served_each_task_by_its_name(trained, tmp_path):
    _, model, _, inputs, *_ = trained
    rows = [",".join(map(str, x)) for x in inputs["left"][:2]]
    raw = {"left": rows, "right": ["", "1,2,3,4"]}
    report = mm.export.saved_model(model, tmp_path / "1", examples=raw)
    assert report.max_difference < 1e-5
    serve = next(x for x in report.endpoints if x.name == "serve_raw")
    wanted = {"kind", "kind_scores", "kind_class", "price", "tags_chosen"}
    assert wanted <= {*serve.outputs}
    names = {x.name for x in report.endpoints}
    assert {"kind_classify", "price_regress", "tags_classify"} <= names
    card = json.loads((tmp_path / "1/assets.extra/mmkeras.json").read_text("utf8"))
    kinds = {key: x["kind"] for key, x in card["outputs"].items()}
    assert kinds == {"kind": "single", "price": "number", "tags": "multi"}


def test_a_report_on_one_task(trained):
    _, model, _, inputs, labels, _ = trained
    report = mm.analysis.modality_report(model, (inputs, labels), output="kind")
    there = labels["kind"] >= 0
    guess = np.asarray(model(inputs)["kind"]).argmax(1)
    assert report.rows == there.sum()
    wanted = (guess == labels["kind"])[there].mean()
    assert report.score(["left", "right"]) == pytest.approx(wanted)
    price = mm.analysis.modality_report(model, (inputs, labels), output="price")
    assert price.rows == 32 and price.metrics[0] == "mae"
    with pytest.raises(ValueError, match=r"Valid names: \['kind', 'price', 'tags'\]"):
        mm.analysis.modality_report(model, (inputs, labels), output="sort")
    with pytest.raises(ValueError, match="output='<name>'"):
        mm.analysis.modality_report(model, (inputs, labels))


def test_labels_from_several_columns_with_empty_cells(trained):
    found, model, *_ = trained
    table = pandas.DataFrame(
        {
            "left": ["1,2,3,4,5,6"] * 3,
            "right": ["1,2,3,4"] * 3,
            "sort": [2, None, 0],
            "cost": [1.5, 2.5, None],
            "words": ["a|b", None, "b"],
        }
    )
    label = {"kind": "sort", "price": "cost", "tags": "words"}
    rows = mm.data.from_table(table, model, label=label, batch_size=3)
    _, labels = next(iter(rows))
    np.testing.assert_array_equal(labels["kind"], [2, -1, 0])
    np.testing.assert_array_equal(labels["price"], [[1.5], [2.5], [NAN]])
    np.testing.assert_array_equal(labels["tags"], [[1, 1], [NAN, NAN], [0, 1]])
    even = mm.data.from_table(
        table, model, label=label, batch_size=3, class_weight={"kind": "balanced"}
    )
    _, _, weight = next(iter(even))
    np.testing.assert_array_equal(weight["kind"], [1, 0, 1])
    strict = network(head())
    with pytest.raises(ValueError, match="'sort' wants a label in every row"):
        mm.data.from_table(table, strict, label=label)
    table["cost"] = None
    with pytest.raises(ValueError, match="'cost' has no label in any row"):
        mm.data.from_table(table, model, label=label)


def test_messages_count_all_rows_and_numbers_may_be_absent_together(trained):
    _, model, *_ = trained
    table = pandas.DataFrame({"left": ["1,2,3,4,5,6"] * 3, "right": ["1,2,3,4"] * 3})
    table["sort"] = [None, "0", "typo"]
    with pytest.raises(ValueError, match="'typo' in row 2 "):
        mm.data.from_table(table, model, label={"kind": "sort"})
    sizes = heads.regression(["high", "wide"])
    kind = heads.classification(2)
    found = heads.several({"size": sizes, "kind": kind}, absent_labels=True)
    table["high"], table["wide"] = [1.0, 2.0, 3.0], [4.0, None, 6.0]
    label = {"size": ["high", "wide"]}
    rows = mm.data.from_table(table, network(found), label=label, batch_size=3)
    _, labels = next(iter(rows))
    np.testing.assert_array_equal(labels["size"], [[1, 4], [NAN, NAN], [3, 6]])
    table["wide"] = [None, "4", "far"]
    with pytest.raises(ValueError, match="'far' in row 2 "):
        mm.data.from_table(table, network(found), label=label)


def test_a_training_model_is_for_fit_alone(trained, tmp_path):
    _, _, training, inputs, labels, _ = trained
    table = pandas.DataFrame({"left": ["1,2,3,4,5,6"], "right": ["1,2,3,4"]})
    table["sort"] = [1]
    for do in (
        lambda: mm.data.from_table(table, training, label={"kind": "sort"}),
        lambda: mm.export.saved_model(training, tmp_path / "1"),
        lambda: mm.analysis.modality_report(training, (inputs, labels), output="kind"),
    ):
        with pytest.raises(ValueError, match="is a training model"):
            do()


def test_heads_of_one_name_get_names_of_their_own():
    both = {"kind": heads.classification(3).layer, "size": heads.regression().layer}
    model = mm.multimodal({"left": tiny.encoder()}, mm.fusion.Concat(), both)
    assert {"kind_head", "size_head"} <= {x.name for x in model.layers}
    with pytest.raises(ValueError, match="of 'kind' has weights already"):
        both["kind"].build((None, 5))
        mm.multimodal({"left": tiny.encoder()}, mm.fusion.Concat(), both)


one, two = heads.classification(2), heads.regression()
WRONG = {
    "one task": ({"kind": one}, {}, "two or more"),
    "name": ({"kind": one, "a b": two}, {}, r"letters \(a to z\)"),
    "layer": ({"kind": one, "size": keras.layers.Dense(1)}, {}, "dense layer"),
    "late": ({"a": one, "b": heads.regression(dense=False)}, {}, "dense layer"),
    "weight": ({"kind": one, "size": two}, {"weights": {"x": 1.0}}, "Valid names"),
    "below": ({"kind": one, "size": two}, {"weights": {"size": -1}}, "0 or more"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tasks(case):
    tasks, options, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        heads.several(tasks, **options)


def test_wrong_arguments(trained):
    _, model, *_ = trained
    with pytest.raises(ValueError, match="`rate` wants a float above 0"):
        balance.uncertainty(model, rate=0)
    with pytest.raises(ValueError, match="a dict of two outputs or more"):
        balance.uncertainty(tiny.model())
    for wrong in ([1.0, 1.0], [NAN, NAN], np.ones((2, 2)), 3.0):
        with pytest.raises(ValueError, match="`standardize` wants"):
            heads.regression(standardize=wrong)
    with pytest.raises(ValueError, match="`mean` and `deviation` want 1 floats"):
        heads.Prediction(["price"], "number", mean=[1.0])
    with pytest.raises(ValueError, match="of kind 'number'"):
        heads.Prediction(["a", "b"], mean=[0, 0], deviation=[1, 1])
