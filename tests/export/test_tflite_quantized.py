"""Quantised TFLite files: smaller, near the model, the front end as exact as before."""

import sys

import keras
import numpy as np
import pytest

import mmkeras as mm
from tests import tiny
from tests.export import lite, test_real


def text_model(length=6):
    """An embedding of 500 words, among them rows of very different size."""
    words = mm.text.wordpiece_vocabulary([f"word{i} cup" for i in range(300)], size=500)
    contract = mm.text.TokenIds(words, length=length)
    ids = mm.modality.tensor_input(contract, "ids")
    layer = keras.layers.Embedding(len(words), 32, name="words")
    model = keras.Model(ids, layer(contract(ids)))
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(-3, 1, (len(words), 1))
    layer.set_weights([size * rng.uniform(-1, 1, (len(words), 32))])
    return model, rng.integers(0, len(words), (20, length)).astype("int32")


@pytest.mark.parametrize("mode, bits", [("float16", 16), ("dynamic", 8)])
def test_embedding_rows_have_their_own_scale(mode, bits, tmp_path):
    model, ids = text_model()
    report = mm.export.tflite(model, tmp_path / "a.tflite", quantize=mode)
    got = lite.ask(tmp_path / "a.tflite", {"ids": ids})["outputs"]
    wanted = model.predict(ids, verbose=0)
    # half a step of each row's own scale, and float32's rounding
    step = np.abs(wanted).max(-1, keepdims=True) / (2 ** (bits - 1) - 1)
    assert (np.abs(got - wanted) <= 0.51 * step).all()
    assert np.abs(got - wanted).max() > 1e-6
    table = model.count_params() * bits / 8
    assert table < report.size < 1.2 * table + 4000


@pytest.fixture(scope="module")
def heard():
    """MFCC, and a convolution and a dense layer on it: `(model, waves)`."""
    keras.utils.set_random_seed(0)
    wave = keras.Input((16000,), name="wave")
    mfcc = mm.audio.MFCC(16000, 20, n_fft=400, hop_length=160, num_mel_bins=40)(wave)
    x = keras.layers.Conv1D(24, 3, activation="relu")(mfcc)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling1D()(x))
    model = keras.Model(wave, {"mfcc": mfcc, "scores": x})
    return model, np.concatenate([lite.speech(16000, i) for i in range(8)])


@pytest.mark.parametrize("mode", ["float16", "dynamic", "int8"])
def test_front_end_stays_in_float(heard, mode, tmp_path):
    model, waves = heard
    path = tmp_path / "a.tflite"
    report = mm.export.tflite(model, path, quantize=mode, representative=waves)
    got = lite.ask(path, {"wave": waves})
    wanted = model.predict(waves, verbose=0)
    np.testing.assert_allclose(got["mfcc"], wanted["mfcc"], rtol=0, atol=1e-3)
    # the rest is quantised: other numbers, and near
    off = np.abs(got["scores"] - wanted["scores"]).max()
    scale = np.abs(wanted["scores"]).max()
    assert 1e-6 * scale < off < 0.05 * scale
    assert report.max_differences["mfcc"] < 1e-5 < report.max_differences["scores"]
    assert ("float16" if mode == "float16" else "int8") in lite.dtypes(path)
    operations = lite.operations(path)
    assert ("QUANTIZE" in operations) == (mode == "int8")


def test_whole_clip_encoder_in_int8(tmp_path):
    keras.utils.set_random_seed(0)
    encoder = mm.audio.mfcc_cnn(sampling_rate=16000, seconds=1.0, units=16)
    waves = np.concatenate([lite.speech(16000, i) for i in range(12)])
    waves[3, 9000:] = 0
    path = tmp_path / "a.tflite"
    mm.export.tflite(encoder, path, quantize="int8", representative=waves[:8])
    got = lite.ask(path, {"wave": waves[8:]})["outputs"]
    wanted = encoder.predict(waves[8:], verbose=0)
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "mode, nearest", [("float16", 2e-3), ("dynamic", 0.05), ("int8", 0.1)]
)
def test_two_modalities(mode, nearest, tmp_path):
    model = tiny.model()
    rows, labels = tiny.rows(24)
    batches = [
        ({k: x[i : i + 8] for k, x in rows.items()}, labels[i : i + 8]) for i in (0, 8)
    ]
    path = tmp_path / "a.tflite"
    report = mm.export.tflite(model, path, quantize=mode, representative=batches)
    assert report.quantize == mode and mode in str(report)
    seen = {k: x[:16] for k, x in rows.items()}
    right = [
        float(np.mean(x.argmax(1) == labels[:16]))
        for x in (model.predict(seen, verbose=0), lite.ask(path, seen)["outputs"])
    ]
    assert report.scores["accuracy"] == pytest.approx(right)
    assert set(report.scores) == {"accuracy", "macro_f1", "auc_roc"}
    assert f"accuracy {right[0]:.4f} -> {right[1]:.4f}" in str(report)
    details = lite.open_(path).get_signature_runner("serve").get_input_details()
    assert {np.dtype(x["dtype"]).name for x in details.values()} == {"float32"}
    got, wanted = lite.ask(path, rows)["outputs"], model.predict(rows, verbose=0)
    assert 1e-7 < np.abs(got - wanted).max() < nearest
    gone = {**rows, "left_present": 0 * rows["left_present"]}
    other = {**gone, "left": 50 + rows["left"]}  # an absent value says nothing
    np.testing.assert_array_equal(
        lite.ask(path, gone)["outputs"], lite.ask(path, other)["outputs"]
    )
    if mode != "int8":  # it alone is not asked made-up rows
        return
    first = {k: x[:1] for k, x in rows.items()}
    none = {f"{x}_present": 0 * first[f"{x}_present"] for x in ("left", "right")}
    asked = [seen, *({**first, k: x} for k, x in none.items()), {**first, **none}]
    asked = {k: np.concatenate([x[k] for x in asked]) for k in seen}
    off = lite.ask_litert(path, asked)["outputs"] - model.predict(asked, verbose=0)
    off = np.abs(off)
    scale = max(1, np.abs(model.predict(seen, verbose=0)).max())
    assert report.rows == len(off) == 19
    assert report.max_differences["outputs"] == pytest.approx(off.max() / scale, 1e-3)
    assert report.mean_differences["outputs"] == pytest.approx(off.mean() / scale, 1e-2)


def test_a_recurrent_network_in_int8(tmp_path):
    # its loops end in counters that nothing reads, and that calibration cannot read
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcd"]
    words = mm.text.rnn(vocabulary, length=5, units=8)
    head = mm.heads.classification(3).layer
    model = mm.multimodal({"title": words}, mm.fusion.Concat(), head)
    ids = np.array([[2, 4, 5, 3, 0], [2, 7, 3, 0, 0]] * 4, "int32")
    rows = {"title": ids, "title_present": np.ones(8, "float32")}
    path = tmp_path / "a.tflite"
    mm.export.tflite(model, path, quantize="int8", representative=rows)
    wanted = model.predict(rows, verbose=0)
    got = lite.ask_litert(path, rows)["outputs"]
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()
    np.testing.assert_array_equal(got.argmax(1), wanted.argmax(1))


def test_dead_channels_keep_their_bias(tmp_path):
    """Convolutions that training has killed: what they give is their bias."""
    wave = keras.Input((8, 8, 3), name="wave")
    x = keras.layers.Conv2D(4, 3, name="conv")(wave)
    x = keras.layers.DepthwiseConv2D(3, name="depth")(x)
    model = keras.Model(wave, keras.layers.GlobalAveragePooling2D()(x))
    for name, axis in (("conv", 3), ("depth", 2)):
        kernel, bias = model.get_layer(name).get_weights()
        np.moveaxis(kernel, axis, 0)[1] *= 1e-12
        np.moveaxis(kernel, axis, 0)[2] = 0
        model.get_layer(name).set_weights([kernel, np.array([0.1, 2.0, -3.0, 0.0])])
    rows = np.random.default_rng(0).uniform(-1, 1, (20, 8, 8, 3)).astype("float32")
    path = tmp_path / "a.tflite"
    mm.export.tflite(model, path, quantize="int8", representative=rows)
    got = lite.ask(path, {"wave": rows})["outputs"]
    wanted = model.predict(rows, verbose=0)
    np.testing.assert_allclose(wanted[:, 1:3], [[2.0, -3.0]] * 20, atol=1e-5)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=0.06)


def test_package_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    model, _ = text_model()
    with pytest.raises(ImportError, match=r"pip install mmkeras\[tflite\]"):
        mm.export.tflite(model, tmp_path / "a.tflite", quantize="dynamic")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, "float16", "dynamic", "int8"])
def test_three_modalities(mode, tmp_path):
    model = test_real.joined(test_real.small())
    rows = test_real.as_table_cells(model, test_real.raw_rows(8000))
    path = tmp_path / "a.tflite"
    report = mm.export.tflite(model, path, quantize=mode, representative=rows)
    got, wanted = lite.ask(path, rows)["outputs"], model.predict(rows, verbose=0)
    limit = {None: 1e-4, "float16": 5e-3}.get(mode, 0.1)
    assert np.abs(got - wanted).max() < limit
    assert report.agreement == 1.0 or mode in ("dynamic", "int8")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(mm.testing.every_fusion()))
def test_every_fusion(name, tmp_path):
    left, right = tiny.encoder(6, 5), tiny.encoder(4, 5)
    fusion = mm.testing.every_fusion()[name]
    head = mm.heads.classification(3).layer
    model = mm.multimodal({"photo": left, "title": right}, fusion, head)
    rows, _ = tiny.rows(16)
    rows = {
        k.replace("left", "photo").replace("right", "title"): x for k, x in rows.items()
    }
    for mode, limit in ((None, 1e-4), ("int8", 0.2)):  # the head is dynamic in int8
        path = tmp_path / f"{mode}.tflite"
        mm.export.tflite(model, path, quantize=mode, representative=rows)
        got, wanted = lite.ask(path, rows)["outputs"], model.predict(rows, verbose=0)
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(got, wanted, rtol=0, atol=limit * scale)


@pytest.mark.weights
@pytest.mark.slow
def test_pretrained_encoders(tmp_path, minilm, lite0):
    model = test_real.joined(
        {
            "photo": mm.image.from_model(lite0, scaling="unit"),
            "title": mm.text.bert(minilm, length=32),
            "clip": mm.audio.mfcc_cnn(sampling_rate=16000, seconds=1.0, units=32),
        }
    )
    rows = test_real.as_table_cells(model, test_real.raw_rows(16000))
    sizes = {}
    for mode in ("float16", "dynamic", "int8"):
        path = tmp_path / f"{mode}.tflite"
        report = mm.export.tflite(model, path, quantize=mode, representative=rows)
        sizes[mode] = report.size
        got, wanted = lite.ask(path, rows)["outputs"], model.predict(rows, verbose=0)
        limit = 2e-2 if mode == "float16" else 0.4
        assert np.abs(got - wanted).max() < limit
    front_end = 2e6  # the spectrum's matrices, which stay in float32
    weights = 4 * model.count_params()
    assert sizes["float16"] < 0.52 * weights + front_end
    assert sizes["dynamic"] < 0.27 * weights + front_end
