"""`mmkeras compare` on a small table: its rows, its files, and that it goes on."""

import json

import numpy as np
import pandas
import pytest
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score

from mmkeras import cli
from mmkeras.run.comparing import classical, compare, store
from mmkeras.run.comparing.methods import methods
from mmkeras.run.comparing.table import Runs, comparison
from mmkeras.run.recipe import Recipe, Source


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The label is told by size and colour together."""
    rng = np.random.default_rng(0)
    rows = 80
    frame = pandas.DataFrame(
        {
            "width": rng.normal(size=rows).round(3),
            "height": rng.normal(size=rows).round(3),
            "colour": rng.choice(["red", "blue"], rows),
            "split": np.repeat(["train", "val", "test"], [40, 16, 24]),
        }
    )
    frame["kind"] = np.where((frame.width > 0) == (frame.colour == "red"), "a", "b")
    frame.loc[3, "colour"] = None
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame.to_csv(path, index=False)
    return path


def recipe(table, out, **changes):
    """One encoder that is frozen, as pretrained ones are, and one that trains."""
    shape = Source("tabular", "mlp", column=["width", "height"], options={"units": [6]})
    shape.freeze = True
    look = Source("tabular", "mlp", column=["colour"], options={"units": [4]})
    values = {"fusion_options": {"units": 8, "normalize": "length"}, "epochs": 2}
    values |= {"cache": "none", **changes}
    return Recipe(
        str(table), "kind", {"shape": shape, "look": look}, str(out), **values
    )


@pytest.fixture(scope="module")
def done(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("saved_models") / "compare"
    return compare.compare(recipe(table, out), ["concat"], seeds=2), out


def test_every_method_is_there(done):
    found, _ = done
    assert [x.name for x in found.rows] == [
        "classical features + logistic regression",
        "shape alone",
        "look alone",
        "logistic regression",
        "concat",
        "tuned late fusion",
    ]
    assert found.metrics == ("accuracy", "macro_f1")
    assert all(x.latency > 0 and x.parameters > 0 for x in found.rows)


def test_scores_are_those_of_the_kept_answers(done):
    found, out = done
    for x in found.rows:
        files = sorted((out / "answers").glob("*.npz"))
        word = x.name.replace(" + ", "_").replace(" ", "_")
        own = [np.load(f) for f in files if f.name[5:].startswith(f"{word}_")]
        assert len(own) == (1 if x.tier in ("classical", "linear") else 2)
        right = [accuracy_score(a["labels"], a["test"].argmax(1)) for a in own]
        f1 = [f1_score(a["labels"], a["test"].argmax(1), average="macro") for a in own]
        assert x.score == pytest.approx(100 * np.mean(right))
        assert x.scores["macro_f1"] == pytest.approx(100 * np.mean(f1))
        assert x.interval[0] <= x.score <= x.interval[1]


def test_the_files(done):
    found, out = done
    frame = pandas.read_csv(out / "compare.csv", index_col="method")
    assert list(frame.index) == [x.name for x in found.rows]
    assert frame.accuracy.iloc[1] == pytest.approx(found.rows[1].score)
    text = (out / "compare.md").read_text()
    assert text.startswith("Ship ") and "| concat |" in text
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert str(found).endswith(found.sentence)


def test_finished_runs_are_not_run_again(done, table, monkeypatch):
    found, out = done

    def never(*_):
        raise AssertionError("a fold was built")

    monkeypatch.setattr(compare, "Fold", never)
    again = compare.compare(recipe(table, out), ["concat"], seeds=2)
    assert str(again) == str(found)
    with pytest.raises(AssertionError, match="a fold was built"):
        compare.compare(recipe(table, out), ["concat"], seeds=3)


def test_a_run_that_was_cut_off_is_run_again_and_gives_the_same(done, table):
    _, out = done
    path = out / "runs.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    one = next(x for x in lines if b'"look alone", "seed": 1' in x)
    kept = store.Store(out, json.loads((out / "settings.json").read_text()))
    before = kept.answers(("look alone", 1, 0))
    other = kept.answers(("look alone", 0, 0))
    assert not np.allclose(before["test"], other["test"])
    path.write_bytes(b"".join(x for x in lines if x != one) + one[:20])
    compare.compare(recipe(table, out), ["concat"], seeds=2)
    kept = store.Store(out, json.loads((out / "settings.json").read_text()))
    after = kept.answers(("look alone", 1, 0))
    np.testing.assert_allclose(after["test"], before["test"], rtol=1e-4, atol=1e-5)
    assert len(path.read_bytes().splitlines()) == len(lines)


def test_control_c_tells_what_is_kept(done, table, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare._Job, "run", stop)
    with pytest.raises(KeyboardInterrupt, match="10 finished runs are kept"):
        compare.compare(recipe(table, done[1]), ["concat"], seeds=2)


def test_other_settings_are_refused(done, table):
    _, out = done
    with pytest.raises(ValueError, match="epochs=2, now 3"):
        compare.compare(recipe(table, out, epochs=3), ["concat"], seeds=2)


def test_an_unknown_fusion_lists_the_valid_ones(table, tmp_path, capsys):
    words = ["compare", str(table), "--tabular", "look=colour", "--label", "kind"]
    words += ["--fusion", "gatted", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "Unknown fusion 'gatted'" in said and "'low_rank'" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes, message",
    [({"seeds": 0}, "`seeds` wants 1"), ({"folds": 2}, "`folds` wants 3 or more")],
)
def test_wrong_numbers(table, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        compare.compare(recipe(table, tmp_path), **changes)


def test_folds_test_each_row_once_and_keep_groups(tmp_path):
    frame = pandas.DataFrame(
        {
            "title": ["x"] * 60,
            "label": ["a", "b"] * 30,
            "who": np.repeat(np.arange(20), 3),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    source = {"title": Source("text", "embedding_mean")}
    made = Recipe(str(tmp_path / "t.csv"), "label", source, group="who")
    splits = compare._splits(made, 5)
    tested = pandas.concat([x["test"] for x in splits])
    assert sorted(tested.index) == list(range(60))
    for parts in splits:
        who = [set(x.who) for x in parts.values()]
        assert sum(map(len, parts.values())) == 60
        assert not (who[0] & who[1] or who[0] & who[2] or who[1] & who[2])


def test_the_table_over_folds_is_the_corrected_test():
    """Accuracies 3/4 against 1/4, 2/4, 3/4 in three folds."""
    labels = [np.zeros(4, int)] * 3
    simple, _, _, fused = methods(["a", "b"], ["concat"])[:4]
    fused = fused._replace(tier="concat", name="concat")
    answers = [[_right(x)] for x in (1, 2, 3)]
    runs = [
        Runs(simple, answers, 1.0, 10, None),
        Runs(fused, [[_right(3)]] * 3, 1.0, 20, None),
    ]
    found = comparison(runs, labels, (8, 4), "single")
    own = found.rows[1]
    assert (own.score, own.against.mean) == (75.0, 25.0)
    error = np.sqrt((1 / 3 + 4 / 8) * np.var([50.0, 25.0, 0.0], ddof=1))
    assert own.p == pytest.approx(2 * stats.t.sf(25 / error, 2))
    assert own.against.high == pytest.approx(25 + stats.t.ppf(0.975, 2) * error)
    assert "Nadeau" in str(found)


def test_test_rows_of_one_class_are_ranked_by_what_has_a_score():
    labels = np.array([[1, 0]] * 6)  # no area under the curve
    good, bad = np.where(labels, 1.0, -1.0), np.full((6, 2), -1.0)
    first, *_ = methods(["a"], [], "multilabel")
    second = first._replace(name="better")
    runs = [Runs(first, [[bad]], 1.0, 1, None), Runs(second, [[good]], 1.0, 1, None)]
    found = comparison(runs, [labels], (6, 6), "multi")
    assert found.metrics == ("macro_f1", "auc_roc") and found.baseline == "better"
    assert all(np.isfinite(x.interval).all() for x in found.rows)


def _right(count):
    """Logits of four rows of class 0, of which so many are right."""
    return np.eye(2)[[0] * count + [1] * (4 - count)]


def test_words_and_their_pairs_are_scikit_learns():
    class Text:
        kind, cell, columns = "text", "value", ()

    train = pandas.DataFrame({"title": ["a red fox", "a blue fox", None, "red"]})
    made = classical.Classical({"title": Text()}, {"title": "title"}).fit(train)
    x, there = made.blocks(train)["title"]
    cells = train.title.fillna("")
    wanted = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    ).fit_transform(cells)
    np.testing.assert_allclose(x, wanted.toarray())
    assert list(there) == [1, 1, 0, 1]
