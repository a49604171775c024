"""The map beside a singular value decomposition by hand, and its plot."""

import sys
import types

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras.analysis.rows.embedding_map import EmbeddingMap
from mmkeras.model import with_features
from tests import tiny


@pytest.fixture(scope="module")
def asked():
    keras.utils.set_random_seed(0)
    model, data = tiny.model(), tiny.rows(20)
    return model, data, mm.analysis.embedding_map(model, data)


def test_points_are_the_principal_components(asked):
    model, (inputs, labels), found = asked
    outputs, fused = with_features(model)(inputs, training=False)
    fused = keras.ops.convert_to_numpy(fused).astype("float64")
    np.testing.assert_array_equal(
        found.predicted, keras.ops.convert_to_numpy(outputs).argmax(1).astype(str)
    )
    assert list(found.true) == [str(x) for x in labels]
    centred = fused - fused.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    signs = np.sign((expected * found.points).sum(0))
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found.points, signs * expected, atol=1e-5 * largest)
    shares = values[:2] ** 2 / (values**2).sum()
    np.testing.assert_allclose(found.explained, shares, rtol=1e-5)
    assert list(found.to_frame()) == ["x", "y", "true", "predicted"]
    assert "PCA of the fused features of 20 rows" in str(found)


def test_umap_is_asked_with_the_seed(asked, monkeypatch):
    model, data, _ = asked

    class UMAP:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, x):
            assert self.options["random_state"] == 5
            assert self.options["n_neighbors"] < len(x)
            return x[:, :2]

    stub = types.ModuleType("umap")
    stub.UMAP = UMAP
    monkeypatch.setitem(sys.modules, "umap", stub)
    found = mm.analysis.embedding_map(model, data, "umap", seed=5)
    assert found.explained is None and found.points.shape == (20, 2)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        mm.analysis.embedding_map(model, data, "umap")


def test_what_is_wrong_is_told(asked):
    model, (inputs, labels), _ = asked
    with pytest.raises(ValueError, match="`method` wants one of"):
        mm.analysis.embedding_map(model, (inputs, labels), "tsne")
    two = {key: x[:2] for key, x in inputs.items()}
    with pytest.raises(ValueError, match="wants 3 rows or more"):
        mm.analysis.embedding_map(model, (two, labels[:2]))


def test_many_classes_and_numbers_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(90, 2))
    names = np.array([f"class {i % 18}" for i in range(90)], object)
    for kind, true, explained in (
        ("single", names, np.array([0.5, 0.2])),
        ("number", rng.normal(size=90), None),
    ):
        found = EmbeddingMap("pca", kind, points, true, true, explained)
        mm.analysis.plots.embedding_map(found, tmp_path / f"{kind}.png")
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
