"""Places beside features."""

import keras
import numpy as np
import pytest

import mmkeras as mm


def test_columns_and_rows_from_edge_to_edge():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    found = np.asarray(mm.image.Coordinates()(x))
    np.testing.assert_array_equal(found[..., :4], x)
    for i in range(3):
        for j in range(5):
            wanted = [-1 + 2 * j / 4, -1 + 2 * i / 2]
            np.testing.assert_allclose(found[1, i, j, 4:], wanted, atol=1e-7)


def test_one_place_lies_in_the_middle():
    found = mm.image.Coordinates()(np.ones((1, 1, 2, 1), "float32"))
    assert np.asarray(found)[0, 0].tolist() == [[1, -1, 0], [1, 1, 0]]


def test_half_precision_and_a_nan_stays_where_it_is():
    x = np.zeros((1, 2, 2, 1), "float32")
    x[0, 0, 0, 0] = np.nan
    found = mm.image.Coordinates(dtype="mixed_float16")(x)
    assert found.dtype == "float16"
    assert np.isnan(np.asarray(found)).sum() == 1


def test_a_map_of_unknown_size():
    with pytest.raises(ValueError, match="wants a feature map"):
        mm.image.Coordinates()(keras.Input((None, 4, 2)))
