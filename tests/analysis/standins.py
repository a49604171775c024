"""Tiny multimodal models and data for the tests of analysis."""

import keras
import numpy as np
from keras import ops

import mmkeras
from mmkeras.fusion.base import Fusion
from mmkeras.modality import ModalityInput, tensor_input


class Numbers(ModalityInput):
    """A contract without files: a tensor of numbers."""

    kind = "table"

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    @property
    def tensor_shape(self):
        return self.shape

    def call(self, x):
        return x


class MeanOfTokens(Fusion):
    """Means over the tokens that are there, side by side."""

    takes_tokens = True

    def fused_dim(self):
        return sum(self.dims.values())

    def fuse(self, features, presence):
        means = []
        for name in self.names:
            tokens, mask = features[name]["tokens"], features[name]["mask"]
            count = ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1)
            means.append(ops.sum(tokens * mask[..., None], axis=1) / count)
        return ops.concatenate(means, axis=-1)


def vector_encoder(width, units=6):
    """A network that does not map zeros to zeros."""
    contract = Numbers((width,))
    x = tensor_input(contract, "x")
    start = keras.initializers.RandomNormal(stddev=1.0)
    layer = keras.layers.Dense(units, "tanh", bias_initializer=start)
    return keras.Model(x, layer(contract(x)))


def token_encoder(length, width, units=5):
    contract = Numbers((length, width))
    x = tensor_input(contract, "x")
    tokens = keras.layers.Dense(units, bias_initializer="ones")(contract(x))
    mask = ops.cast(ops.any(contract(x) != 0, axis=-1), "float32")
    return keras.Model(x, {"tokens": tokens, "mask": mask})


def vector_model(head, fusion=None):
    encoders = {
        "photo": vector_encoder(4),
        "title": vector_encoder(3),
        "clip": vector_encoder(5),
    }
    fusion = fusion or mmkeras.fusion.GatedFusion(7)
    model = mmkeras.multimodal(encoders, fusion, head, modality_dropout=0.5)
    stir(model)
    return model


def token_model(head):
    encoders = {"photo": vector_encoder(4), "title": token_encoder(6, 3)}
    model = mmkeras.multimodal(encoders, MeanOfTokens(), head)
    stir(model)
    return model


def stir(model):
    """Random weights, gates included, which start at zeros."""
    rng = np.random.default_rng(5)
    for w in model.trainable_variables:
        w.assign(rng.normal(0, 0.7, w.shape))


def inputs_of(model, rows=70, missing=0.3, seed=0):
    """Random inputs; missing values are zeros with presence 0, as tables give them."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for name, contract in mmkeras.readers(model).items():
        there = (rng.random(rows) > missing).astype("float32")
        x = rng.normal(size=(rows, *contract.tensor_shape)).astype("float32")
        there_too = there.reshape(-1, *[1] * len(contract.tensor_shape))
        inputs[name] = x * there_too
        inputs[f"{name}_present"] = there
    return inputs


def hide(inputs, shown, names):
    """The slow, plain way: zeros and presence 0 for what is not shown."""
    hidden = dict(inputs)
    for name in names:
        if name not in shown:
            hidden[name] = np.zeros_like(inputs[name])
            hidden[f"{name}_present"] = np.zeros_like(inputs[f"{name}_present"])
    return hidden
