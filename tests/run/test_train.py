"""The training job on small files: what it writes, and that it can be used again."""

import contextlib
import io
import json
import re

import keras
import numpy as np
import pandas
import pytest

from mmkeras import cli, load_model
from mmkeras import data as data_module
from mmkeras.run import build, demo, demo_data
from mmkeras.run.progress import Progress
from mmkeras.run.recipe import Source
from mmkeras.run.train import assemble, classes, split, train

ROWS = {"train": 64, "val": 24, "test": 32}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return demo_data.write(tmp_path_factory.mktemp("data"), ROWS, seed=1)


def recipe(place, out, **changes):
    made = demo.recipe_of(place, out)
    made.epochs = 2
    for key, value in changes.items():
        setattr(made, key, value)
    return made


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("saved_models") / "scenes"
    return train(recipe(table, out), command="mmkeras train ...")


def test_the_folder_holds_everything(trained):
    names = {x.name for x in trained.folder.iterdir()}
    assert names == {
        "model.keras",
        "1",
        "card.md",
        "report.csv",
        "history.csv",
        "recipe.json",
        "learning_curves.png",
        "subset_scores.png",
        "confusion_matrix.png",
    }


def test_the_card_tells_data_scores_and_versions(trained, table):
    card = (trained.folder / "card.md").read_text()
    missing = pandas.read_csv(table).query("split == 'train'").photo.isna().sum()
    assert f"| train | 64 | {missing} |" in card
    assert "clip + photo + title" in card
    assert "mmkeras train ..." in card and "tensorflow 2." in card
    for name in demo_data.CLASSES:
        assert f"- {name}: " in card


def test_history_has_a_row_an_epoch(trained):
    history = pandas.read_csv(trained.folder / "history.csv")
    assert list(history.epoch) == [0, 1]
    assert {"loss", "val_loss", "accuracy", "val_macro_f1"} <= set(history.columns)


def test_evaluate_again_gives_the_report(trained, table, capsys):
    words = [str(trained.folder), str(table), "--part", "test", "--bootstrap", "0"]
    assert cli.main(["evaluate", *words]) == 0
    told = capsys.readouterr().out
    assert told.startswith(str(trained.report).strip())
    for name, value in trained.report.shapley().items():
        assert re.search(rf"^{name} +{value:.4f} ", told, re.MULTILINE)
    assert "Interaction: " in told and "On 32 rows, 32 partners" in told
    assert told.strip().endswith(str(trained.report.calibration))


def test_predict_writes_class_and_scores(trained, table, tmp_path):
    out = tmp_path / "predictions.csv"
    cli.main(["predict", str(trained.folder), str(table), "--out", str(out)])
    rows = pandas.read_csv(out)
    scores = rows[list(demo_data.CLASSES)].to_numpy()
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    winners = np.array(demo_data.CLASSES)[scores.argmax(1)]
    assert list(rows["class"]) == list(winners)
    test = rows[rows.split == "test"]
    assert (test["class"] == test.label).mean() == pytest.approx(
        trained.report.score(metric="accuracy")
    )


def test_export_writes_the_next_version(trained, capsys):
    assert cli.main(["export", str(trained.folder)]) == 0
    assert (trained.folder / "2" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_export_to_tflite(trained, table, capsys):
    """Beside the model; int8 from the table's rows; the file gives the same classes."""
    from mmkeras.export.lite_file import LiteFile

    rows = pandas.read_csv(table).query("split == 'test'")
    rows.to_csv(table.with_name("test.csv"), index=False)
    model, folder = str(trained.folder), trained.folder
    assert cli.main(["export", model, "--to", "tflite"]) == 0
    data = str(table.with_name("test.csv"))
    wanted = ["--to", "tflite", "--quantize", "int8", "--data", data]
    assert cli.main(["export", model, *wanted]) == 0
    told = capsys.readouterr().out
    assert "model.int8.tflite" in told and "\naccuracy " in told
    whole, small = folder / "model.tflite", folder / "model.int8.tflite"
    assert small.stat().st_size < whole.stat().st_size
    batches = data_module.from_table(
        rows, trained.model, root=table.parent, batch_size=1
    )
    file = LiteFile(whole.read_bytes())
    for inputs in batches.take(4):
        inputs = {key: np.asarray(x) for key, x in inputs.items()}
        found = file(inputs)["outputs"]
        expected = trained.model.predict_on_batch(inputs)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_export_asked_wrongly(trained, capsys):
    model = str(trained.folder)
    assert cli.main(["export", model, "--to", "coreml"]) == 2
    assert "one of ('saved_model', 'tflite', 'onnx')" in capsys.readouterr().err
    assert cli.main(["export", model, "--quantize", "int8"]) == 2
    assert "add `--to tflite`" in capsys.readouterr().err
    assert cli.main(["export", model, "--to", "tflite", "--quantize", "int8"]) == 2
    assert "add `--data TABLE`" in capsys.readouterr().err


def test_the_recipe_is_kept(trained):
    kept = json.loads((trained.folder / "recipe.json").read_text())
    assert kept["fusion"] == "gated" and kept["label"] == "label"
    assert kept["sources"]["clip"]["encoder"] == "mfcc_cnn"


def test_frozen_encoders_are_cached_then_released(table, tmp_path):
    made = recipe(table, tmp_path / "out", export=False, finetune_epochs=1, epochs=1)
    for source in made.sources.values():
        source.freeze = True
    said = io.StringIO()
    result = train(made, Progress(stream=said))
    said = said.getvalue()
    assert said.index("cached features of clip, photo, title") < said.index(
        "end to end"
    )
    assert len(result.history["loss"]) == 2
    assert all(x.trainable for x in result.model.layers)
    saved = load_model(tmp_path / "out" / "model.keras")
    assert saved.count_params() == result.model.count_params()


def test_the_same_seed_gives_the_same_report(table, tmp_path):
    reports = []
    for i in range(2):
        title = {"title": Source("text", "embedding_mean", options={"length": 16})}
        options = {"sources": title, "export": False, "epochs": 1, "seed": 7}
        reports.append(train(recipe(table, tmp_path / str(i), **options)).report)
    first, second = (x.to_frame().to_numpy() for x in reports)
    # sums on several cores are not bitwise repeatable
    np.testing.assert_allclose(first, second, atol=0.02)


def test_regression_and_multilabel(table, tmp_path):
    rows = pandas.read_csv(table)
    rows["label"] = rows.label.str.replace("-", "|")
    rows["length"] = rows.title.fillna("").str.len() / 10
    other = table.with_name("other.csv")
    rows.to_csv(other, index=False)
    title = {"title": Source("text", "embedding_mean", options={"length": 16})}
    made = recipe(other, tmp_path / "m", task="multilabel", sources=title)
    made.epochs, made.export = 1, False
    report = train(made).report
    assert set(report.classes) == {"land", "sea", "day", "night", "calm", "storm"}
    made = recipe(other, tmp_path / "r", task="regression", sources=dict(title))
    made.epochs, made.export, made.label = 1, False, "length"
    report = train(made).report
    assert "mae" in report.metrics and "rmse" in report.metrics


def test_bad_cells_as_absent_are_counted_on_the_card(table, tmp_path):
    rows = pandas.read_csv(table)
    place = rows[(rows.split == "train") & rows.photo.notna()].index[:2]
    (table.parent / "broken.png").write_bytes(b"no picture")
    rows.loc[place, "photo"] = "broken.png"
    other = table.with_name("broken.csv")
    rows.to_csv(other, index=False)
    photo = {"photo": recipe(table, tmp_path).sources["photo"]}
    with pytest.raises(Exception, match="broken.png"):
        train(recipe(other, tmp_path / "x", sources=photo))
    assert not (tmp_path / "x" / "model.keras").exists()
    made = recipe(other, tmp_path / "y", on_bad_row="absent", epochs=1, export=False)
    made.sources = photo
    result = train(made)
    assert len(result.bad_rows) == 2
    kept = pandas.read_csv(result.folder / "bad_rows.csv")
    assert list(kept.columns) == ["row", "column", "path", "reason"]
    assert sorted(kept.row) == list(place)
    assert "2 cells could not be read" in (tmp_path / "y" / "card.md").read_text()


def test_without_a_split_column_rows_are_split_by_seed(table, tmp_path):
    rows = pandas.read_csv(table).drop(columns="split")
    other = table.with_name("unsplit.csv")
    rows.to_csv(other, index=False)
    parts = split(recipe(other, tmp_path))
    again = split(recipe(other, tmp_path))
    assert sum(map(len, parts.values())) == len(rows)
    assert {k: list(x.index) for k, x in parts.items()} == {
        k: list(x.index) for k, x in again.items()
    }


@pytest.mark.parametrize(
    "change, message",
    [
        ({"label": "kind"}, "no column .*kind.*Its columns"),
        ({"fusion": "gate"}, "Unknown fusion 'gate'.*gated"),
        ({"fusion_options": {"unit": 3}}, "Fusion 'gated' does not take.*'unit'"),
        ({"split": "fold"}, "no column 'fold'"),
        ({"table": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_mistakes_are_named(table, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        train(recipe(table, tmp_path / "out", **change))


def test_unknown_encoder_lists_names(table, tmp_path):
    made = recipe(table, tmp_path, sources={"photo": Source("image", "resnet5")})
    with pytest.raises(ValueError, match="resnet50"):
        train(made)


def test_one_class_is_an_error(table, tmp_path):
    rows = pandas.read_csv(table)
    rows["label"] = "same"
    other = table.with_name("same.csv")
    rows.to_csv(other, index=False)
    made = recipe(other, tmp_path)
    with pytest.raises(ValueError, match="two or more classes"):
        classes(made, split(made))


def test_classes_are_those_that_the_labels_become(tmp_path):
    """Names as `from_table` makes them: 3.0 is "3", "a | b" is "a" and "b"."""

    def found(task, cells):
        parts = {"train": pandas.DataFrame({"label": cells})}
        return classes(recipe("t.csv", tmp_path, task=task), parts)

    assert found("classification", [1.0, 2.0, 10.0]) == ["1", "2", "10"]
    assert found("multilabel", ["a | b", "c|a", "|"]) == ["a", "b", "c"]
    assert found("multilabel", [["a", "b"], []]) == ["a", "b"]


def test_float_labels_train(table, tmp_path):
    rows = pandas.read_csv(table)
    rows["label"] = (rows["label"] == rows["label"][0]) + 1.0
    other = table.with_name("floats.csv")
    rows.to_csv(other, index=False)
    source = {"title": Source("text", "embedding_mean")}
    made = recipe(other, tmp_path / "out", epochs=1, export=False, sources=source)
    assert train(made).report.classes == ("1", "2")
    counts = (rows.query("split == 'train'").label == 1.0).sum()
    assert f"- 1: {counts}\n" in (tmp_path / "out" / "card.md").read_text()


@pytest.mark.parametrize(
    "source, message",
    [
        (
            Source("text", "embedding_mean", options={"unit": 3}),
            "'title' does not.*unit",
        ),
        (Source("text", "embedding_mean", "folder"), "no pretrained weights.*folder"),
        (Source("audio", "mfcc_cnn", "folder"), "no pretrained weights.*folder"),
    ],
)
def test_encoder_options_that_nobody_takes(source, message):
    with pytest.raises(ValueError, match=message):
        build.encoder("title", source, ["a cup"])


def test_fusions_have_readable_names():
    assert {"film", "gmu", "gated", "low_rank", "weighted_sum"} <= set(build.fusions())


def test_a_late_fusion_is_the_head(table, tmp_path):
    sources = {"title": Source("text", "embedding_mean")}
    made = recipe(table, tmp_path, sources=sources, fusion="late_product")
    head = build.head(made.task, demo_data.CLASSES, fusion=made.fusion)
    rows = pandas.read_csv(table)
    model = assemble(made, head, rows, {"title": "title"})
    assert model.get_layer("fusion").units == len(demo_data.CLASSES)
    assert model.output is model.get_layer("head").output
    assert not model.get_layer("head").weights


def test_a_column_without_text_is_named(table, tmp_path):
    rows = pandas.read_csv(table).assign(title="")
    other = table.with_name("wordless.csv")
    rows.to_csv(other, index=False)
    with pytest.raises(ValueError, match="'title' holds no text"):
        train(recipe(other, tmp_path))


class Stop(Progress):
    """Stands for a kill: the process' own end would come after this epoch."""

    def __init__(self, epoch):
        super().__init__(quiet=True)
        self.epoch = epoch

    @contextlib.contextmanager
    def epochs(self, total):
        def end(epoch, logs):
            if epoch == self.epoch:
                raise InterruptedError

        yield keras.callbacks.LambdaCallback(on_epoch_end=end)


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_same_numbers(table, tmp_path):
    """Stopped in each of the two stages; early stopping counts on."""
    state = tmp_path / "again/.state"

    def run(name, progress=None, resume=False, seed=0):
        keras.utils.clear_session()  # a process of its own names layers from 1 on
        keras.utils.set_random_seed(0)  # the demo's picture encoder is made here
        changes = {"epochs": 3, "finetune_epochs": 2, "patience": 2, "export": False}
        made = recipe(table, tmp_path / name, seed=seed, **changes)
        return train(made, progress, resume=resume)

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("again", Stop(1))
    with pytest.raises(InterruptedError):
        run("again", Stop(0), resume=True)  # the first stage is past its epoch 0
    assert (state / "head/training.state").is_file()
    with pytest.raises(ValueError, match="another recipe: seed=0, now 7"):
        run("again", resume=True, seed=7)
    said = io.StringIO()
    broken = run("again", Progress(stream=said), resume=True)
    assert "Going on with the run that was stopped" in said.getvalue()
    assert broken.history == whole.history
    for a, b in zip(whole.model.weights, broken.model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not state.exists()
