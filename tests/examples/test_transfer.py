"""The transfer example: every way runs on small networks, nothing runs twice."""

import dataclasses
import importlib
import json
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras.run import demo_data
from mmkeras.run.progress import Progress

ROOT = Path(__file__).parents[2]
CONFIG = {
    "hidden_size": 8,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
SCORES = {"accuracy": 0.5, "macro_f1": 0.25}


@pytest.fixture
def transfer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples/stamps"))
    return importlib.import_module("transfer")


@pytest.fixture
def rows(tmp_path):
    from PIL import Image

    cells = []
    for i in range(8):
        label = ("red", "blue")[i % 2]
        Image.new("RGB", (16, 16), label).save(tmp_path / f"{i}.png")
        cells.append((str(tmp_path / f"{i}.png"), f"a {label} square", label))
    return pandas.DataFrame(cells, columns=["photo", "title", "label"])


def networks(way, cache, rows):
    """As `same_networks`, with the layer names that the ways rely on."""
    x = picture = keras.Input((8, 8, 3))
    for i in (11, 12, 13):
        x = keras.layers.Conv2D(4, 3, 2, "same", name=f"block{i}_dw")(x)
        x = keras.layers.BatchNormalization(name=f"block{i}_dw_bn")(x)
    words = mm.text.wordpiece_vocabulary(list(rows.title))
    return {
        "photo": mm.image.from_model(keras.Model(picture, x, name="cnn")),
        "title": mm.text.bert(config=CONFIG, vocabulary=words, length=16, weights=None),
    }


def built(transfer, monkeypatch, rows):
    monkeypatch.setattr(transfer, "same_networks", networks)
    model, _ = transfer.build(transfer.WAYS["top"], None, rows, ["blue", "red"])
    return mm.transfer.freeze(model)


def learning(model, name):
    encoder = model.get_layer(f"{name}_encoder")
    inside = {id(x) for x in model.trainable_weights}
    return {x.name for x in encoder.layers if {id(w) for w in x.weights} & inside}


def test_what_each_way_releases(transfer, monkeypatch, rows):
    model = built(transfer, monkeypatch, rows)
    transfer.top(model)
    assert learning(model, "photo") == {"block12_dw", "block13_dw"}
    blocks = {x[:7] for x in learning(model, "title")}
    assert blocks == {"layer_4", "layer_5"}
    transfer.whole(model)
    assert learning(model, "photo") == {"block11_dw", "block12_dw", "block13_dw"}
    assert {x[:7] for x in learning(model, "title")} == {f"layer_{i}" for i in range(6)}


def test_a_run_learns_and_is_not_run_again(transfer, monkeypatch, rows, tmp_path):
    monkeypatch.setattr(transfer, "same_networks", networks)
    way = transfer.shortened(transfer.WAYS["feature"])
    ways = {"feature": dataclasses.replace(way, size=8)}
    parts = {key: rows for key in ("train", "val", "test")}
    path = tmp_path / "out/transfer.json"
    arguments = (range(1), parts, None, path, Progress(quiet=True))
    done = transfer.run_all(ways, *arguments)
    found = done["feature/0"]
    assert set(found["test"]) == {"accuracy", "macro_f1"}
    model, _ = transfer.build(way, None, rows, ["blue", "red"])
    encoders = mm.model.encoders(model).values()
    frozen = sum(x.count_params() for x in encoders)
    assert found["trained"] == model.count_params() - frozen
    assert json.loads(path.read_text()) == done

    def never(*_):
        raise AssertionError("ran again")

    monkeypatch.setattr(transfer, "run", never)
    assert transfer.run_all(ways, *arguments) == done
    changed = {"feature": dataclasses.replace(way, rate=0.5)}
    with pytest.raises(AssertionError, match="ran again"):
        transfer.run_all(changed, *arguments)


def test_new_weights_are_new_and_statistics_quick(transfer):
    layer = keras.layers.Conv2D(4, 3)
    layer.build((None, 8, 8, 3))
    twin = transfer.anew(layer)
    twin.build((None, 8, 8, 3))
    kernels = [keras.ops.convert_to_numpy(x.kernel) for x in (layer, twin)]
    assert not np.array_equal(*kernels)
    assert transfer.anew(keras.layers.BatchNormalization()).momentum == 0.9


def test_the_rate_warms_up_and_falls(transfer):
    rate = transfer.schedule(10, 1e-3, range(64))  # 20 steps, 2 of them warm up
    values = [float(rate(i)) for i in range(21)]
    cosine = 0.5 * (1 + np.cos(np.pi * np.arange(19) / 18))
    np.testing.assert_allclose(values, [0, 5e-4, *(1e-3 * cosine)], atol=1e-9)


def test_the_table_has_means_and_ranges_of_these_settings(transfer):
    way = transfer.WAYS["feature"]
    made = {
        "settings": dataclasses.asdict(way),
        "seconds": 10.0,
        "epoch_seconds": 0.1,
        "trained": 1234,
        "val": SCORES,
    }
    done = {
        "feature/0": {**made, "test": SCORES},
        "feature/1": {**made, "test": {"accuracy": 0.7, "macro_f1": 0.35}},
        "feature/2": {**made, "settings": {}, "test": {"accuracy": 0.0}},
    }
    frame = transfer.table(done, transfer.WAYS)
    assert len(frame) == 1
    assert dict(frame.iloc[0]) | {"seeds": 2, "epochs": "60"} == dict(frame.iloc[0])
    assert frame.accuracy[0] == "60.0 (50.0-70.0)"
    text = transfer.markdown(frame).splitlines()
    assert text[1] == "| " + " | ".join(["---"] * 9) + " |"
    assert text[2].startswith(
        "| feature transfer | 60.0 (50.0-70.0) | 30.0 (25.0-35.0)"
    )


@pytest.mark.slow
@pytest.mark.weights
def test_smoke(transfer, minilm, lite0, tmp_path, capsys):
    """The real encoders; generated rows in place of the stamps, which take minutes."""
    cache = tmp_path / "cache"
    rows = {"train": 40, "val": 16, "test": 16}
    table = pandas.read_csv(demo_data.write(cache / "stamps_table", rows, seed=0))
    table = table.dropna(subset=["photo", "title"])  # every stamp has both
    table.to_csv(cache / "stamps_table/a_table.csv", index=False)
    (cache / "minilm").symlink_to(minilm)
    (cache / "efficientnet_lite0.keras").symlink_to(lite0)
    ways = ["lora", "small"]  # LoRA's first stage is the feature transfer
    arguments = ["--cache", str(cache), "--out", str(tmp_path), "--smoke", "--ways"]
    transfer.main([*arguments, *ways])
    done = json.loads((tmp_path / "smoke/transfer.json").read_text())
    assert sorted(done) == ["lora/0", "small/0"]
    assert (tmp_path / "smoke/transfer.md").read_text().count("\n") == 4
    capsys.readouterr()
    transfer.main([*arguments, *ways, "--markdown"])
    assert capsys.readouterr().out == (tmp_path / "smoke/transfer.md").read_text()
