"""`mmkeras export`: several forms, which rows are seen, and what a moved file knows."""

import json

import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.export import lite_file
from mmkeras.run import apply, export
from tests.export import everything

CLASSES = everything.CLASSES


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A trained folder whose table calls the title "words", and that table."""
    folder = tmp_path_factory.mktemp("shop")
    model = everything.model(names=("title", "facts"))
    model.save(folder / "model.keras")
    title = {"kind": "text", "encoder": "rnn", "column": "words"}
    facts = {"kind": "tabular", "encoder": "mlp", "column": ["years", "colour"]}
    recipe = {"label": "kind", "split": "part", "secret": 1}
    recipe["sources"] = {"title": title, "facts": facts}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    rows = [i % 7 for i in range(900)]
    frame = pandas.DataFrame({"words": [everything.TITLES[i] for i in rows]})
    frame["years"] = np.arange(900) / 10
    frame["colour"] = [everything.FACTS["colour"][i] for i in rows]
    frame["kind"] = np.repeat(CLASSES, 300)  # sorted by class
    frame["part"] = "test"
    frame.to_csv(folder / "table.csv", index=False)
    frame[::30].to_csv(folder / "few.csv", index=False)
    return folder


def call(shop, capsys, *more):
    status = cli.main(["export", str(shop / "model.keras"), *map(str, more)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_issues_own_command(shop, tmp_path, capsys):
    data = ["--data", shop / "table.csv", "--out", tmp_path / "out"]
    forms = ["--to", "saved_model,tflite", "--quantize", "int8"]
    status, out, err = call(shop, capsys, *forms, *data)
    assert status == 0, err
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == [
        "1",
        "model.int8.tflite",
        "model.int8.tflite.json",
        "model.int8.tflite.title.characters.txt",
        "model.int8.tflite.title.vocab.txt",
        "model_int8_tflite_tokenizer.py",
    ]
    assert out.index(str(tmp_path / "out/1")) < out.index("model.int8.tflite")
    assert "\n100 rows that were given: " in out
    assert out.count("\naccuracy ") == 2


def test_several_beside_the_model_and_one_that_fails(shop, capsys, monkeypatch):
    def fails(*_, **__):
        raise ValueError("no such luck")

    monkeypatch.setattr(mm.export, "onnx", fails)
    for _ in range(2):  # the names are ours: written over
        status, out, err = call(shop, capsys, "--to", "tflite, onnx,saved_model")
        assert status == 2 and "no such luck" in err
        assert str(shop / "model.tflite") in out and "operations: " in out
    assert not (shop / "1").exists()


def test_one_file_that_is_named_is_not_written_over(shop, tmp_path, capsys):
    (tmp_path / "a.tflite").write_text("mine")
    status, _, err = call(
        shop, capsys, "--to", "tflite", "--out", tmp_path / "a.tflite"
    )
    assert status == 2 and "not there yet" in err
    assert (tmp_path / "a.tflite").read_text() == "mine"


@pytest.mark.parametrize(
    "more, message",
    [
        (["--to", "tflite,coreml"], "one of ('saved_model', 'tflite', 'onnx'), or sev"),
        (["--to", "tflite,"], "with commas between. Received: 'tflite,'"),
        (["--to", "saved_model,onnx", "--quantize", "int8"], "add `--to tflite`"),
        (["--to", "onnx,tflite", "--quantize", "int8"], "add `--data TABLE`"),
        (["--to", "onnx,tflite", "--quantize", "int4"], "one of ('float16', 'dynamic'"),
        (["--to", "onnx,tflite", "--out", "a.tflite"], "wants a folder for several"),
    ],
)
def test_asked_wrongly(shop, capsys, more, message):
    before = sorted(shop.iterdir())
    status, out, err = call(shop, capsys, *more)
    assert (status, out) == (2, "") and message in err
    assert sorted(shop.iterdir()) == before


def test_rows_are_drawn_from_the_whole_table(shop, monkeypatch):
    seen = []

    def batches(*_, representative, **__):
        seen.append(list(representative))
        raise InterruptedError

    monkeypatch.setattr(mm.export, "tflite", batches)
    monkeypatch.setattr(mm.export, "onnx", batches)
    for form in ("tflite", "tflite", "onnx"):
        with pytest.raises(InterruptedError):
            list(export.export_model(shop, form=form, table=shop / "table.csv"))
    labels = [np.concatenate([y for _, y in x]) for x in seen]
    years = [np.concatenate([x["facts"][:, 0] for x, _ in x]) for x in seen]
    assert [len(x) for x in labels] == [300, 300, 100]
    np.testing.assert_array_equal(years[0], years[1])
    for y, at in zip(labels, years, strict=True):
        assert (np.diff(at) > 0).all()  # in the table's order
        assert np.bincount(y).min() > len(y) / 5
        wanted = np.searchsorted([30, 60], at + 0.01)  # a class is 300 rows, 30 years
        np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("form", ["tflite", "onnx", "saved_model"])
def test_a_moved_export_knows_its_columns(form, shop, tmp_path):
    place = tmp_path / ("1" if form == "saved_model" else f"moved.{form}")
    list(export.export_model(shop, str(place), form=form))
    trust = form == "saved_model"
    table = str(shop / "few.csv")
    wanted, got = (
        apply.predict(model, table, tmp_path / "out.csv", part="test", trust=trust)
        for model in (shop / "model.keras", place)
    )
    np.testing.assert_allclose(got[CLASSES], wanted[CLASSES], atol=1e-5)
    card = mm.export.read_card(place)
    assert card["recipe"] == {
        "label": "kind",
        "split": "part",
        "sources": {
            "title": {"column": "words"},
            "facts": {"column": ["years", "colour"]},
        },
    }
    report = apply.evaluate(place, table, part="test", trust=trust)  # knows the label
    assert report.rows == 30


def test_a_model_without_a_recipe(shop, tmp_path):
    (tmp_path / "model.keras").write_bytes((shop / "model.keras").read_bytes())
    list(export.export_model(tmp_path, form="tflite"))
    assert "recipe" not in mm.export.read_card(tmp_path / "model.tflite")
    assert lite_file.LiteFile((tmp_path / "model.tflite").read_bytes()).inputs
