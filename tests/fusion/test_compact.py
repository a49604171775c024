"""Compact bilinear pooling against count sketches and numpy's FFT."""

import numpy as np
import pytest

from mmkeras import fusion
from mmkeras.fusion.bilinear import fourier, inverse_fourier

RNG = np.random.default_rng(0)
DIMS = {"a": 5, "b": 3, "c": 7}
X = {n: RNG.normal(size=(4, d)).astype("float32") for n, d in DIMS.items()}
PRESENCE = {
    "a": np.array([1, 1, 0, 0], "float32"),
    "b": np.array([1, 0, 1, 0], "float32"),
    "c": np.array([1, 1, 1, 0], "float32"),
}


def count_sketch(matrix, units):
    """The sketch's matrix in the time domain, read off the layer's, by numpy's FFT."""
    half = matrix.shape[1] // 2
    return np.fft.irfft(matrix[:, :half] + 1j * matrix[:, half:], n=units, axis=1)


@pytest.mark.parametrize("units", [1, 2, 7, 8])
def test_fourier_as_matmul(units):
    x = RNG.normal(size=(3, units))
    half = units // 2 + 1
    got, wanted = x @ fourier(units), np.fft.rfft(x)
    np.testing.assert_allclose(got[:, :half] + 1j * got[:, half:], wanted, atol=1e-12)
    np.testing.assert_allclose(got @ inverse_fourier(units), x, atol=1e-12)


@pytest.mark.parametrize("units", [7, 8])
def test_is_the_convolution_of_count_sketches(units):
    layer = fusion.MCB(units)
    layer(X)
    got = layer(X, PRESENCE).numpy()
    sketches = {}
    for n, matrix in layer.sketches.items():
        sketches[n] = count_sketch(matrix.numpy().astype("float64"), units)
        # each entry goes to one place, with one sign
        np.testing.assert_allclose(np.abs(sketches[n]).sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.abs(sketches[n]).max(axis=1), 1, atol=1e-5)
    for i in range(4):
        there = [X[n][i] @ sketches[n] for n in "abc" if PRESENCE[n][i]]
        if not there:
            assert (got[i] == 0).all()
            continue
        z = np.fft.ifft(np.prod([np.fft.fft(s) for s in there], axis=0)).real
        z = z / np.sqrt(np.abs(z) + 1e-2)
        z = z / np.sqrt((z**2).sum() + 1e-6)
        np.testing.assert_allclose(got[i], z, rtol=1e-4, atol=1e-5)


def test_keeps_the_product_of_inner_products_on_average():
    """E <z, z'> = <a, a'> <b, b'> over the hashes: the point of the sketch."""
    x = {n: X[n] for n in "ab"}
    ones = np.ones((4, 2), "float32")
    found = []
    for seed in range(200):
        layer = fusion.MCB(16, seed=seed)
        layer.build({n: v.shape for n, v in x.items()})
        z = layer.sketch(x, ones).numpy()
        found.append(z[0] @ z[1])
    wanted = (X["a"][0] @ X["a"][1]) * (X["b"][0] @ X["b"][1])
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - wanted) < 4 * error
    assert error < 0.3 * abs(wanted)  # it can fail


def test_seed_draws_the_sketch_and_nothing_trains():
    layers = [fusion.MCB(8, seed=s) for s in (0, 0, 1)]
    first, again, other = (layer(X).numpy() for layer in layers)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert not layers[0].trainable_weights
    layers[0].trainable = True
    assert not layers[0].trainable_weights
