"""Real contracts, small and pretrained encoders: raw bytes in, as model.predict."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import mmkeras as mm
from tests.export.parts import png, wav

TITLES = [
    "A red Cup, naïve!",
    "",
    "un éléphant 東 😀",
    "cups and hats",
    "[SEP] x" * 9,
]


def small():
    """`encoders` that start from nothing."""
    picture = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(picture)
    vocabulary = mm.text.wordpiece_vocabulary(["a red cup", "cups and hats", "un sep"])
    return {
        "photo": mm.image.from_model(keras.Model(picture, x), scaling="tf"),
        "title": mm.text.bert(
            config={
                "hidden_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 16,
            },
            vocabulary=vocabulary,
            length=12,
            weights=None,
        ),
        "clip": mm.audio.mfcc_cnn(sampling_rate=8000, seconds=0.5, units=8),
    }


def joined(encoders):
    head = mm.heads.classification(["cup", "hat", "bell"])
    model = mm.multimodal(
        encoders, mm.fusion.GatedFusion(16), head.layer, modality_dropout=0.5
    )
    model.compile("adam", head.loss)
    return model


def raw_rows(rate):
    """Five rows: pictures of other sizes and kinds, clips short and long, gaps."""
    rng = np.random.default_rng(0)
    sizes = ((24, 24, 3), (50, 31, 3), (9, 60, 3), (40, 40, 4), (30, 30))
    photos = [png(rng.integers(0, 256, x, "uint8")) for x in sizes]
    noise = rng.integers(-9000, 9000, rate, "int16")
    clips = [wav(noise[: round(rate * x)], rate) for x in (0.5, 0.2, 1.0, 0.5, 0.01)]
    photos[2] = clips[3] = photos[4] = clips[4] = b""
    return {"photo": photos, "title": [x.encode() for x in TITLES], "clip": clips}


def as_table_cells(model, raw):
    """The rows as training reads them: cell by cell, in Python."""
    tensors = {}
    for name, contract in mm.readers(model).items():
        cells = [x.decode() if name == "title" else x for x in raw[name]]
        tensors[name] = np.stack([contract.read_cell(x) for x in cells])
        tensors[f"{name}_present"] = np.array(
            [len(x) > 0 for x in raw[name]], "float32"
        )
    return tensors


def elsewhere(folder, raw, scratch):
    """Answers of both loaders in a process that imports TensorFlow alone."""
    coded = {name: [x.decode("latin1") for x in row] for name, row in raw.items()}
    (scratch / "raw.json").write_text(json.dumps(coded), encoding="utf8")
    script = Path(__file__).parent / "other_process.py"
    files = [str(folder), str(scratch / "raw.json"), str(scratch / "got.npz")]
    subprocess.run([sys.executable, str(script), *files], check=True)
    return np.load(scratch / "got.npz")


def check(model, raw, tmp_path):
    report = mm.export.saved_model(model, tmp_path / "shapes/1", examples=raw)
    assert report.max_difference < 1e-5
    assert report.custom_ops == ()
    got = elsewhere(tmp_path / "shapes/1", raw, tmp_path)
    expected = model.predict(as_table_cells(model, raw), verbose=0)
    assert np.ptp(expected, axis=0).min() > 1e-2  # rows differ: the test can fail
    for loader in ("python", "v1"):
        np.testing.assert_allclose(got[loader], expected, atol=1e-5, rtol=0)
    return report


def test_small_encoders_after_training(tmp_path):
    model = joined(small())
    raw = raw_rows(8000)
    inputs = as_table_cells(model, raw)
    model.fit(inputs, np.array([0, 1, 2, 0, 1]), epochs=2, batch_size=5, verbose=0)
    model.save(tmp_path / "model.keras")
    check(mm.load_model(tmp_path / "model.keras"), raw, tmp_path)


@pytest.mark.weights
@pytest.mark.slow
def test_pretrained_encoders(tmp_path, minilm, lite0):
    model = joined(
        {
            "photo": mm.image.from_model(lite0, scaling="unit"),
            "title": mm.text.bert(minilm, length=32),
            "clip": mm.audio.mfcc_cnn(sampling_rate=16000, seconds=1.0, units=32),
        }
    )
    report = check(model, raw_rows(16000), tmp_path)
    weights = 4 * model.count_params()
    assert report.size < weights + 8e6  # variables once, and the tokenizer's tables
