"""The training job on several replicas: as on one device, or an error that says why."""

import json
import types
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest
import tensorflow as tf

from mmkeras import data, distribute, heads, load_model
from mmkeras.model import readers
from mmkeras.run import demo, demo_data, devices
from mmkeras.run.progress import Progress
from mmkeras.run.rows import Rows
from mmkeras.run.train import assemble, split, train
from mmkeras.testing import process
from tests.tiny import Numbers  # of the models that are read

NAMES = ("whole", "frozen", "disk")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    process.run("tests.run.on_two_replicas", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_replicas_train_as_one_device(folder, name):
    one, two = folder / f"{name}.1", folder / f"{name}.2"
    models = [load_model(x / "model.keras") for x in (one, two)]
    for a, b in zip(*(x.get_weights() for x in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for file in ("history.csv", "report.csv"):
        a, b = (pandas.read_csv(x / file) for x in (one, two))
        pandas.testing.assert_frame_equal(a, b, atol=1e-5, rtol=0)
    said = (folder / f"{name}.2.txt").read_text()
    assert said.count("Training on 2 replicas, which share each batch.") == 1


@pytest.mark.slow
def test_what_they_leave_is_for_one_device(folder):
    """Batch normalisation runs anywhere; the SavedModel answers as the model."""
    model = load_model(folder / "whole.2/model.keras")
    assert isinstance(readers(model)["place"], Numbers)
    assert model.distribute_strategy.num_replicas_in_sync == 1
    norms = [
        x
        for x in model._flatten_layers()
        if isinstance(x, keras.layers.BatchNormalization)
    ]
    assert norms and not any(x.synchronized for x in norms)
    rows = data.read_table(str(folder / "table.csv")).iloc[:4]
    wanted = model.predict(data.from_table(rows, model, batch_size=4), verbose=0)
    serve = tf.saved_model.load(folder / "whole.2/1").signatures["serve_raw"]
    raw = {name: tf.constant(list(rows[name].fillna(""))) for name in readers(model)}
    np.testing.assert_allclose(serve(**raw)["outputs"], wanted, atol=1e-5)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    table = demo_data.write(folder, {"train": 40, "val": 20, "test": 16}, seed=1)
    made = demo.recipe_of(table, folder / "out")
    del made.sources["clip"]
    made.batch_size = 16
    return made


@pytest.fixture
def replicas(monkeypatch):
    """Gives a function that has `strategy()` find so many replicas."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def found(count):
        several = types.SimpleNamespace(num_replicas_in_sync=count)
        monkeypatch.setattr(distribute, "strategy", lambda: several)

    return found


def test_several_hosts_are_for_a_program(recipe, monkeypatch):
    state = Path(recipe.out) / ".state"
    state.mkdir(parents=True, exist_ok=True)
    task = {"type": "worker", "index": 0}
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": task}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match="is for one host .* docs/scale.md on each"):
        train(recipe)
    assert state.exists()  # nothing was touched


@pytest.mark.parametrize(
    "count, changes, message",
    [
        (3, {}, "a multiple of the 3 replicas.* Received: 16. Give 18, or set CUDA"),
        (32, {}, "a multiple of the 32 replicas.* Give 32"),
        (2, {"accumulate": 2}, "`accumulate` wants one device. Received: 2 and 2"),
        (2, {"jit": "on"}, "`jit` wants one device. Received: 'on'"),
        (2, {"batch_size": 42}, "a batch of rows 'train' at least: 42. Received: 40"),
        (2, {"batch_size": 22}, "a batch of rows 'val' at least: 22. Received: 20"),
    ],
)
def test_what_they_cannot_do(recipe, replicas, monkeypatch, count, changes, message):
    replicas(count)
    for name, value in changes.items():
        monkeypatch.setattr(recipe, name, value)
    with pytest.raises(ValueError, match=message):
        train(recipe)


def test_one_device_is_as_it_was(recipe):
    assert devices.strategy_for(recipe) is tf.distribute.get_strategy()
    encoder = recipe.sources["photo"].encoder
    assert devices.here(encoder) is encoder
    devices.check_rows({"train": [], "val": []}, 16, replicas=1)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_whole_batches_alone_are_shared(recipe, monkeypatch, tmp_path, where):
    """Of 40 rows to train on two batches of 16; of those to validate on all rows."""
    monkeypatch.setattr(recipe, "cache", str(tmp_path) if where == "disk" else "none")
    monkeypatch.setattr(recipe, "schedule", "cosine")
    monkeypatch.setattr(recipe.sources["title"], "freeze", True)
    monkeypatch.setattr(Rows, "_is_small", lambda self, features: False)
    parts, head = split(recipe), heads.classification(demo_data.CLASSES)
    columns = {"photo": "photo", "title": "title"}
    model = assemble(recipe, head, parts["train"], columns)
    for replicas, wanted in ((1, [16, 16, 8]), (2, [16, 16])):
        monkeypatch.setattr(devices, "replicas_of", lambda model, n=replicas: n)
        rows = Rows(recipe, model, parts, columns, [], Progress(quiet=True))
        assert rows.steps(3) == 3 * len(wanted)
        assert rows.per_execution() == 1
        for read in (rows.stream, rows.features):
            assert [len(y) for _, y in read("train", shuffle=True)] == wanted
    for read in (rows.stream, rows.features):
        assert [len(y) for _, y in read("val")] == [16, 4]
