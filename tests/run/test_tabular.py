"""`--tabular`: numbers and categories beside a text, from the table to the export."""

import contextlib
import io
import json
import re

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli
from mmkeras.model import encoders
from mmkeras.run import build, facts, flags
from mmkeras.run.progress import Progress
from mmkeras.run.recipe import Source, apply_option, from_toml, from_values
from mmkeras.run.train import train

COLOURS = ("red", "green", "blue, pale")


def frame(rows=120, seed=0):
    """The label is told by price and zip together; the title says nothing."""
    rng = np.random.default_rng(seed)
    dear = rng.random(rows) < 0.3
    table = pandas.DataFrame(
        {
            "title": rng.choice(["a thing", "an old thing", "thing"], rows),
            "price": np.where(dear, 90.0, 10.0) + rng.normal(0, 2, rows).round(2),
            "zip": rng.choice([10115, 80331], rows),
            "colour": rng.choice(COLOURS, rows),
            "kind": np.where(dear, "dear", "cheap"),
            "split": np.repeat(["train", "val", "test"], [rows - 48, 24, 24]),
        }
    )
    table.loc[3, "price"] = None
    table.loc[[3, 5], "colour"] = None
    table.loc[3, "zip"] = None
    return table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The command's folder, and what it said."""
    folder = tmp_path_factory.mktemp("shop")
    frame().to_csv(folder / "table.csv", index=False)
    words = ["--text", "title=embedding_mean", "--tabular", "facts=colour,price,zip"]
    options = ["facts.categorical=zip", "facts.units=[8, 4]", "title.length=4"]
    options += ["fusion.units=8"]
    words += [x for option in options for x in ("--option", option)]
    words += ["--label", "kind", "--class-weight", "balanced", "--no-export"]
    words += ["--cache", "none"]
    words += ["--epochs", "12", "--learning-rate", "0.02", "--out", f"{folder}/out"]
    arguments = cli.parser().parse_args(["train", f"{folder}/table.csv", *words])
    said = io.StringIO()
    recipe = flags.recipe_of(arguments)
    result = train(recipe, Progress(stream=said), "mmkeras train ...")
    return folder, result, said.getvalue()


def test_kinds_are_told_before_training(trained):
    _, _, said = trained
    line = "facts: price number, zip category (2 values), colour category (3 values)"
    assert line in said
    assert said.index(line) < said.index("Training ")


def test_statistics_are_those_of_the_training_rows(trained):
    folder, result, _ = trained
    rows = pandas.read_csv(folder / "table.csv").query("split == 'train'")
    contract = mm.readers(result.model)["facts"]
    wanted = (rows.price.mean(), rows.price.std(ddof=0))
    np.testing.assert_allclose(contract.numeric["price"], wanted)
    assert contract.categorical["colour"] == tuple(sorted(COLOURS))
    assert contract.categorical["zip"] == ("10115", "80331")


def test_every_subset_is_scored_and_the_columns_tell_the_label(trained):
    _, result, _ = trained
    assert result.report.score(["facts"], metric="accuracy") == 1.0
    assert result.report.score(["title"], metric="accuracy") < 0.9


def test_the_card_has_columns_kinds_and_a_line(trained):
    folder, _, _ = trained
    card = (folder / "out/card.md").read_text()
    assert "`facts` (tabular, mlp)" in card
    assert "facts.colour missing | facts.price missing | facts.zip missing" in card
    assert "| train | 72 | 0 | 2 | 1 | 1 |" in card
    assert "- colour: category, 3 values: blue, pale, green, red" in card
    assert "takes a line of CSV, `price,zip,colour`" in card
    kept = json.loads((folder / "out/recipe.json").read_text())["sources"]["facts"]
    assert kept["column"] == ["colour", "price", "zip"] and kept["encoder"] == "mlp"


def test_evaluate_gives_the_report(trained, capsys):
    folder, result, _ = trained
    words = [f"{folder}/out", f"{folder}/table.csv", "--part", "test"]
    assert cli.main(["evaluate", *words, "--bootstrap", "0"]) == 0
    assert capsys.readouterr().out.startswith(str(result.report).strip())


def predicted(folder, model, table, capsys, *more):
    out = folder / "predictions.csv"
    words = [str(model), str(table), "--out", str(out), *more]
    assert cli.main(["predict", *words]) == 0, capsys.readouterr().err
    return pandas.read_csv(out)


def new_table(folder):
    """Other rows in another order, an unknown colour, no label; missing cells."""
    rows = frame(60, seed=1).drop(columns=["kind", "split"])[::-1]
    rows.loc[7, "colour"] = "violet"
    rows.to_csv(folder / "new.csv", index=False)
    return rows


def test_predictions_for_a_new_table(trained, capsys):
    folder, _, _ = trained
    rows = new_table(folder)
    mine = predicted(folder, folder / "out", folder / "new.csv", capsys)
    there = rows.price.notna().to_numpy()
    wanted = np.where(rows.price > 50, "dear", "cheap")
    assert list(mine["class"][there]) == list(wanted[there])


@pytest.mark.slow
def test_exports_give_the_same(trained, capsys):
    """The SavedModel from the table and from raw lines, and the TFLite file."""
    import tensorflow as tf

    folder, result, _ = trained
    rows = new_table(folder)
    table, names = folder / "new.csv", ["cheap", "dear"]
    mine = predicted(folder, folder / "out", table, capsys)[names]
    out = f"{folder}/out"
    assert cli.main(["export", out]) == 0
    assert cli.main(["export", out, "--to", "tflite"]) == 0
    saved = predicted(folder, folder / "out/1", table, capsys, "--trust")
    np.testing.assert_allclose(saved[names], mine, atol=1e-5)
    file = predicted(folder, folder / "out/model.tflite", table, capsys)
    np.testing.assert_allclose(file[names], mine, atol=1e-4)

    contract = mm.readers(result.model)["facts"]
    cells = rows[list(contract.columns)].astype(object)
    lines = [contract.line(list(x)) for x in cells.itertuples(index=False)]
    assert "" in lines  # row 3 has no cell
    served = tf.saved_model.load(f"{out}/1").signatures["serving_default"]
    raw = served(facts=tf.constant(lines), title=tf.constant(list(rows.title)))
    np.testing.assert_allclose(raw["scores"].numpy(), mine, atol=1e-5)


class Stop(Progress):
    """Stands for a kill after the first epoch."""

    @contextlib.contextmanager
    def epochs(self, total):
        def end(epoch, logs):
            raise InterruptedError

        yield keras.callbacks.LambdaCallback(on_epoch_end=end)


@pytest.mark.slow
def test_beside_cached_features_a_stopped_run_goes_on(trained, tmp_path):
    """The frozen text lies in the cache; the columns' network trains with the head."""
    folder, _, _ = trained

    def run(name, progress=None, resume=False):
        keras.utils.clear_session()  # a process of its own names layers from 1 on
        title = Source("text", "embedding_mean", freeze=True, options={"length": 4})
        facts = Source("tabular", "mlp", column=["price", "colour"])
        values = {"table": f"{folder}/table.csv", "label": "kind", "export": False}
        values |= {"epochs": 2, "cache": f"{tmp_path}/cache"}
        values |= {"out": f"{tmp_path}/{name}", "precision": "mixed_bfloat16"}
        made = from_values(values, {"title": title, "facts": facts})
        return train(made, progress, resume=resume)

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("again", Stop(quiet=True))
    assert run("again", resume=True).history == whole.history
    assert not encoders(whole.model)["title"].trainable_weights
    assert encoders(whole.model)["facts"].trainable_weights


def with_bad_prices(folder, out, policy):
    """A recipe of a table where a price of the train and one of the test is a word."""
    rows = pandas.read_csv(folder / "table.csv", dtype=str)
    rows.loc[4, "price"] = "ask"
    rows.loc[100, "price"] = "call"
    rows.to_csv(out / "bad.csv", index=False)
    source = Source("tabular", "mlp", column="price,colour")
    source.options = {"numeric": "price", "units": 4}
    values = {"table": f"{out}/bad.csv", "label": "kind", "export": False}
    values |= {"epochs": 1, "on_bad_row": policy, "out": f"{out}/{policy}"}
    return from_values(values, {"facts": source})


def test_an_unreadable_number_is_named(trained, tmp_path):
    made = with_bad_prices(trained[0], tmp_path, "raise")
    with pytest.raises(ValueError, match="row 4, column 'price': 'ask' is no number"):
        train(made)
    made = with_bad_prices(trained[0], tmp_path, "absent")
    rows = pandas.read_csv(tmp_path / "bad.csv")[:72]
    network = build.encoder("facts", made.sources["facts"], (), rows, "absent")
    mean, _ = mm.readers({"facts": network})["facts"].numeric["price"]
    good = rows.price.drop(4).astype(float)
    assert mean == pytest.approx(good.mean())


@pytest.mark.slow
def test_unreadable_numbers_are_missing_on_request(trained, tmp_path):
    result = train(with_bad_prices(trained[0], tmp_path, "absent"))
    assert [x.index for x in result.bad_rows] == [4, 100]
    assert "2 cells could not be read" in (result.folder / "card.md").read_text()


def encoder(rows, columns, **options):
    source = Source("tabular", "mlp", column=columns, options=options)
    return source, build.encoder("facts", source, rows=rows)


def test_a_column_of_numbers_with_a_word_is_hinted_at():
    rows = pandas.DataFrame({"price": ["1.5", "2", "n/a"]})
    source, network = encoder(rows, ["price"])
    said = facts.told("facts", source, mm.readers({"facts": network})["facts"])
    assert "price category (3 values, most are numbers: --option facts.num" in said
    many = pandas.DataFrame({"price": ["n/a", *map(str, range(200))]})
    with pytest.raises(ValueError, match="'facts'.*201.*--option facts.categorical"):
        encoder(many, ["price"])


@pytest.mark.parametrize(
    "options, encoder_name, weights, message",
    [
        ({"unit": 3}, "mlp", None, "'mlp' of 'facts' does not take.*'unit'"),
        ({}, "mpl", None, r"Unknown tabular encoder 'mpl'.*\['mlp'\]"),
        ({}, "mlp", "folder", "no pretrained weights"),
    ],
)
def test_wrong_encoders(options, encoder_name, weights, message):
    source = Source("tabular", encoder_name, weights, ["price"], options=options)
    with pytest.raises(ValueError, match=message):
        build.encoder("facts", source, rows=pandas.DataFrame({"price": [1, 2]}))


def test_flags_and_toml_are_the_same(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'table = "t.csv"\nlabel = "kind"\n[tabular.facts]\n'
        'columns = ["price", "zip"]\ncategorical = ["zip"]\nunits = [8, 4]\n'
    )
    words = ["--tabular", "facts=price, zip", "--label", "kind"]
    words += ["--option", "facts.categorical=zip", "--option", "facts.units=[8, 4]"]
    recipe = flags.recipe_of(cli.parser().parse_args(["train", "t.csv", *words]))
    assert from_toml(path).sources == recipe.sources
    apply_option(recipe, "facts.columns=price")
    assert recipe.sources["facts"].column == "price"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--tabular", "facts"], "wants NAME=COLUMN,COLUMN"),
        (["--tabular", "facts=price,,zip"], "wants different columns"),
        (["--tabular", "facts=price,price"], "wants different columns"),
        (["--tabular", "facts=price,kind"], "Column 'kind' is the `label`"),
        (["--tabular", "facts=price,split"], "Column 'split' is the `split`"),
        (["--tabular", "facts=shop", "--group", "shop"], "'shop' is the `group`"),
        (
            ["--tabular", "facts=price", "--option", "facts.columns=price,kind"],
            "Column 'kind' is the `label`",
        ),
        (
            ["--tabular", "facts=price", "--option", "facts.categorical=zip"],
            r"`categorical` of 'facts' names \['zip'\]",
        ),
        (["--tabular", "facts=price,cost"], r"has no column \['cost'\]"),
    ],
)
def test_mistakes(trained, capsys, words, message):
    folder, _, _ = trained
    words = ["train", f"{folder}/table.csv", "--label", "kind", *words]
    assert cli.main(words) == 2
    assert re.search(message, capsys.readouterr().err)
