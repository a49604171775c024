"""The SavedModel answers as the model does, wherever it is loaded."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.export import checks, endpoints
from tests import tiny
from tests.export import parts

LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`(model, folder, report)`, exported with every row as an example."""
    keras.utils.set_random_seed(0)
    model = parts.model()
    mm.heads.output_contract(model).temperature = 1.6
    folder = tmp_path_factory.mktemp("export") / "shapes/1"
    raw, tensors = parts.rows()
    rows = [
        ({k: x[i : i + 4] for k, x in tensors.items()}, LABELS[i : i + 4])
        for i in (0, 4)
    ]
    report = mm.export.saved_model(model, folder, examples=raw, representative=rows)
    return model, folder, report


@functools.lru_cache
def load(folder):
    return tf.saved_model.load(str(folder))


def answers(folder, endpoint, inputs):
    run = load(folder).signatures[endpoint]
    got = run(**{name: tf.constant(x) for name, x in inputs.items()})
    return {name: x.numpy() for name, x in got.items()}


def test_raw_in_another_process(exported, tmp_path):
    model, folder, _ = exported
    raw, tensors = parts.rows()
    expected = model.predict(tensors, verbose=0)
    coded = {name: [x.decode("latin1") for x in row] for name, row in raw.items()}
    (tmp_path / "raw.json").write_text(json.dumps(coded), encoding="utf8")
    script = Path(__file__).parent / "other_process.py"
    files = [str(folder), str(tmp_path / "raw.json"), str(tmp_path / "got.npz")]
    subprocess.run([sys.executable, str(script), *files], check=True)
    got = np.load(tmp_path / "got.npz")
    assert np.ptp(expected, axis=0).min() > 1e-3  # rows differ: the test can fail
    for loader in ("python", "v1"):
        np.testing.assert_allclose(got[loader], expected, atol=1e-5, rtol=0)


def test_scores_and_classes(exported):
    model, folder, _ = exported
    raw, tensors = parts.rows()
    got = answers(folder, "serve_raw", raw)
    logits = model.predict(tensors, verbose=0).astype("float64")
    odds = np.exp(logits / 1.6)
    np.testing.assert_allclose(
        got["scores"], odds / odds.sum(1, keepdims=True), atol=1e-5
    )
    names = [x.encode("utf8") for x in parts.CLASSES]
    assert got["classes"].tolist() == [names] * len(logits)
    assert got["class"].tolist() == [names[i] for i in logits.argmax(1)]


def test_classify_takes_examples(exported):
    """As TF Serving's Classify wants it: one string in, classes and scores out."""
    _, folder, _ = exported
    raw, _ = parts.rows()
    wanted = answers(folder, "serve_raw", raw)
    got = answers(folder, "classify", {"inputs": [example(x) for x in by_row(raw)]})
    assert sorted(got) == ["classes", "scores"]
    np.testing.assert_allclose(got["scores"], wanted["scores"], atol=1e-6)
    assert got["classes"].tolist() == wanted["classes"].tolist()
    assert method_of(folder, "classify") == "tensorflow/serving/classify"
    assert method_of(folder, "serve_raw") == "tensorflow/serving/predict"


def by_row(raw):
    """Rows as dicts, without what is absent."""
    rows = zip(*raw.values(), strict=True)
    return [{k: x for k, x in zip(raw, row, strict=True) if x} for row in rows]


def example(row):
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[x]))
        for name, x in row.items()
    }
    made = tf.train.Example(features=tf.train.Features(feature=features))
    return made.SerializeToString()


def method_of(folder, endpoint):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def[endpoint].method_name


def test_tensors_by_name(exported):
    model, folder, _ = exported
    _, tensors = parts.rows()
    shuffled = dict(sorted(tensors.items(), reverse=True))
    got = answers(folder, "serve", shuffled)
    expected = model.predict(tensors, verbose=0)
    np.testing.assert_allclose(got["outputs"], expected, atol=1e-5, rtol=0)


def test_features_are_what_the_head_takes(exported):
    model, folder, _ = exported
    raw, _ = parts.rows()
    features = answers(folder, "features", raw)["features"]
    assert features.shape == (6, 16)
    kernel, bias = mm.heads.output_contract(model).get_weights()
    outputs = answers(folder, "serve_raw", raw)["outputs"]
    np.testing.assert_allclose(features @ kernel + bias, outputs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_any_batch(exported, count):
    _, folder, _ = exported
    raw, _ = parts.rows()
    whole = answers(folder, "serve_raw", raw)["outputs"]
    few = {name: x[:count] for name, x in raw.items()}
    got = answers(folder, "serve_raw", few)["outputs"]
    np.testing.assert_allclose(got, whole[:count], atol=1e-5, rtol=0)


def test_variables_stand_once(exported):
    model, folder, report = exported
    stored = tf.train.list_variables(str(folder / "variables/variables"))
    shapes = [tuple(x) for name, x in stored if name.endswith("VARIABLE_VALUE")]
    assert sorted(shapes) == sorted(tuple(x.shape) for x in model.variables)
    data = folder / "variables/variables.data-00000-of-00001"
    weights = sum(x.value.numpy().nbytes for x in model.variables)
    assert weights <= data.stat().st_size < weights + 5000
    assert report.size == sum(
        x.stat().st_size for x in folder.rglob("*") if x.is_file()
    )


def test_report(exported):
    _, folder, report = exported
    assert [x.name for x in report.endpoints] == [
        "serve",
        "serve_raw",
        "features",
        "classify",
    ]
    assert set(report.endpoints[0].differences) == {"python", "v1 loader"}
    assert report.max_difference < 1e-5
    assert report.rows == 8  # nothing, one of each kind, and six examples
    assert report.custom_ops == ()
    for check in report.endpoints:
        for loader, largest in check.differences.items():
            assert 0 <= check.mean_differences[loader] <= largest
    text = str(report)
    assert str(folder) in text and "serve_raw" in text and "v1 loader" in text


def test_report_of_rows_that_were_given(exported):
    model, folder, report = exported
    _, tensors = parts.rows()
    outputs = model.predict(tensors, verbose=0)
    served = load(folder).signatures["serve"](**tensors)["outputs"].numpy()
    right = [np.mean(x.argmax(1) == LABELS) for x in (outputs, served)]
    given = report.given
    assert given.scores["accuracy"] == pytest.approx(right)
    assert (given.rows, given.agreement) == (6, 1.0)
    assert "\n6 rows that were given: " in str(report)
    assert given.difference < 1e-5 and given.milliseconds > 0
    assert f"accuracy {right[0]:.4f} -> {right[1]:.4f} (+0.0000)" in str(report)


def test_card(exported):
    card = mm.export.read_card(exported[1])
    assert card["modalities"]["clip"] == {
        "kind": "audio",
        "cell": "file",
        "shape": [parts.SAMPLES],
        "dtype": "float32",
    }
    assert list(card["modalities"]) == ["photo", "title", "clip"]
    assert card["outputs"]["outputs"]["classes"] == parts.CLASSES
    assert card["default"] == "serve_raw"
    with pytest.raises(ValueError, match="holds no assets.extra"):
        mm.export.read_card(exported[1].parent)


def test_heads_by_name_after_keras_file_and_trunk(tmp_path):
    """Also: reloaded from `.keras`, and with a trunk on the same layers."""
    heads = {
        "shape": mm.heads.Prediction(parts.CLASSES),
        "tags": mm.heads.Prediction(["big", "old"], "multi", temperature=2.0),
        "price": mm.heads.regression(1).layer,
        "plain": keras.layers.Dense(2),
    }
    parts.model(heads).save(tmp_path / "model.keras")
    model = mm.load_model(tmp_path / "model.keras")
    mm.transfer.trunk(model, cached=["photo"])
    raw, tensors = parts.rows()
    expected = model.predict(tensors, verbose=0)
    big = np.sort(expected["tags"][:, 0])
    middle = float(1 / (1 + np.exp(-big[2:4].mean() / 2)))  # three rows on either side
    options = {"default": "serve", "thresholds": {"big": middle}}
    mm.export.saved_model(model, tmp_path / "1", **options)
    got = answers(tmp_path / "1", "serve_raw", raw)
    for name in heads:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5, rtol=1e-5)
    assert sorted(set(got) - set(heads)) == [
        "shape_class",
        "shape_classes",
        "shape_scores",
        "tags_chosen",
        "tags_class",
        "tags_classes",
        "tags_scores",
    ]
    odds = np.exp(-expected["tags"].astype("float64") / 2)
    np.testing.assert_allclose(got["tags_scores"], 1 / (1 + odds), atol=1e-5)
    chosen = 1 / (1 + odds) >= [middle, 0.5]
    assert got["tags_chosen"].tolist() == chosen.tolist()
    assert chosen[:, 0].sum() == 3
    names = [["big"] * bool(x) + ["old"] * bool(y) for x, y in chosen]
    assert [x.decode() for x in got["tags_class"]] == ["|".join(x) for x in names]
    methods = {
        "shape_classify": "tensorflow/serving/classify",
        "tags_classify": "tensorflow/serving/classify",
        "price_regress": "tensorflow/serving/regress",
    }
    assert {k: method_of(tmp_path / "1", k) for k in methods} == methods
    examples = {"inputs": [example(x) for x in by_row(raw)]}
    price = answers(tmp_path / "1", "price_regress", examples)["outputs"]
    np.testing.assert_allclose(price, expected["price"], atol=1e-5, rtol=1e-5)
    default = load(tmp_path / "1").signatures["serving_default"]
    assert set(default.structured_input_signature[1]) == set(model.input)


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    true = endpoints.with_scores

    def wrong(*args):
        named = true(*args)
        return {**named, "outputs": named["outputs"] + [[0.0, 0.1, 0.0]]}

    monkeypatch.setattr(endpoints, "with_scores", wrong)
    with pytest.raises(ValueError, match=r"differs from `model.predict` by 0\.[01]"):
        mm.export.saved_model(tiny.model(), tmp_path / "new/1")
    assert not list(tmp_path.iterdir())


def test_latency_at_one_row(exported):
    _, folder, report = exported
    timed = {x.name: x.milliseconds for x in report.endpoints}
    assert timed["serve"] > 0 and timed["serve_raw"] > 0
    assert timed["features"] is None and timed["classify"] is None
    line = next(x for x in str(report).splitlines() if x.startswith("serve_raw"))
    assert f"  {timed['serve_raw']:.2f}  " in line
    assert "numbered folders" not in str(report)
    unversioned = dataclasses.replace(report, path="models/products")
    assert "to serve this one, export to models/products/1" in str(unversioned)


def test_warm_up_by_the_true_protos(exported):
    """tensorflow-serving-api reads the file, and the endpoints answer what is in it."""
    from tensorflow_serving.apis import prediction_log_pb2 as logs

    _, folder, _ = exported
    file = folder / "assets.extra/tf_serving_warmup_requests"
    counts, size = {}, 0
    for record in tf.data.TFRecordDataset(str(file)):
        log = logs.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") == "classify_log":
            request = log.classify_log.request
            examples = request.input.example_list.examples
            given = {"inputs": [x.SerializeToString() for x in examples]}
        else:
            request = log.predict_log.request
            given = {k: tf.make_ndarray(x) for k, x in request.inputs.items()}
        name = request.model_spec.signature_name
        counts[name] = counts.get(name, 0) + 1
        got = answers(folder, name, given)
        rows = {len(x) for x in [*got.values(), *given.values()]}
        assert rows in ({1}, {2}), name
        size = max(
            size, *(len(x) for x in given.get("photo", []) if name != "serve"), 0
        )
    assert counts == {
        "serve": 1,
        "serve_raw": 2,
        "features": 2,
        "classify": 2,
        "serving_default": 2,
    }
    assert size > 100  # a picture: what is warm is not the answer to nothing


def test_warm_up_that_fails_says_so(exported):
    requests = [("serve_raw", "predict", {"photo": np.array([b"x"], "O")})]
    with pytest.raises(ValueError, match="its own warm-up request to 'serve_raw'"):
        checks.replay(load(exported[1]), requests, "serve_raw")


def test_bad_arguments(tmp_path):
    model = parts.model()
    path = tmp_path / "1"
    with pytest.raises(TypeError, match="made by `mmkeras.multimodal`"):
        mm.export.saved_model("model.keras", path)
    with pytest.raises(ValueError, match=r"has no encoders"):
        mm.export.saved_model(parts.photo(), path)
    for wrong in (2, {"circle": 0.5}):  # no head of several labels has this class
        with pytest.raises(ValueError, match="`thresholds` wants"):
            mm.export.saved_model(model, path, thresholds=wrong)
    with pytest.raises(ValueError, match=r"`default` wants one of .*'serve_raw'"):
        mm.export.saved_model(model, path, default="raw")
    path.mkdir()
    (path / "mine").write_text("x")
    with pytest.raises(ValueError, match="not empty"):
        mm.export.saved_model(model, path)


def test_bad_examples():
    model = parts.model()
    with pytest.raises(ValueError, match=r"Received: \['film'\].*'photo'"):
        checks.questions(model, {"film": [b""]})
    with pytest.raises(ValueError, match="as many values"):
        checks.questions(model, {"photo": [b""], "title": ["red", "blue"]})


def test_examples_may_be_paths(tmp_path):
    raw, tensors = parts.rows()
    (tmp_path / "a.png").write_bytes(raw["photo"][0])
    given = {"photo": [str(tmp_path / "a.png"), ""], "title": ["über", "red"]}
    asked = checks.questions(parts.model(), given)["serve_raw"][0]
    assert asked["photo"][2:].tolist() == [raw["photo"][0], b""]
    assert asked["title"][2:].tolist() == ["über".encode(), b"red"]
    assert asked["clip"][2:].tolist() == [b"", b""]


def test_probes_are_read(exported):
    for name, contract in mm.readers(exported[0]).items():
        probe = checks.made_up(contract)
        assert np.abs(contract.read([probe]).numpy()).max() > 0, name
