"""The command line on models of several tasks and on towers."""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.export.exported import decoded
from mmkeras.run import apply
from mmkeras.run.opened import scored
from tests import paired, tiny


def lines(rows, name):
    there = rows[f"{name}_present"] > 0
    texts = (",".join(map(str, x)) for x in rows[name])
    return [x if y else None for x, y in zip(texts, there, strict=True)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """`(model, folder, rows)`: a model of two tasks, its file and its table."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("shop")
    tasks = {"kind": mm.heads.classification(3), "size": mm.heads.regression()}
    head = mm.heads.several(tasks, absent_labels=True)
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}
    model = mm.multimodal(encoders, mm.fusion.GatedFusion(8), head.layer)
    model.save(folder / "model.keras")
    rows, labels = tiny.rows(12)
    table = pandas.DataFrame({x: lines(rows, x) for x in encoders})
    table["sort"] = labels.astype("float64")
    table.loc[3, "sort"] = np.nan
    table["cost"] = np.arange(12.0)
    table.to_csv(folder / "table.csv", index=False)
    return model, folder, rows


def test_predictions_of_each_task(shop, capsys):
    model, folder, rows = shop
    arguments = [str(folder / "model.keras"), str(folder / "table.csv")]
    assert cli.main(["predict", *arguments, "--out", str(folder / "out.csv")]) == 0
    got = pandas.read_csv(folder / "out.csv")
    wanted = model.predict(rows, verbose=0)
    odds = np.exp(wanted["kind"].astype("float64"))
    odds /= odds.sum(1, keepdims=True)
    np.testing.assert_allclose(got[[f"kind_{i}" for i in range(3)]], odds, atol=1e-5)
    assert got.kind_class.tolist() == odds.argmax(1).tolist()
    np.testing.assert_allclose(got[["size_0"]], wanted["size"], atol=1e-5)


def test_one_task_is_scored_on_the_rows_that_have_its_label(shop):
    model, folder, rows = shop
    _, labels = tiny.rows(12)
    there = np.arange(12) != 3
    hits = model.predict(rows, verbose=0)["kind"].argmax(1) == labels
    path, table = folder / "model.keras", str(folder / "table.csv")
    report = apply.evaluate(path, table, label="kind=sort")
    assert report.rows == 11
    assert report.score(["left", "right"]) == pytest.approx(hits[there].mean())
    mm.export.tflite(model, folder / "model.tflite")
    again = apply.evaluate(folder / "model.tflite", table, label="kind=sort")
    assert again.rows == 11 and again.metrics == report.metrics
    for subset, scores in report.table.items():
        assert again.table[subset] == pytest.approx(scores, rel=1e-5)


def test_tasks_may_be_called_as_modalities_are(tmp_path):
    tasks = {"left": mm.heads.classification(3), "right": mm.heads.regression()}
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}
    model = mm.multimodal(encoders, mm.fusion.Concat(), mm.heads.several(tasks).layer)
    inputs, labels = tiny.rows(12)
    rows = pandas.DataFrame({"a=b": labels})
    whole, column, same = scored(model, "left=a=b", rows)
    assert column == "a=b" and same.equals(rows)
    np.testing.assert_allclose(whole(inputs), model(inputs)["left"])


def test_a_label_that_no_row_has(shop):
    model, _, _ = shop
    with pytest.raises(ValueError, match="Column 'sort' has no label in any row"):
        scored(model, "kind=sort", pandas.DataFrame({"sort": [None, np.nan]}))


@pytest.mark.slow
def test_a_page_on_one_task(shop, tmp_path):
    _, folder, _ = shop
    arguments = [str(folder / "model.keras"), str(folder / "table.csv")]
    arguments += ["--out", str(tmp_path), "--bootstrap", "0", "--robustness-rows", "0"]
    assert cli.main(["report", *arguments, "--label", "kind=sort"]) == 0
    page = (tmp_path / "report.html").read_text("utf8")
    assert "11 rows" in page and "could not be made" not in page


@pytest.mark.parametrize("label", ["", "sort", "price=sort", "kind="])
def test_a_label_wants_an_output(shop, capsys, label):
    _, folder, _ = shop
    arguments = [str(folder / "model.keras"), str(folder / "table.csv")]
    for command in (["evaluate"], ["report", "--out", str(folder / "page")]):
        given = ["--label", label] if label else []
        assert cli.main([*command, *arguments, *given]) == 2
        error = capsys.readouterr().err
        assert "OUTPUT=COLUMN" in error and "Traceback" not in error
        assert not label or "Valid names: ['kind', 'size']" in error


def test_towers_are_embedded_and_not_scored(tmp_path, capsys):
    model, rows = mm.two_tower(paired.encoders(), 4), paired.rows(5)
    rows["left_present"][2] = 0
    model.save(tmp_path / "model.keras")
    table = pandas.DataFrame({x: lines(rows, x) for x in paired.WIDTHS})
    table.to_csv(tmp_path / "table.csv", index=False)
    arguments = [str(tmp_path), str(tmp_path / "table.csv")]
    assert cli.main(["predict", *arguments, "--out", str(tmp_path / "out.csv")]) == 0
    got = pandas.read_csv(tmp_path / "out.csv")
    wanted = model(rows)
    for name in paired.WIDTHS:
        columns = [f"{name}_output_{i}" for i in range(4)]
        np.testing.assert_allclose(got[columns], wanted[name], atol=1e-5)
    assert not got[columns].iloc[2].isna().any()
    assert cli.main(["evaluate", *arguments, "--label", "kind"]) == 2
    assert "`mmkeras.analysis.retrieval(model, rows)`" in capsys.readouterr().err


def test_maps_are_no_columns():
    with pytest.raises(ValueError, match=r"want vectors.*maps.*\(4, 4, 1\)"):
        decoded({"outputs": np.zeros((2, 4, 4, 1))}, {"outputs": None})
