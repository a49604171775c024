import ml_dtypes
import numpy as np
import pytest

from mmkeras.text import bert
from tests.text import tiny


@pytest.fixture
def want(tmp_path):
    return bert(
        tiny.folder(tmp_path / "want"), length=8, pooling="pooler"
    ).get_weights()


def _weights(path, found, **options):
    folder = tiny.folder(path, found, **options)
    return bert(folder, length=8, pooling="pooler").get_weights()


def _equal(got, want):
    assert all(np.array_equal(x, y) for x, y in zip(got, want, strict=True))


def test_names_with_and_without_prefix(tmp_path, want):
    # as BertForMaskedLM writes: a prefix, and a head that is not read
    found = {f"bert.{name}": value for name, value in tiny.tensors().items()}
    found["cls.predictions.bias"] = np.zeros(12, "float32")
    _equal(_weights(tmp_path / "prefix", found), want)


def test_gamma_and_beta(tmp_path, want):
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    found = {}
    for name, value in tiny.tensors().items():
        for new, word in old.items():
            name = name.replace(new, word)
        found[name] = value
    assert "embeddings.LayerNorm.gamma" in found
    _equal(_weights(tmp_path / "gamma", found), want)


def test_shards(tmp_path, want):
    _equal(_weights(tmp_path / "shards", tiny.tensors(), shards=3), want)


def test_half_precision(tmp_path, want):
    for dtype in ("float16", ml_dtypes.bfloat16):
        found = {name: value.astype(dtype) for name, value in tiny.tensors().items()}
        got = _weights(tmp_path / np.dtype(dtype).name, found)
        _equal(got, [x.astype(dtype).astype("float32") for x in want])


def test_random_weights_need_no_tensors(tmp_path):
    folder = tiny.folder(tmp_path / "random")
    (tmp_path / "random/model.safetensors").unlink()
    kernel = bert(folder, length=8, weights=None).get_layer("layer_0_output").kernel
    assert 0 < np.abs(kernel).max() <= 0.04 + 1e-6  # BERT's: 0.02, cut at two sigma
    with pytest.raises(ValueError, match="model.safetensors. Received: folder .*vocab"):
        bert(folder, length=8)


def test_missing_tensors(tmp_path):
    found = tiny.tensors()
    del found["encoder.layer.1.output.dense.bias"], found["pooler.dense.weight"]
    folder = tiny.folder(tmp_path, found)
    with pytest.raises(ValueError, match=r"lacks 1 tensors.*'bert.encoder.layer.1.out"):
        bert(folder, length=8)
    with pytest.raises(ValueError, match="lacks 2 tensors.*pooling='pooler'"):
        bert(folder, length=8, pooling="pooler")


def test_tensor_of_another_shape(tmp_path):
    found = tiny.tensors()
    found["embeddings.word_embeddings.weight"] = np.zeros((5, 8), "float32")
    with pytest.raises(ValueError, match=r"word_embeddings.*\(12, 8\).*\(5, 8\)"):
        bert(tiny.folder(tmp_path, found), length=8)


def test_a_cut_file(tmp_path):
    folder = tiny.folder(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="wants a whole safetensors file"):
        bert(folder, length=8)


def test_no_config(tmp_path):
    with pytest.raises(ValueError, match="wants a config.json.*no file"):
        bert(tmp_path, length=8)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json' wants JSON"):
        bert(tmp_path, length=8)


def test_no_such_folder():
    for name in ("./absent", "/absent/folder", "a/b/c"):
        with pytest.raises(ValueError, match=f"'{name}', which is not a folder"):
            bert(name)


def test_the_hub_is_out_of_reach(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ValueError, match="ConnectionError.*give the folder"):
        bert("google-bert/bert-base-uncased")


def test_a_hub_name_is_fetched_without_pickles(monkeypatch, tmp_path, want):
    folder = tiny.folder(tmp_path / "hub")

    def fetch(name, allow_patterns, **_):
        assert name == "someone/tiny-bert"
        assert not any("bin" in x or x in ("*", "*.*") for x in allow_patterns)
        return folder

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    _equal(bert("someone/tiny-bert", length=8, pooling="pooler").get_weights(), want)
