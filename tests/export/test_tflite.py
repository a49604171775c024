"""The TFLite file answers as the model does, from builtin operations alone."""

import importlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python.schema_py_generated import BuiltinOperator

import mmkeras as mm
from mmkeras.export import checks, companions, lite_file
from tests import tiny
from tests.export import lite

tflite_module = importlib.import_module("mmkeras.export.tflite")
LENGTHS = (32000, 8000, 40321)
FRONT_ENDS = {
    "mfcc": lambda: mm.audio.MFCC(16000, 20),
    "speech": lambda: mm.audio.MFCC(
        16000, 13, n_fft=400, hop_length=160, num_mel_bins=40, lifter=22
    ),
    "log_mel": lambda: mm.audio.LogMel(
        16000, n_fft=400, hop_length=160, num_mel_bins=80, pad_mode="reflect"
    ),
}


def alone(layer, samples=None):
    wave = keras.Input((samples,), name="wave")
    return keras.Model(wave, layer(wave))


def close(got, wanted, tolerance=1e-4):
    np.testing.assert_allclose(
        got, wanted, rtol=0, atol=tolerance * max(1, np.abs(wanted).max())
    )


def builtin(path, report):
    """Whether the report's operations are those that run, none of them foreign."""
    names = lite.operations(path)
    assert sorted(sum(([k] * n for k, n in report.ops.items()), [])) == names
    assert set(names) <= set(vars(BuiltinOperator)) - {"CUSTOM", "RFFT2D"}


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_front_end_alone_takes_any_length(name, tmp_path):
    model = alone(FRONT_ENDS[name]())
    report = mm.export.tflite(model, tmp_path / "a.tflite")
    builtin(tmp_path / "a.tflite", report)
    for samples in LENGTHS:
        wave = lite.speech(samples)
        got = lite.ask(tmp_path / "a.tflite", {"wave": wave})["outputs"]
        close(got, model.predict(wave, verbose=0))
    assert model.layers[-1].dft == "rfft"
    assert len(model.layers[-1]._inbound_nodes) == 1


@pytest.fixture(scope="module")
def encoder():
    """`mfcc_cnn` whose statistics are not at their first values."""
    keras.utils.set_random_seed(0)
    made = mm.audio.mfcc_cnn(sampling_rate=lite.RATE, seconds=2.0, units=16)
    rng = np.random.default_rng(0)
    made.set_weights([x + rng.uniform(0, 0.3, x.shape) for x in made.get_weights()])
    return made


def test_mfcc_cnn_takes_any_length(encoder, tmp_path):
    path = tmp_path / "cnn.tflite"
    report = mm.export.tflite(encoder, path, any_length=True)
    builtin(path, report)
    for samples in LENGTHS:
        same = mm.audio.mfcc_cnn(lite.RATE, samples / lite.RATE, units=16)
        same.set_weights(encoder.get_weights())
        waves = np.concatenate([lite.speech(samples, i) for i in range(2)])
        waves[1, samples // 2 :] = 0  # padding
        got = lite.ask(path, {"wave": waves})["outputs"]
        close(got, same(waves, training=False).numpy())


def test_saved_model_of_front_end_and_encoder(encoder, tmp_path):
    for name, model in {"cnn": encoder, "mfcc": alone(FRONT_ENDS["mfcc"]())}.items():
        model.export(tmp_path / name, verbose=False)
        assert checks.custom_ops(tmp_path / name) == ()
        wave = lite.speech(32000)
        loaded = tf.saved_model.load(str(tmp_path / name))  # `serve` does not hold it
        close(loaded.serve(wave).numpy(), model.predict(wave, verbose=0))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`(model, path, report)` of two modalities, in float32."""
    keras.utils.set_random_seed(0)
    model = tiny.model(modality_dropout=0.5)
    mm.heads.output_contract(model).temperature = 0.5
    path = tmp_path_factory.mktemp("lite") / "models/tiny.tflite"
    rows, _ = tiny.rows(8)
    return model, path, mm.export.tflite(model, path, representative=rows)


def test_absent_modalities(exported):
    model, path, _ = exported
    rows, _ = tiny.rows(6, seed=1)
    for i, name in enumerate(("left_present", "right_present")):
        rows[name][:] = 1
        rows[name][i] = rows[name][2] = 0
    wanted = model.predict(rows, verbose=0)
    got = lite.ask(path, rows)
    close(got["outputs"], wanted)
    odds = np.exp(wanted.astype("float64") / 0.5)
    close(got["scores"], odds / odds.sum(1, keepdims=True))
    there = {**rows, "left_present": np.ones(6, "float32")}
    assert np.abs(lite.ask(path, there)["outputs"][0] - wanted[0]).max() > 1e-3


def test_probabilities_that_the_card_tells(exported, tmp_path):
    """By its temperature; a card written before there was one means 1."""
    _, path, _ = exported
    rows, _ = tiny.rows(6, seed=1)
    beside = path.with_name(f"{path.name}.json")
    described = json.loads(beside.read_text("utf-8"))
    assert described["outputs"]["outputs"].pop("temperature") == 0.5
    old = tmp_path / path.name
    old.write_bytes(path.read_bytes())
    old.with_name(beside.name).write_text(json.dumps(described), "utf-8")
    for place, temperature in ((path, 0.5), (old, 1.0)):
        loaded = mm.export.load(place)
        outputs = loaded.predict_on_batch(rows)
        odds = np.exp(outputs.astype("float64") / temperature)
        got = [[x[name] for name in "012"] for x in loaded.decode(outputs)]
        close(got, odds / odds.sum(1, keepdims=True))


def test_report_against_another_interpreter(exported):
    model, path, report = exported
    builtin(path, report)
    assert report.size == path.stat().st_size
    assert report.agreement == 1.0 and report.quantize is None
    assert 0 < report.milliseconds < 100
    assert str(path) in str(report) and "FULLY_CONNECTED" in str(report)
    assert report.max_difference < 1e-5
    assert sorted(x.name for x in path.parent.iterdir()) == [
        "tiny.tflite",
        "tiny.tflite.json",
    ]
    card = mm.export.read_card(path)
    assert card["inputs"]["left"] == {"shape": [6], "dtype": "float32"}
    assert card["outputs"]["outputs"]["classes"] == ["0", "1", "2"]


def test_numbers_of_a_report(monkeypatch, tmp_path):
    """A file that is wrong by 0.5 in one of its numbers; hand-worked mean."""
    model = alone(keras.layers.Rescaling(2.0), 4)
    true = lite_file.LiteFile.__call__

    def wrong(self, tensors):
        answer = true(self, tensors)
        answer["outputs"][0, 0] += 0.5
        return answer

    monkeypatch.setattr(lite_file.LiteFile, "__call__", wrong)
    rows = {"wave": np.full((2, 4), 2.0, "float32")}  # outputs 4
    report = mm.export.tflite(
        model, tmp_path / "a.tflite", tolerance=1, representative=rows
    )
    # 4 rows of noise and 2 of ours, 4 numbers each, two of them off by 0.5 of 4
    assert report.rows == 6
    assert report.max_difference == pytest.approx(0.125, rel=1e-5)
    assert report.mean_differences["outputs"] == pytest.approx(2 * 0.125 / 24, rel=1e-4)
    with pytest.raises(ValueError, match=r"differs .* by 0\.12.*Nothing was written"):
        mm.export.tflite(model, tmp_path / "new/b.tflite", representative=rows)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.tflite", "a.tflite.json"]


def test_lora_is_merged(tmp_path):
    model = tiny.model()
    mm.transfer.enable_lora(model, "left", rank=2)
    rng = np.random.default_rng(0)
    model.set_weights([x + rng.uniform(0.1, 0.5, x.shape) for x in model.get_weights()])
    report = mm.export.tflite(model, tmp_path / "a.tflite")
    rows, _ = tiny.rows(4)
    wanted = model.predict(rows, verbose=0)
    close(lite.ask(tmp_path / "a.tflite", rows)["outputs"], wanted)
    assert "lora_kernel_a" in {w.name for w in model.weights}
    merged = mm.export.tflite(mm.transfer.merge_lora(model), tmp_path / "b.tflite")
    assert report.ops == merged.ops


@keras.saving.register_keras_serializable("tests")
class InverseError(keras.layers.Layer):
    def call(self, x):
        return keras.ops.erfinv(x / 2)


def test_foreign_operation_is_named(tmp_path):
    wave = keras.Input((4,), name="wave")
    model = keras.Model(wave, InverseError(name="strange")(keras.layers.ReLU()(wave)))
    with pytest.raises(ValueError, match=r"Erfinv \(layer .*strange"):
        mm.export.tflite(model, tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())


def test_text_comes_with_its_vocabulary(tmp_path):
    words = [*mm.text.wordpiece_vocabulary(["a red cup", "naïve"], lowercase=False)]
    contract = mm.text.TokenIds(words, length=6, lowercase=False)
    ids = mm.modality.tensor_input(contract, "ids")
    x = keras.layers.Embedding(len(words), 8)(contract(ids))
    model = keras.Model(ids, keras.layers.Flatten()(x))
    mm.export.tflite(model, tmp_path / "a.tflite", batch_size=None)
    card = mm.export.read_card(tmp_path / "a.tflite")["modalities"]["ids"]
    assert card["lowercase"] is False and card["shape"] == [6]
    text = (tmp_path / card["vocabulary"]).read_text("utf-8")
    assert text.split("\n") == [*words, ""]
    tokens = contract.read(["red cup", "a naïve cup"]).numpy()
    got = lite.ask(tmp_path / "a.tflite", {"ids": tokens})["outputs"]
    close(got, model.predict(tokens, verbose=0))


def test_bad_arguments(tmp_path):
    model, path = tiny.model(), tmp_path / "a.tflite"
    with pytest.raises(TypeError, match="wants a functional keras.Model"):
        mm.export.tflite("model.keras", path)
    with pytest.raises(ValueError, match="ending in '.tflite'"):
        mm.export.tflite(model, tmp_path / "1")
    with pytest.raises(ValueError, match=r"one of \(None, 'float16'"):
        mm.export.tflite(model, path, quantize="int4")
    with pytest.raises(ValueError, match="wants `representative` rows"):
        mm.export.tflite(model, path, quantize="int8")
    with pytest.raises(ValueError, match=r"model's inputs .*Received: \['left'\]"):
        mm.export.tflite(model, path, representative={"left": np.ones((1, 6))})
    with pytest.raises(ValueError, match="at least one row"):
        mm.export.tflite(model, path, representative=[])
    wave = keras.Input((4,), name="wave")
    two = keras.Model(wave, [wave * 2, wave * 3])
    with pytest.raises(ValueError, match="one output or a dict"):
        mm.export.tflite(two, path)
    half = keras.Model(wave, keras.layers.Dense(2, dtype="mixed_float16")(wave))
    with pytest.raises(ValueError, match="compute in float32"):
        mm.export.tflite(half, path)
    path.write_text("mine")
    with pytest.raises(ValueError, match="not there yet"):
        mm.export.tflite(model, path)
    assert path.read_text() == "mine"


def test_overwrite(tmp_path):
    model = alone(keras.layers.Rescaling(2.0), 4)
    (tmp_path / "a.tflite").write_text("old")
    mm.export.tflite(model, tmp_path / "a.tflite", overwrite=True)
    assert json.loads((tmp_path / "a.tflite.json").read_text("utf-8"))
    wave = np.ones((1, 4), "float32")
    close(lite.ask(tmp_path / "a.tflite", {"wave": wave})["outputs"], 2 * wave)


def test_companions_go_with_their_file(tmp_path, monkeypatch):
    words = mm.text.wordpiece_vocabulary(["a red cup"])
    contract = mm.text.TokenIds(words, length=6)
    ids = mm.modality.tensor_input(contract, "ids")
    x = keras.layers.Embedding(len(words), 2)(contract(ids))
    text, plain = keras.Model(ids, x), alone(keras.layers.Rescaling(2.0), 4)
    path = tmp_path / "my-model.tflite"
    with monkeypatch.context() as patched:
        patched.setattr(tflite_module, "convert", None)  # is not reached
        (tmp_path / "my_model_tflite_tokenizer.py").write_text("mine")
        with pytest.raises(ValueError, match="my_model_tflite_tokenizer.py, which is"):
            mm.export.tflite(text, path)
    (tmp_path / "my_model_tflite_tokenizer.py").unlink()
    mm.export.tflite(text, path)
    own = ["my-model.tflite", "my-model.tflite.json"]
    assert len(list(tmp_path.iterdir())) == 5
    others = ["my-model.tflite.bak", "my-model.tflite.notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")
    mm.export.tflite(plain, path, overwrite=True)
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted([*own, *others])


def test_a_card_cannot_have_files_deleted(tmp_path):
    """Nor is a tokenizer taken away that another file reads by."""
    (tmp_path / "b").mkdir()
    kept = ["b/a-b.tflite.x.vocab.txt.bak", "a-b.tflite.vocab.txt", "a_b.tflite"]
    kept += ["a_b_tflite_tokenizer.py"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    names = ["../x", "../../a", "x/../b", 3, None, ""]
    described = {"modalities": dict.fromkeys(map(str, names))}
    (tmp_path / "a-b.tflite.json").write_text(json.dumps(described))
    assert companions._stale(tmp_path / "a-b.tflite") == []
    for text in ("[]", "{}", "no JSON", '{"modalities": 3}'):
        (tmp_path / "a-b.tflite.json").write_text(text)
        assert companions._stale(tmp_path / "a-b.tflite") == []


def test_file_asked_wrongly(exported):
    file = lite_file.LiteFile(exported[1].read_bytes())
    with pytest.raises(ValueError, match=r"wants the inputs .*Received: \['left'\]"):
        file({"left": np.ones((1, 6))})
    with pytest.raises(ValueError, match="refuses the file"):
        lite_file.LiteFile(b"not a file of TFLite at all")
