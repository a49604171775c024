"""A two-tower model is served whole, and tower by tower."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.export import warmup
from tests import paired

NAMES = sorted(paired.WIDTHS)


def lines(rows):
    """Raw values: numbers as text, empty where absent."""
    made = {}
    for name in NAMES:
        there = rows[f"{name}_present"] > 0
        texts = [",".join(map(str, x)) for x in rows[name]]
        made[name] = [x if y else "" for x, y in zip(texts, there, strict=True)]
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`(model, folder, report, rows)`."""
    keras.utils.set_random_seed(0)
    model = mm.two_tower(paired.encoders(), 4)
    rows = paired.rows(6)
    for name, i in (("left", 2), ("right", 4)):
        rows[name][i] = 0
        rows[f"{name}_present"][i] = 0
    folder = tmp_path_factory.mktemp("towers") / "pairs/1"
    report = mm.export.saved_model(
        model,
        folder,
        default="left",
        examples=lines(rows),
        on_bad_value="absent",
        max_bytes={"left": 1000},
    )
    return model, folder, report, rows


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported[1]))
    yield loaded.signatures
    del loaded


def test_endpoints(exported):
    model, folder, report, _ = exported
    assert [x.name for x in report.endpoints] == ["serve", "serve_raw", *NAMES]
    for check in report.endpoints:
        assert sorted(check.differences) == ["python", "v1 loader"]
    card = mm.export.read_card(folder)
    assert card["endpoints"] == ["serve", "serve_raw", *NAMES]
    assert card["default"] == "left"
    assert card["outputs"]["right"]["shape"] == [4]
    asked = {(name, *inputs) for name, _, inputs in warmup.read(folder)}
    assert {("left", "left"), ("right", "right"), ("serving_default", "left")} <= asked


@pytest.mark.parametrize("name", NAMES)
def test_each_tower_alone_answers_as_the_model(exported, signatures, name):
    model, _, _, rows = exported
    wanted = model.predict(rows, verbose=0)[name]
    assert np.ptp(wanted, axis=0).min() > 1e-3  # rows differ: the test can fail
    raw = tf.constant(lines(rows)[name])
    got = signatures[name](**{name: raw})
    assert sorted(got) == ["embedding", f"{name}_status"]
    np.testing.assert_allclose(got["embedding"], wanted, atol=1e-5)
    absent = 1 - rows[f"{name}_present"]
    assert absent.sum() == 1 and not wanted[absent > 0].any()
    told = [b"absent" if x else b"read" for x in absent]
    assert got[f"{name}_status"].numpy().tolist() == told
    whole = signatures["serve_raw"](
        **{k: tf.constant(x) for k, x in lines(rows).items()}
    )
    np.testing.assert_allclose(whole[name], wanted, atol=1e-5)


def test_a_tower_has_its_limits(signatures):
    got = signatures["left"](left=tf.constant(["1," * 600, "1,2,3,4,5,6"]))
    told = got["left_status"].numpy()
    assert told[0].startswith(b"refused: it has 1200 bytes") and told[1] == b"read"
    embedding = got["embedding"].numpy()
    assert not embedding[0].any() and embedding[1].any()


def test_read_back(exported):
    model, folder, _, rows = exported
    loaded = mm.export.load(folder, trust=True)
    found = loaded.predict_on_batch(rows)
    wanted = model.predict(rows, verbose=0)
    np.testing.assert_allclose(found["right"], wanted["right"], atol=1e-5)


def test_tflite_whole_and_one_tower(exported, tmp_path):
    model, _, _, rows = exported
    report = mm.export.tflite(model, tmp_path / "pairs.tflite")
    assert sorted(report.max_differences) == NAMES
    mm.export.tflite(mm.tower(model, "left"), tmp_path / "left.tflite")
    alone = mm.export.load(tmp_path / "left.tflite")
    got = alone.predict_on_batch({"left": rows["left"][:2]})
    wanted = model.predict(rows, verbose=0)["left"][:2]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_names_that_are_endpoints(tmp_path):
    model = mm.two_tower({"features": paired.encoder(6), "right": paired.encoder(5)}, 4)
    with pytest.raises(ValueError, match="endpoint of its tower"):
        mm.export.saved_model(model, tmp_path / "1")
