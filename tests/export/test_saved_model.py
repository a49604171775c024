"""The SavedModel answers as the model does, wherever it is loaded."""

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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`(model, folder, report)`, exported with every row as an example."""
    keras.utils.set_random_seed(0)
    model = parts.model()
    folder = tmp_path_factory.mktemp("export") / "shapes/1"
    raw, _ = parts.rows()
    return model, folder, mm.export.saved_model(model, folder, examples=raw)


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
    odds = np.exp(logits)
    np.testing.assert_allclose(
        got["scores"], odds / odds.sum(1, keepdims=True), atol=1e-5
    )
    names = [x.encode("utf8") for x in parts.CLASSES]
    assert got["classes"].tolist() == [names] * len(logits)
    assert got["class"].tolist() == [names[i] for i in logits.argmax(1)]


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
    assert [x.name for x in report.endpoints] == ["serve", "serve_raw", "features"]
    assert set(report.endpoints[0].differences) == {"python", "v1 loader"}
    assert report.max_difference < 1e-5
    assert report.rows == 8  # nothing, one of each kind, and six examples
    assert report.custom_ops == ()
    text = str(report)
    assert str(folder) in text and "serve_raw" in text and "v1 loader" in text


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
        "tags": mm.heads.Prediction(["big", "old"], "multi"),
        "price": mm.heads.regression(1).layer,
        "plain": keras.layers.Dense(2),
    }
    parts.model(heads).save(tmp_path / "model.keras")
    model = mm.load_model(tmp_path / "model.keras")
    mm.transfer.trunk(model, cached=["photo"])
    mm.export.saved_model(model, tmp_path / "1", default="serve")
    raw, tensors = parts.rows()
    got = answers(tmp_path / "1", "serve_raw", raw)
    expected = model.predict(tensors, verbose=0)
    for name in heads:
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5, rtol=1e-5)
    assert sorted(set(got) - set(heads)) == [
        "shape_class",
        "shape_classes",
        "shape_scores",
        "tags_classes",
        "tags_scores",
    ]
    odds = np.exp(-expected["tags"].astype("float64"))
    np.testing.assert_allclose(got["tags_scores"], 1 / (1 + odds), atol=1e-5)
    default = load(tmp_path / "1").signatures["serving_default"]
    assert set(default.structured_input_signature[1]) == set(model.input)


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    true = endpoints.with_scores

    def wrong(model, tensors):
        named = true(model, tensors)
        return {**named, "outputs": named["outputs"] + [[0.0, 0.1, 0.0]]}

    monkeypatch.setattr(endpoints, "with_scores", wrong)
    with pytest.raises(ValueError, match=r"differs from `model.predict` by 0\.[01]"):
        mm.export.saved_model(tiny.model(), tmp_path / "new/1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "expected, answer, difference",
    [
        ([0.5, 0.2], [0.5, 0.3], 0.1),
        ([100.0, 0.2], [101.0, 0.2], 0.01),  # relative where numbers are large
        ([-4.0, 0.0], [-4.0, 2.0], 0.5),
        ([np.nan, 0.2], [np.nan, 0.2], np.inf),
        ([0.5, 0.2], [np.nan, 0.2], np.inf),
        ([], [], 0.0),
    ],
)
def test_difference(expected, answer, difference):
    pair = [{"outputs": np.array(x, "float32")} for x in (expected, answer)]
    assert checks._difference(*pair) == pytest.approx(difference, rel=1e-6)


def test_bad_arguments(tmp_path):
    model = parts.model()
    path = tmp_path / "1"
    with pytest.raises(TypeError, match="made by `mmkeras.multimodal`"):
        mm.export.saved_model("model.keras", path)
    with pytest.raises(ValueError, match=r"has no encoders"):
        mm.export.saved_model(parts.photo(), path)
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
