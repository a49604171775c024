"""Options of a training: precision, clipping, logs, profile, which epoch is kept."""

import contextlib
import csv

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import load_model
from mmkeras.run import demo_data, logs, precision, stage
from mmkeras.run.progress import Progress
from mmkeras.run.recipe import Recipe, Source
from mmkeras.run.train import train
from tests import tiny

ROWS = {"train": 48, "val": 16, "test": 16}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return demo_data.write(tmp_path_factory.mktemp("data"), ROWS, seed=1)


def recipe(table, out, **changes):
    wave = {"sampling_rate": demo_data.SAMPLING_RATE, "seconds": demo_data.SECONDS}
    sources = {
        "title": Source("text", "embedding_mean", options={"length": 8}),
        "clip": Source("audio", "mfcc_statistics", freeze=True, options=wave),
    }
    fields = {"epochs": 3, "batch_size": 16, "export": False, "modality_dropout": 0.2}
    return Recipe(str(table), "label", sources, str(out), **{**fields, **changes})


class Stop(Progress):
    """Stands for a kill after an epoch."""

    @contextlib.contextmanager
    def epochs(self, total):
        def end(epoch, logs):
            if epoch == 1:
                raise InterruptedError

        yield keras.callbacks.LambdaCallback(on_epoch_end=end)


def events(folder):
    """(tag, step) -> value of TensorBoard's scalars."""
    import tensorflow as tf

    found = {}
    for path in sorted(folder.glob("events.out.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


@pytest.mark.slow
def test_a_mixed_run_with_logs_goes_on_with_the_same_numbers(table, tmp_path):
    """And what it leaves computes in float32, and is a SavedModel."""

    def run(name, progress=None, resume=False):
        keras.utils.clear_session()  # a process of its own names layers from 1 on
        options = {"clip_norm": 0.5, "accumulate": 2, "schedule": "cosine"}
        options |= {"logs": str(tmp_path / name / "logs"), "export": name == "whole"}
        options |= {"cache": str(tmp_path / "cache"), "precision": "mixed_float16"}
        return train(recipe(table, tmp_path / name, **options), progress, resume=resume)

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("again", Stop(quiet=True))
    again = run("again", resume=True)
    assert again.history == whole.history
    for a, b in zip(whole.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    first, second = (
        (tmp_path / x / "logs/head/history.csv").read_bytes()
        for x in ("whole", "again")
    )
    assert first == second
    for part in ("train", "validation"):
        wanted = events(tmp_path / "whole/logs/head" / part)
        assert events(tmp_path / "again/logs/head" / part) == wanted
        name = "val_loss" if part == "validation" else "loss"
        found = [wanted["epoch_loss", i] for i in range(3)]
        np.testing.assert_allclose(found, whole.history[name], rtol=1e-6)
    saved = load_model(tmp_path / "whole/model.keras")
    policies = {x.dtype_policy.name for x in saved._flatten_layers()}
    assert policies == {"float32"}
    assert (tmp_path / "whole/1/saved_model.pb").is_file()
    assert keras.config.dtype_policy().name == "float32"


def test_float32_has_the_same_weights_and_nearly_the_same_outputs():
    with precision.policy("mixed_bfloat16"):
        mixed = tiny.model()
    mixed.get_layer("left_encoder").trainable = False
    mixed.compile("adam", "mse")
    wide = precision.in_float32(mixed)
    assert wide.output.dtype == "float32"
    assert {x.dtype_policy.name for x in wide._flatten_layers()} == {"float32"}
    for a, b in zip(mixed.weights, wide.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert len(wide.trainable_weights) == len(mixed.trainable_weights)
    rng = np.random.default_rng(0)
    row = {x.name: rng.normal(size=(4, *x.shape[1:])) for x in wide.inputs}
    row |= {x: np.ones(4) for x in row if x.endswith("_present")}
    a, b = mixed.predict_on_batch(row), wide.predict_on_batch(row)
    assert 0 < np.abs(a - b).max() < 0.05  # bfloat16 has 8 bits
    assert precision.in_float32(wide) is wide


def test_history_replaces_the_rows_that_come_again(tmp_path):
    file = logs.HistoryFile(tmp_path / "new/history.csv")
    for epoch, loss in ((0, 3.0), (1, 2.0), (2, 1.5), (1, 2.5)):
        file.on_epoch_end(epoch, {"loss": loss, "val_loss": loss / 3})
    with open(tmp_path / "new/history.csv", newline="") as written:
        rows = list(csv.DictReader(written))
    assert [x["epoch"] for x in rows] == ["0", "1"]
    assert [float(x["loss"]) for x in rows] == [3.0, 2.5]
    assert float(rows[1]["val_loss"]) == 2.5 / 3


def test_profile_of_some_calls(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 2)), np.ones((8, 1))
    profile = logs.Profile(tmp_path, 2, 3)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[profile])
    (found,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert found.stat().st_size > 0


@pytest.mark.parametrize(
    "changes, patience, best",
    [
        ({}, 8, True),
        ({"patience": 0}, 3, True),  # never before the end
        ({"keep": "last"}, 8, False),
        ({"keep": "last", "patience": 0}, None, None),
    ],
)
def test_which_epoch_is_kept(tmp_path, changes, patience, best):
    *watching, resume = stage.callbacks(recipe("t", "o", **changes), tmp_path, "head")
    assert list(resume.remember) == watching
    if patience is None:
        assert not watching
    else:
        assert watching[0].patience == patience
        assert watching[0].restore_best_weights == best


def test_the_optimizer_is_the_recipes():
    head = mm.heads.classification(3)
    made = recipe("t", "o", clip_norm=0.5, accumulate=2, jit="off", weight_decay=0.1)
    with precision.policy("mixed_float16"):
        model = tiny.model()
        stage.compile_for(model, head, 1e-3, made)
    inner = model.optimizer.inner_optimizer
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert (inner.global_clipnorm, inner.gradient_accumulation_steps) == (0.5, 2)
    assert inner.weight_decay == 0.1
    assert model.jit_compile is False


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"precision": "float16"}, "`precision` wants one of .*mixed_float16"),
        ({"jit": "yes"}, "`jit` wants one of"),
        ({"keep": "first"}, "`keep` wants one of"),
        ({"clip_norm": -1.0}, "`clip_norm` wants the largest norm"),
        ({"accumulate": 0}, "`accumulate` wants 1 or more"),
        ({"profile": "5", "logs": "logs"}, "`profile` wants the first and the last"),
        ({"profile": [5, 4], "logs": "logs"}, "`profile` wants the first and the last"),
        ({"profile": "5,6"}, "`profile` wants `logs` too"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe("t", "o", **changes)


def test_profile_as_text_and_as_list():
    for value in ("5,6", [5, 6]):
        assert recipe("t", "o", profile=value, logs="logs").profile == [5, 6]


def test_words_that_are_called_as_a_policy_stay():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "float16", "mixed_bfloat16"]
    with precision.policy("mixed_float16"):
        encoder = mm.text.embedding_mean(words, units=4, length=6)
        head = mm.heads.classification(["float16", "float32"])
        mixed = mm.multimodal({"float16": encoder}, mm.fusion.Concat(), head.layer)
    wide = precision.in_float32(mixed)
    assert {x.dtype_policy.name for x in wide._flatten_layers()} == {"float32"}
    assert mm.heads.output_contract(wide).classes == ["float16", "float32"]
    contract = mm.model.readers(wide)["float16"]
    assert list(contract.vocabulary) == words
    assert set(wide.input) == set(mixed.input)


def test_accumulating_more_than_an_epoch_is_refused(table, tmp_path):
    with pytest.raises(ValueError, match="`accumulate` wants at most the 3 batches"):
        train(recipe(table, tmp_path, accumulate=4))
