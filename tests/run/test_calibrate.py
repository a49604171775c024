"""`mmkeras train --calibrate` on a small table whose label is partly chance."""

import io

import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.run import flags, train
from mmkeras.run.progress import Progress
from mmkeras.run.recipe import Source, from_values
from tests import tiny


def table(folder, rows=150):
    """The price tells the kind, 4 times in 5."""
    rng = np.random.default_rng(0)
    dear = rng.random(rows) < 0.5
    price = np.where(dear, 90.0, 10.0) + rng.normal(0, 2, rows).round(2)
    said = dear ^ (np.arange(rows) % 5 == 0)
    kinds = np.where(said, "dear", "cheap")
    split = np.repeat(["train", "val", "test"], [rows - 100, 50, 50])
    frame = pandas.DataFrame({"price": price, "kind": kinds, "split": split})
    frame.to_csv(folder / "table.csv", index=False)
    return str(folder / "table.csv")


def test_model_and_card_have_the_temperature(tmp_path):
    out = tmp_path / "out"
    words = ["--tabular", "facts=price", "--label", "kind", "--out", str(out)]
    words += ["--calibrate", "--no-export", "--cache", "none", "--epochs", "6"]
    words += ["--learning-rate", "0.1", "--keep", "last", "--patience", "0"]
    arguments = cli.parser().parse_args(["train", table(tmp_path), *words])
    recipe, said = flags.recipe_of(arguments), io.StringIO()
    assert recipe.calibrate and recipe.to_dict()["calibrate"]
    result = train.train(recipe, Progress(stream=said))
    fitted = result.temperature
    model = mm.load_model(out / "model.keras")
    assert mm.heads.output_contract(model).temperature == fitted.temperature
    assert fitted.temperature != 1.0 and fitted.after.nll < fitted.before.nll
    assert str(fitted) in said.getvalue()
    found = result.report.calibration
    assert found.temperature == fitted.temperature and found.rows == 50
    card = (out / "card.md").read_text()
    assert f"- {fitted} (val)\n- {found} (test)" in card
    assert (out / "reliability.png").is_file()


def test_a_training_is_not_lost_where_there_is_no_temperature():
    class Rows:
        def stream(self, part):
            inputs, labels = tiny.rows(8)
            return inputs, 0 * labels

    model, said = tiny.model(), io.StringIO()
    assert train._calibrate(model, Rows(), Progress(stream=said)) is None
    assert "No temperature: A temperature wants labels of two" in said.getvalue()


def test_numbers_are_refused_at_once():
    values = {"table": "t.csv", "label": "price", "calibrate": True}
    sources = {"facts": Source("tabular", "mlp", column=["size"])}
    assert from_values(values, sources).calibrate
    with pytest.raises(ValueError, match="`calibrate` is for probabilities"):
        from_values({**values, "task": "regression"}, sources)
