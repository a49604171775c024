"""`mmkeras predict` and `evaluate` say the same of a `.keras` file and its exports."""

import json

import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.export import exported, lite_file
from mmkeras.run import apply, opened
from tests.export import everything


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model and a folder with model.keras, a TFLite file and a table."""
    folder = tmp_path_factory.mktemp("shop")
    model = everything.model()
    mm.heads.output_contract(model).temperature = 2.5
    everything.table(folder)
    model.save(folder / "model.keras")
    mm.export.tflite(model, folder / "one.tflite")
    return model, folder


@pytest.fixture(scope="module")
def versions(shop):
    """Version 3, which is broken, and version 10 of the same model."""
    model, folder = shop
    mm.export.saved_model(model, folder / "versions/10")
    (folder / "versions/3").mkdir()
    (folder / "versions/3/saved_model.pb").write_bytes(b"an older one")
    return folder / "versions"


def predicted(folder, model, capsys, *more):
    out = folder / "out.csv"
    arguments = [str(folder / model), str(folder / "table.csv"), "--out", str(out)]
    assert cli.main(["predict", *arguments, *more]) == 0, capsys.readouterr().err
    # a half-written file would be beside it
    assert [x.name for x in folder.glob("*out.csv*")] == ["out.csv"]
    return pandas.read_csv(out)


@pytest.fixture(scope="module")
def wanted(shop):
    """Softmax of logits / 2.5 on the rows, by class, without `mmkeras predict`."""
    model, folder = shop
    rows = mm.data.from_table(folder / "table.csv", model, batch_size=7)
    logits = model.predict(next(iter(rows)), verbose=0).astype("float64")
    odds = np.exp(logits / 2.5)
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "model, more",
    [
        ("model.keras", ["--batch-size", "3"]),
        ("one.tflite", ["--batch-size", "5"]),
    ],
)
def test_same_columns_and_numbers(shop, wanted, capsys, model, more):
    _, folder = shop
    got = predicted(folder, model, capsys, *more)
    given = pandas.read_csv(folder / "table.csv")
    assert list(got.columns) == [*given.columns, "class", *everything.CLASSES]
    pandas.testing.assert_frame_equal(got[given.columns], given)
    np.testing.assert_allclose(got[everything.CLASSES], wanted, atol=1e-5)
    names = [everything.CLASSES[i] for i in wanted.argmax(1)]
    assert list(got["class"]) == names and len(set(names)) > 1


@pytest.mark.slow
def test_saved_model(shop, versions, wanted, capsys):
    """The newest version, fed with what its own raw endpoint cannot read: OGG."""
    model, folder = shop
    table = str(folder / "table.csv")
    assert cli.main(["predict", str(versions), table]) == 2
    error = capsys.readouterr().err
    assert "a program" in error and "--trust" in error and "Traceback" not in error
    test_same_columns_and_numbers(
        shop, wanted, capsys, "versions", ["--batch-size", "3", "--trust"]
    )
    assert_same_contracts(mm.export.load(versions, trust=True), model)


@pytest.fixture(scope="module")
def labelled(shop):
    """The table with a label of every class."""
    _, folder = shop
    table = pandas.read_csv(folder / "table.csv")
    table["label"] = [everything.CLASSES[i % 3] for i in range(len(table))]
    table.to_csv(folder / "labelled.csv", index=False)
    return folder / "labelled.csv"


@pytest.fixture(scope="module")
def report(shop, labelled):
    return apply.evaluate(shop[1] / "model.keras", str(labelled), label="label")


def assert_same_report(got, report, classes):
    assert (got.modalities, got.classes) == (report.modalities, tuple(classes))
    assert set(got.table) == set(report.table) and len(got.table) == 16
    for subset, scores in report.table.items():
        if subset != report.modalities:  # rows that are alike but for the last bit
            scores = {**scores, "auc_roc": got.table[subset]["auc_roc"]}
        assert got.table[subset] == pytest.approx(scores, rel=1e-6), subset
    assert (got.present, got.rows) == (report.present, report.rows)
    np.testing.assert_array_equal(got.confusion, report.confusion)
    assert got.calibration.nll == pytest.approx(report.calibration.nll, rel=1e-4)


def test_evaluate(shop, labelled, report, wanted):
    _, folder = shop
    file = folder / "one.tflite"
    got = apply.evaluate(file, str(labelled), label="label", batch_size=5)
    assert_same_report(got, report, everything.CLASSES)
    whole = got.score(got.modalities, "accuracy")
    assert whole == np.mean(wanted.argmax(1) == np.arange(len(wanted)) % 3)
    assert len({x["auc_roc"] for x in got.table.values()}) > 8


@pytest.mark.slow
def test_evaluate_saved_model(shop, versions, labelled, report, capsys):
    got = apply.evaluate(versions, str(labelled), label="label", trust=True)
    assert_same_report(got, report, everything.CLASSES)
    arguments = [str(versions), str(labelled), "--label", "label", "--bootstrap", "50"]
    assert cli.main(["evaluate", *arguments]) == 2
    assert "--trust" in capsys.readouterr().err
    assert cli.main(["evaluate", *arguments, "--trust"]) == 0
    assert "facts + photo + sound + title" in capsys.readouterr().out


def test_evaluate_wants_the_export_of_a_multimodal_model():
    class Encoder:
        contracts = {"photo": None}
        inputs = ["photo"]

        def head_of(self, key=None):
            return None, 3

    with pytest.raises(ValueError, match="multimodal model.*'photo_present'"):
        opened.Uncut(Encoder())


def test_head_of_one_of_several(shop):
    _, folder = shop
    one = mm.export.load(folder / "one.tflite")
    head, width = one.head_of()
    assert (head.classes, head.temperature, width) == (everything.CLASSES, 2.5, 3)
    one.card["outputs"]["other"] = {"classes": None, "shape": [2]}
    assert one.head_of("other") == (None, 2)
    with pytest.raises(ValueError, match="name of one. Received: None. .*'other', 'ou"):
        one.head_of()


def test_without_litert(shop, wanted, monkeypatch):
    """TensorFlow's own interpreter, where ai-edge-litert is not installed."""
    import sys

    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    _, folder = shop
    model = mm.export.load(folder / "one.tflite")
    rows = mm.data.from_table(folder / "table.csv", model.contracts, batch_size=7)
    rows = model.decode(model.predict_on_batch(next(iter(rows))))
    got = [[row[name] for name in everything.CLASSES] for row in rows]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_no_export(shop, tmp_path, capsys):
    _, folder = shop
    for path in ("table.csv", "versions/nothing", "nothing.tflite"):
        with pytest.raises(ValueError, match="the folder above its versions"):
            mm.export.load(folder / path)
    (tmp_path / "a.tflite").write_bytes((folder / "one.tflite").read_bytes())
    with pytest.raises(ValueError, match="lacks a.tflite.json beside it"):
        mm.export.load(tmp_path / "a.tflite")


def test_a_card_cannot_name_code(shop, tmp_path):
    """A contract's class is one that is registered and reads a modality."""
    _, folder = shop
    for file in folder.glob("one.tflite*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = json.loads((tmp_path / "one.tflite.json").read_text("utf-8"))
    for layer in ("builtins>eval", "os.system", "mmkeras>Prediction", "Custom>None"):
        card["contracts"]["title"]["layer"] = layer
        (tmp_path / "one.tflite.json").write_text(json.dumps(card), "utf-8")
        with pytest.raises(ValueError, match="not known here"):
            mm.export.load(tmp_path / "one.tflite")
    card["contracts"]["title"]["layer"] = layer = "mmkeras>TokenIds"
    for name in ("../secret.txt", str(tmp_path / "secret.txt"), "..", 3):
        card["contracts"]["title"]["vocabulary"] = name
        (tmp_path / "one.tflite.json").write_text(json.dumps(card), "utf-8")
        with pytest.raises(ValueError, match="the name of a file beside it"):
            mm.export.load(tmp_path / "one.tflite")
    del card["contracts"]
    (tmp_path / "one.tflite.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(ValueError, match="Export the model again"):
        mm.export.load(tmp_path / "one.tflite")


def test_contracts_come_back_as_they_were(shop):
    model, folder = shop
    assert_same_contracts(mm.export.load(folder / "one.tflite"), model)


def assert_same_contracts(exported, model):
    assert set(exported.contracts) == set(mm.readers(model))
    for name, contract in mm.readers(model).items():
        config = exported.contracts[name].get_config()
        for key in ("name", "dtype"):
            del config[key]
        assert config.items() <= contract.get_config().items()


@pytest.mark.parametrize("count", [1, 5, 6, 13])
def test_rows_are_filled_up_to_a_files_batch(count):
    class Fives(lite_file.GraphFile):
        inputs = {"x": ((5, -1), "float32")}

        def _serve(self, tensors):
            assert tensors["x"].shape == (5, 2)
            return {"outputs": 2 * tensors["x"]}

    x = np.arange(2 * count).reshape(count, 2)
    np.testing.assert_array_equal(Fives()({"x": x})["outputs"], 2 * x)


@pytest.mark.parametrize("size", [1, 2, -1])
def test_rows_that_are_not_as_many(size):
    class Two(lite_file.GraphFile):
        inputs = {"a": ((size, 2), "float32"), "b": ((size,), "float32")}

        def _serve(self, tensors):
            raise AssertionError("asked")

    x = np.ones((3, 2))
    for a, b in ((x[:2], x[:, 0]), (x, x[:2, 0]), (x, np.float32(1))):
        with pytest.raises(ValueError, match="as many rows of each .*'a': .*'b'"):
            Two()({"a": a, "b": b})
    if size > 0:
        with pytest.raises(ValueError, match="one or more.*'a': 0"):
            Two()({"a": x[:0], "b": x[:0, 0]})


def test_the_newest_version_is_found(tmp_path):
    for version in ("3", "10", "9", "word"):
        (tmp_path / "a" / version).mkdir(parents=True)
        (tmp_path / "a" / version / "saved_model.pb").touch()
    (tmp_path / "a/11").mkdir()  # being written
    assert exported.find(tmp_path / "a") == tmp_path / "a/10"
    assert exported.find(tmp_path / "a/3") == tmp_path / "a/3"
    assert exported.find(tmp_path) is None


def test_a_saved_model_wants_trust(tmp_path):
    (tmp_path / "1/assets.extra").mkdir(parents=True)
    (tmp_path / "1/saved_model.pb").touch()
    card = {"modalities": {}, "outputs": {}}
    (tmp_path / "1/assets.extra/mmkeras.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="a program .* `trust=True`"):
        mm.export.load(tmp_path / "1")


def test_decoding_of_several_heads_and_of_none():
    named = {"mood": mm.heads.Outputs(["sad", "glad"]), "price": None}
    outputs = {"mood": np.array([[0.0, 0.0]]), "price": np.array([[3.5]])}
    assert exported.decoded(outputs, named) == [
        {
            "mood_class": "sad",
            "mood_sad": 0.5,
            "mood_glad": 0.5,
            "price_output_0": 3.5,
        }
    ]


def test_thresholds_of_a_card():
    named = {"outputs": mm.heads.Outputs(["wet", "cold", "dark"], "multi")}
    outputs = {"outputs": np.log([[0.4 / 0.6, 0.4 / 0.6, 0.9 / 0.1]])}
    (row,) = exported.decoded(outputs, named, {"outputs": [0.5, 0.3, 0.95]})
    assert row["class"] == "cold"
    (row,) = exported.decoded(outputs, named)
    assert row["class"] == "dark"
