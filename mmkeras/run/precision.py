"""Training in 16 bits, and the float32 model that comes out of it.

In a mixed policy the layers compute in 16 bits and keep their weights in float32;
contracts, audio front ends and heads stay in float32 by themselves. What is saved
computes in float32 on the same weights: it runs and exports anywhere.
"""

import contextlib
import json
import tempfile
import zipfile
from pathlib import Path

import keras

from mmkeras.load import load_model

_NARROW = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


@contextlib.contextmanager
def policy(name):
    """Keras' policy for layers that are made in the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model):
    """The model with every layer computing in float32: the same weights and names.

    A file is what holds all of a model, an encoder's own SavedModel too: it is written,
    its policies are changed, and it is read again. Not compiled.

    Args:
        model: `keras.Model`; itself where nothing of it computes in 16 bits.
    """
    if not any(_is_mixed(x.dtype_policy) for x in model._flatten_layers()):
        return model
    with tempfile.TemporaryDirectory() as folder:
        mixed, wide = Path(folder) / "mixed.keras", Path(folder) / "wide.keras"
        model.save(mixed)
        with zipfile.ZipFile(mixed) as source, zipfile.ZipFile(wide, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    config.pop("compile_config", None)
                    _widen(config)
                    content = json.dumps(config)
                target.writestr(name, content)
        mixed.unlink()
        with policy("float32"):
            return load_model(wide, safe_mode=False)  # written just now


def _is_mixed(policy):
    return policy.compute_dtype in ("float16", "bfloat16")


def _widen(config):
    """Makes every mixed policy of a config float32, also one that is only named.

    Only values under "dtype" are policies: a class or a word may be called "float16".
    """
    if isinstance(config, list):
        for x in config:
            _widen(x)
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key == "dtype":
            config[key] = _wide(value)
        else:
            _widen(value)


def _wide(dtype):
    """A "dtype" of a config: a name, or the config of a policy."""
    if isinstance(dtype, str) and dtype in _NARROW:
        return "float32"
    if isinstance(dtype, dict) and dtype.get("class_name", "").endswith("DTypePolicy"):
        name = _wide(dtype["config"].get("name"))
        return {**dtype, "config": {**dtype["config"], "name": name}}
    return dtype
