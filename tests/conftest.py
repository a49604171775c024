"""Shared fixtures: where the assets of `make assets` lie, and quiet logs."""

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# runs keep their features in Keras' folder: not in that of whoever runs the tests
_HOME = tempfile.TemporaryDirectory(prefix="keras-home-")
os.environ["KERAS_HOME"] = _HOME.name

CACHE = Path(__file__).parent.parent / ".cache"


def _asset(path, what):
    if not path.exists():
        pytest.skip(f"{what} is not at {path}: run `make assets`")
    return path


@pytest.fixture(scope="session")
def minilm():
    """Folder of the MiniLM-L6 checkpoint in the Hugging Face layout."""
    return str(_asset(CACHE / "minilm", "the MiniLM-L6 checkpoint"))


@pytest.fixture(scope="session")
def stamps():
    """Folder of the Tux Paint stamps (pictures, captions, speech)."""
    return _asset(CACHE / "stamps/usr/share/tuxpaint/stamps", "the Tux Paint stamps")


@pytest.fixture(scope="session")
def lite0():
    """The EfficientNet-Lite0 `.keras` file with ImageNet weights."""
    return str(_asset(CACHE / "efficientnet_lite0.keras", "EfficientNet-Lite0"))


# begun first, so that no process is left alone with one of them at the end
LONG = (
    "test_readme.py",
    "testing/test_table.py",
    "test_resume.py",
    "test_two_replicas",
    "test_replicas.py",
    "test_distribute.py",
    "test_strategies.py",
    "test_tflite_quantized.py",
    "test_real.py",
    "test_other_parts.py",
    "run/test_train.py",
    "run/test_report.py",
    "examples/",
    "transfer/test_law.py",
    "transfer/test_unfreezing.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=_by_length)


def _by_length(item):
    return not any(part in item.nodeid for part in LONG)


@pytest.fixture(autouse=True)
def _seed():
    import keras

    keras.utils.set_random_seed(0)
    yield


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    import keras
    import numpy

    import mmkeras

    doctest_namespace.update(mmkeras=mmkeras, mm=mmkeras, np=numpy, keras=keras)
