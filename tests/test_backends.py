"""The core on another Keras backend: it fits there, with librosa's numbers."""

import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_core_fits_on_jax(tmp_path):
    """NaN in an absent modality, a frozen encoder, every fusion of the first set."""
    out = tmp_path / "mfcc.npy"
    done = subprocess.run(
        [sys.executable, "-m", "tests.backend_fit", str(out)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    wave = np.random.default_rng(0).normal(0, 0.1, (2, 8000)).astype("float32")
    for got, clip in zip(np.load(out), wave, strict=True):
        wanted = librosa.feature.mfcc(y=clip, sr=16000, n_mfcc=20).T
        np.testing.assert_allclose(got, wanted, atol=2e-3)
