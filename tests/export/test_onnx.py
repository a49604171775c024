"""The ONNX file answers as the model does, asked without mmkeras."""

import sys

import keras
import numpy as np
import pytest
from scipy.special import ndtr

import mmkeras as mm
from mmkeras.export.onnx import OPSET
from tests import paired, tiny
from tests.export import everything, lite


def ask(path, tensors):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    names = [x.name for x in session.get_outputs()]
    return dict(zip(names, session.run(None, tensors), strict=True))


def close(got, wanted):
    limit = 1e-4 * max(1, np.abs(wanted).max())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)


def test_four_modalities_by_name_and_absent(tmp_path):
    model = everything.model()
    mm.heads.output_contract(model).temperature = 3.0
    report = mm.export.onnx(model, tmp_path / "all.onnx")
    rows = mm.data.from_table(everything.table(tmp_path), model, batch_size=7)
    rows = {name: np.asarray(x) for name, x in next(iter(rows)).items()}
    wanted = model.predict(rows, verbose=0)
    got = ask(tmp_path / "all.onnx", rows)
    close(got["outputs"], wanted)
    odds = np.exp(wanted.astype("float64") / 3)
    close(got["scores"], odds / odds.sum(1, keepdims=True))
    assert report.max_difference < 1e-5 and report.agreement == 1.0
    assert (tmp_path / "all_onnx_tokenizer.py").is_file()
    loaded = mm.export.load(tmp_path / "all.onnx")
    part = {name: x[:2] for name, x in rows.items()}
    close(loaded.predict_on_batch(part), wanted[:2])


def test_front_end_whose_fft_onnx_lacks(tmp_path):
    """Any length; Keras' own ONNX export writes a file that no runtime loads."""
    import onnx

    wave = keras.Input((None,), name="wave")
    model = keras.Model(wave, mm.audio.MFCC(16000, 13, n_fft=400)(wave))
    report = mm.export.onnx(model, tmp_path / "mfcc.onnx")
    for samples in (16000, 7001):
        sound = lite.speech(samples)
        got = ask(tmp_path / "mfcc.onnx", {"wave": sound})["outputs"]
        close(got, model.predict(sound, verbose=0))
    made = onnx.load(tmp_path / "mfcc.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert [x.version for x in made.opset_import if not x.domain] == [OPSET]
    assert sum(report.ops.values()) == len(made.graph.node)


def test_an_operation_that_onnx_lacks(tmp_path):
    wave = keras.Input((8,), name="wave")
    model = keras.Model(wave, keras.ops.rfft(wave)[0])
    with pytest.raises(ValueError, match="operations that ONNX has.*RFFT"):
        mm.export.onnx(model, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_what_tf2onnx_does_not_know(tmp_path):
    """Exact GELU, and numbers that `Normalization` keeps: of use in no request."""
    x = np.random.default_rng(0).normal(0, 3, (50, 4)).astype("float32")
    scale = keras.layers.Normalization()
    scale.adapt(2 * x + 1)
    wide = keras.Input((4,), name="x")
    model = keras.Model(wide, keras.layers.Activation("gelu")(scale(wide)))
    mm.export.onnx(model, tmp_path / "a.onnx")
    z = (x.astype("float64") - (2 * x + 1).mean(0)) / (2 * x).std(0)
    close(ask(tmp_path / "a.onnx", {"x": x})["outputs"], z * ndtr(z))


def test_outputs_that_are_called_as_inputs(tmp_path):
    model = mm.two_tower(paired.encoders(), 4)
    mm.export.onnx(model, tmp_path / "a.onnx")
    rows = paired.rows(3)
    wanted = model.predict(rows, verbose=0)
    got = ask(tmp_path / "a.onnx", rows)
    assert sorted(got) == ["left_output", "right_output"]
    loaded = mm.export.load(tmp_path / "a.onnx").predict_on_batch(rows)
    for name, x in wanted.items():
        close(got[f"{name}_output"], x)
        close(loaded[name], x)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float64"])
def test_inputs_of_other_dtypes(dtype, tmp_path):
    x = keras.Input((3,), name="x", dtype=dtype)
    model = keras.Model(x, keras.ops.cast(x, "float32") * 2 + 1)
    report = mm.export.onnx(model, tmp_path / "a.onnx")
    rows = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    assert report.max_difference < 1e-6
    answer = ask(tmp_path / "a.onnx", {"x": rows})["outputs"]
    np.testing.assert_array_equal(answer, 2.0 * rows + 1)
    got = mm.export.load(tmp_path / "a.onnx").predict_on_batch({"x": rows})
    np.testing.assert_array_equal(got, 2.0 * rows + 1)


def test_without_tf2onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install mmkeras\[onnx\]"):
        mm.export.onnx(tiny.model(), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="ending in '.onnx'"):
        mm.export.onnx(tiny.model(), tmp_path / "a.tflite")
    with pytest.raises(TypeError, match="wants a functional keras.Model"):
        mm.export.onnx("model.keras", tmp_path / "a.onnx")
