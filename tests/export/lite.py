"""Asking a TFLite file without mmkeras, and clips that are like speech."""

import warnings

import numpy as np
import tensorflow as tf

RATE = 16000


def ask(path, tensors):
    """Answers of a file in TensorFlow's own interpreter, without delegates."""
    return _ask(open_(path), tensors)


def ask_litert(path, tensors):
    """Answers of a file in LiteRT with its fast kernels: integers round otherwise."""
    from ai_edge_litert.interpreter import Interpreter

    return _ask(Interpreter(str(path)), tensors)


def _ask(interpreter, tensors):
    serve = interpreter.get_signature_runner("serve")
    shapes = serve.get_input_details()
    count = len(next(iter(tensors.values())))
    if all(x["shape_signature"][0] < 0 for x in shapes.values()):
        return serve(**tensors)
    rows = [
        serve(**{k: x[i : i + 1] for k, x in tensors.items()}) for i in range(count)
    ]
    return {name: np.concatenate([x[name] for x in rows]) for name in rows[0]}


def open_(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of where the interpreter moves to
        return tf.lite.Interpreter(
            str(path),
            experimental_op_resolver_type=(
                tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )


def operations(path):
    """Names of the operations, as the interpreter that runs them says."""
    interpreter = open_(path)
    return sorted(x["op_name"] for x in interpreter._get_ops_details())


def dtypes(path):
    """Dtypes of the file's tensors, as a set of names."""
    details = open_(path).get_tensor_details()
    return {np.dtype(x["dtype"]).name for x in details}


def speech(samples, seed=0):
    """A voice-like wave `(1, samples)`: harmonics that glide, pauses, faint noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(samples) / RATE
    pitch = np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.3 * at + seed)) / RATE
    wave = sum(np.sin(2 * np.pi * k * pitch) / k**1.5 for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * 3 * at + seed), 0, None)
    wave = 0.2 * wave * syllables + 1e-3 * rng.standard_normal(samples)
    return wave[None].astype("float32")
