"""A linear model of two modalities, whose answers and gradients are worked by hand."""

import keras
import numpy as np

import mmkeras as mm
from tests import tiny

NAMES = ("photo", "title")
WIDTHS = {"photo": 3, "title": 4}


def model(classes=3, kind="single", **kwargs):
    """y = [x_photo A_photo; x_title A_title] W: no bias anywhere."""
    encoders = {}
    for name in NAMES:
        numbers = tiny.Numbers(WIDTHS[name], name="numbers")
        inputs = mm.modality.tensor_input(numbers, "in")
        dense = keras.layers.Dense(2, use_bias=False, name=f"{name}_dense")
        encoders[name] = keras.Model(inputs, dense(numbers(inputs)), name=name)
    names = [f"class{i}" for i in range(classes)]
    head = mm.heads.Prediction(names, kind, use_bias=False, name="head")
    return mm.multimodal(encoders, mm.fusion.Concat(), head, **kwargs)


def rows(count=12, classes=3, seed=0):
    """Inputs and labels; the first row lacks the photo, the second the title."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for i, name in enumerate(NAMES):
        inputs[name] = rng.normal(size=(count, WIDTHS[name])).astype("float32")
        inputs[f"{name}_present"] = np.ones(count, "float32")
        inputs[f"{name}_present"][i] = 0
    return inputs, rng.integers(0, classes, count).astype("int32")


def weights(made):
    """A of each modality, and W of each, as float64."""
    head = made.get_layer("head").get_weights()[0].astype("float64")
    encoders = mm.model.encoders(made)
    own = {n: encoders[n].get_weights()[0].astype("float64") for n in NAMES}
    return own, {"photo": head[:2], "title": head[2:]}


def shares(made, inputs):
    """What each modality adds to the logits: x A W, zeros where it is absent."""
    own, head = weights(made)
    there = {n: inputs[f"{n}_present"][:, None].astype("float64") for n in NAMES}
    return {n: there[n] * (inputs[n] @ own[n] @ head[n]) for n in NAMES}


def log_softmax(z):
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def gradients(made, variables, inputs, labels, loss, **kwargs):
    """Gradients of the loss, as numpy, by TensorFlow's tape, in training mode."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss(labels, made(inputs, training=True, **kwargs))
    found = tape.gradient(value, [x.value for x in variables])
    return [np.asarray(x) for x in found]
