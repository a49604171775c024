"""Two replicas train as one device does; another backend trains too."""

import numpy as np
import pytest

from mmkeras.testing import process
from tests.balance.on_replicas import METHODS


@pytest.mark.slow
def test_two_replicas_train_as_one_device(tmp_path):
    process.run("tests.balance.on_replicas", tmp_path)
    for method in METHODS:
        with (
            np.load(tmp_path / f"{method}.1.npz") as one,
            np.load(tmp_path / f"{method}.2.npz") as two,
        ):
            assert sorted(one) == sorted(two)
            assert ("photo_scale" in one) == (method != "supervised")
            for name in one:
                np.testing.assert_allclose(
                    two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name
                )


@pytest.mark.slow
def test_all_fit_on_jax(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    process.run("tests.balance.on_backend", tmp_path)
    with np.load(tmp_path / "jax.npz") as found:
        for name in (*METHODS, "blending"):
            assert np.isfinite(found[name]).all()
        assert found["ogm_ge"].min() < found["ogm_ge"].max() == 1
