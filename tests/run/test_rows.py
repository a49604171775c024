"""Where a run takes its rows from: memory, the feature cache, or the files."""

import io

import keras
import numpy as np
import pytest

from mmkeras import heads
from mmkeras.model import encoders
from mmkeras.run import demo, demo_data, files, rows
from mmkeras.run.progress import Progress
from mmkeras.run.train import assemble, split

ROWS = {"train": 48, "val": 16, "test": 16}
COLUMNS = {"photo": "photo", "title": "title"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    table = demo_data.write(folder, ROWS, seed=2)
    made = demo.recipe_of(table, folder / "out")
    del made.sources["clip"]
    made.sources["photo"].freeze = True
    return made


@pytest.fixture(scope="module")
def model(recipe):
    head = heads.classification(demo_data.CLASSES)
    return assemble(recipe, head, split(recipe)["train"], COLUMNS)


@pytest.fixture
def opened(recipe, model, monkeypatch):
    """Gives a function that opens the rows with a cache and what it said."""

    def open_rows(cache):
        monkeypatch.setattr(recipe, "cache", cache)
        said = io.StringIO()
        progress = Progress(stream=said)
        return rows.Rows(recipe, model, split(recipe), COLUMNS, [], progress), said

    return open_rows


def reference(model, stream):
    """Features by running the encoder over each batch read from the files."""
    batches = [(encoders(model)["photo"](x["photo"]), x["title"], y) for x, y in stream]
    return [np.concatenate(x) for x in zip(*batches, strict=True)]


def test_by_itself_a_run_keeps_features_and_the_next_finds_them(
    opened, model, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = tmp_path / "mmkeras" / "features"
    first, said = opened("auto")
    inputs, label = first.features("val")
    assert said.getvalue().startswith(
        f"Frozen encoders (photo) run once: their features are kept in {folder}."
    )
    assert "Encoding" in said.getvalue()
    assert list(folder.glob("*/shard-*.safetensors"))
    photo, title, wanted = reference(model, first.stream("val"))
    np.testing.assert_allclose(inputs["photo"], photo, atol=1e-5)
    np.testing.assert_array_equal(inputs["title"], title)
    np.testing.assert_array_equal(label, wanted)

    second, said = opened("auto")
    again, _ = second.features("val")
    assert "Encoding" not in said.getvalue()
    np.testing.assert_array_equal(again["photo"], inputs["photo"])


def test_memory_alone_on_request(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    made, said = opened("none")
    made.features("val")
    assert "features are kept in memory" in said.getvalue()
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_memory_is_read_from_disk(opened, tmp_path, monkeypatch):
    made, _ = opened(str(tmp_path))
    inputs, label = made.features("val")
    monkeypatch.setattr(rows, "_MEMORY", 0)
    stream = made.features("val")
    batches = [(x["photo"], x["title"], y) for x, y in stream]
    found = [np.concatenate(x) for x in zip(*batches, strict=True)]
    for got, wanted in zip(
        found, (inputs["photo"], inputs["title"], label), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_training_rows_are_shuffled_in_every_pass(opened, tmp_path, monkeypatch):
    made, _ = opened(str(tmp_path))
    _, label = made.features("train")
    for memory in (2**30, 0):
        monkeypatch.setattr(rows, "_MEMORY", memory)
        stream = made.features("train", shuffle=True)
        passes = [np.concatenate([y for _, y in stream]) for _ in range(2)]
        assert (passes[0] != passes[1]).any()
        for labels in passes:
            np.testing.assert_array_equal(np.sort(labels), np.sort(label))


def test_nothing_frozen_nothing_kept(recipe, tmp_path):
    keras.utils.set_random_seed(0)
    text = {"title": recipe.sources["title"]}
    made = demo.recipe_of(recipe.table, tmp_path)
    made.sources, made.cache = text, str(tmp_path / "features")
    head = heads.classification(demo_data.CLASSES)
    columns = {"title": "title"}
    model = assemble(made, head, split(made)["train"], columns)
    said = io.StringIO()
    opened = rows.Rows(made, model, split(made), columns, [], Progress(stream=said))
    assert opened.features("val")[0]["title"].shape == (ROWS["val"], 24)
    assert "Encoding" not in said.getvalue() and "kept" not in said.getvalue()
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    "cache, folder",
    [("auto", "home/mmkeras/features"), ("here/it", "here/it"), ("none", None)],
)
def test_folder_of_features(cache, folder, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "home")
    found = files.features_folder(cache)
    assert (found and str(found)) == folder


def test_class_weights_are_of_the_training_rows_alone(opened, recipe, monkeypatch):
    from sklearn.utils.class_weight import compute_sample_weight

    monkeypatch.setattr(recipe, "class_weight", "balanced")
    first, _ = opened("none")
    _, label, weight = first.features("train")
    wanted = compute_sample_weight("balanced", label)
    np.testing.assert_allclose(weight, wanted, rtol=1e-6)
    assert len(first.features("val")) == 2
    *_, weight = next(iter(first.stream("train").unbatch().batch(len(label))))
    np.testing.assert_allclose(weight, wanted, rtol=1e-6)
    shuffled = list(first.features("train", shuffle=True).unbatch())
    assert sorted(float(x[2]) for x in shuffled) == pytest.approx(sorted(wanted))
