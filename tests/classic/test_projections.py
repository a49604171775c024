"""PCA, LDA and CCA against scikit-learn, scipy and their definitions."""

import keras
import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA as TheirCCA
from sklearn.decomposition import PCA as TheirPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import mmkeras as mm

CLASSES = np.array(["left", "right", "top", "low"])


@pytest.fixture(scope="module")
def rows():
    """Features of four classes, correlated, far from the origin."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    x = rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + 5
    return x + 2 * rng.normal(size=(4, 6))[labels], CLASSES[labels]


def up_to_sign(found, wanted):
    found = np.asarray(found, "float64")
    signs = np.sign((found * wanted).sum(0))
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found * signs, wanted, atol=1e-5 * scale)


@pytest.mark.parametrize("whiten", [False, True])
def test_pca_is_scikit_learns(rows, whiten):
    x, _ = rows
    layer = mm.classic.PCA(3, whiten=whiten)
    layer.adapt(x)
    theirs = TheirPCA(3, whiten=whiten, svd_solver="full").fit(x)
    up_to_sign(layer(x), theirs.transform(x))


def test_pca_of_more_numbers_than_rows():
    x = np.random.default_rng(0).normal(size=(10, 50))
    layer = mm.classic.PCA(10)
    layer.adapt(x)
    gaps = np.linalg.norm(x[:, None] - x, axis=-1)
    y = np.asarray(layer(x))
    np.testing.assert_allclose(np.linalg.norm(y[:, None] - y, axis=-1), gaps, atol=1e-4)


def test_lda_is_scikit_learns(rows):
    x, labels = rows
    layer = mm.classic.LDA(3)
    layer.adapt(x, labels)
    theirs = LinearDiscriminantAnalysis().fit(x, labels)
    wanted = theirs.transform(x)
    # its releases differ in what they divide by: the rows, or the rows less the classes
    within = wanted - np.stack([wanted[labels == c].mean(0) for c in labels])
    up_to_sign(layer(x), wanted / within.std(0))


def test_shrunk_lda_solves_the_shrunk_problem(rows):
    x, labels = rows
    layer = mm.classic.LDA(2, shrinkage=0.3)
    layer.adapt(x, labels)
    groups = [x[labels == c] for c in CLASSES]
    within = sum((g - g.mean(0)).T @ (g - g.mean(0)) for g in groups) / 60
    within = 0.7 * within + 0.3 * np.trace(within) / 6 * np.eye(6)
    means = np.stack([g.mean(0) - x.mean(0) for g in groups])
    between = means.T @ (means * [[len(g)] for g in groups])
    _, vectors = scipy.linalg.eigh(between, within)
    up_to_sign(layer(x), (x - x.mean(0)) @ vectors[:, :-3:-1])


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(200, 2))
    x = np.hstack([shared + 0.5 * rng.normal(size=(200, 2)), rng.normal(size=(200, 3))])
    y = np.hstack([shared @ [[1, 2], [-1, 1]], rng.normal(size=(200, 2))])
    y = y + 0.3 * rng.normal(size=y.shape) + 7
    return {"photo": x @ rng.normal(size=(5, 5)), "title": y}


def test_cca_is_scikit_learns(pair):
    layer = mm.classic.CCA(["photo", "title"], 3)
    layer.adapt(pair)
    found = {k: np.asarray(v, "float64") for k, v in layer(pair).items()}
    theirs = TheirCCA(3, max_iter=5000, tol=1e-12).fit(pair["photo"], pair["title"])
    x, y = theirs.transform(pair["photo"], pair["title"])
    x, y = (z / z.std(0, ddof=1) for z in (x, y))
    up_to_sign(found["photo"], x)
    up_to_sign(found["title"], y)
    wanted = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(layer.correlations, wanted, rtol=1e-5)
    # and both sides point the same way
    pairs = zip(found["photo"].T, found["title"].T, strict=True)
    same = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    np.testing.assert_allclose(same, wanted, rtol=1e-5)


def test_regularized_cca_solves_the_shrunk_problem(pair):
    layer = mm.classic.CCA(["photo", "title"], 2, regularization=0.2)
    layer.adapt(pair)
    x, y = (pair[k] - pair[k].mean(0) for k in ("photo", "title"))
    cxx, cyy = (
        0.8 * np.cov(z.T) + 0.2 * np.trace(np.cov(z.T)) / z.shape[1] * np.eye(len(z.T))
        for z in (x, y)
    )
    cxy = x.T @ y / 199
    squares, vectors = scipy.linalg.eigh(cxy @ np.linalg.solve(cyy, cxy.T), cxx)
    np.testing.assert_allclose(layer.correlations, squares[:-3:-1] ** 0.5, rtol=1e-5)
    up_to_sign(layer.side("photo")(pair["photo"]), x @ vectors[:, :-3:-1])


def test_absent_rows_do_not_count_and_become_zeros(rows, pair):
    x, labels = rows
    there = np.arange(60) % 3 > 0
    holes = np.where(there[:, None], x, np.nan)
    for kind, given in ((mm.classic.PCA, ()), (mm.classic.LDA, (labels,))):
        layer, wanted = kind(2), kind(2)
        layer.adapt(holes, *given, presence=there)
        wanted.adapt(x[there], *(z[there] for z in given))
        np.testing.assert_array_equal(layer.kernel, wanted.kernel)
        with pytest.raises(ValueError, match="NaN or infinity in 20 rows"):
            kind(2).adapt(holes, *given)
    presence = {"photo": np.arange(200) % 3 > 0, "title": np.arange(200) % 4 > 0}
    holes = {k: np.where(presence[k][:, None], v, np.nan) for k, v in pair.items()}
    layer, wanted = (mm.classic.CCA(["photo", "title"], 2) for _ in range(2))
    layer.adapt(holes, presence)
    both = presence["photo"] & presence["title"]
    wanted.adapt({k: v[both] for k, v in pair.items()})
    np.testing.assert_array_equal(layer.correlations, wanted.correlations)
    found = layer(holes, presence)
    for name, y in found.items():
        assert np.isfinite(y).all()
        assert not np.asarray(y)[~presence[name]].any()


def test_behind_encoders_frozen_saved_and_loaded(rows, pair, tmp_path):
    from tests import tiny

    numbers = tiny.Numbers(6, name="numbers")
    inputs = mm.modality.tensor_input(numbers, "numbers_in")
    layer = mm.classic.LDA(3, name="lda")
    layer.adapt(*rows)
    encoder = keras.Model(inputs, layer(numbers(inputs)))
    mm.testing.check_encoder(encoder)
    assert not encoder.trainable_weights
    encoder.save(tmp_path / "lda.keras")
    x = rows[0].astype("float32")
    again = keras.models.load_model(tmp_path / "lda.keras")
    np.testing.assert_array_equal(again(x), layer(x))

    cca = mm.classic.CCA(["photo", "title"], 2)
    cca.adapt(pair)
    inputs = {k: keras.Input(v.shape[1:], name=k) for k, v in pair.items()}
    keras.Model(inputs, cca(inputs)).save(tmp_path / "cca.keras")
    again = keras.models.load_model(tmp_path / "cca.keras")
    pair = {k: v.astype("float32") for k, v in pair.items()}
    for name, y in again(pair).items():
        np.testing.assert_array_equal(y, cca(pair)[name])


@pytest.mark.parametrize(
    ("error", "do"),
    [
        ("`units` wants a positive", lambda x, y: mm.classic.PCA(0)),
        ("at most 6", lambda x, y: mm.classic.PCA(7).adapt(x)),
        ("at most 3", lambda x, y: mm.classic.LDA(4).adapt(x, y)),
        ("one for each of 60", lambda x, y: mm.classic.LDA(2).adapt(x, y[1:])),
        ("`shrinkage` wants", lambda x, y: mm.classic.LDA(2, shrinkage=2)),
        (r"features \(rows, dim\)", lambda x, y: mm.classic.PCA(1).adapt(x[0])),
        (r"vectors \(batch, dim\)", lambda x, y: mm.classic.PCA(1)(x[None])),
        ("number for each", lambda x, y: mm.classic.PCA(1).adapt(x, [1])),
        ("two different names", lambda x, y: mm.classic.CCA(["a", "a"], 1)),
        ("`regularization` wants", lambda x, y: mm.classic.CCA(["a", "b"], 1, -1)),
        (r"wants \['a', 'b'\]", lambda x, y: mm.classic.CCA(["a", "b"], 1)({"a": x})),
        ("same rows", lambda x, y: _cca().adapt({"a": x, "b": x[1:]})),
        ("one of", lambda x, y: _cca().side("c")),
    ],
)
def test_what_is_refused(rows, error, do):
    with pytest.raises(ValueError, match=error):
        do(*rows)


def _cca():
    return mm.classic.CCA(["a", "b"], 1)
