"""Numbers in pairs: two views of one hidden vector, for what learns from pairs."""

import keras
import numpy as np

from mmkeras.modality import tensor_input
from tests.tiny import Numbers

WIDTHS = {"left": 6, "right": 5}


def encoder(width, units=8):
    contract = Numbers(width)
    inputs = tensor_input(contract, "numbers_in")
    x = keras.layers.Dense(units, activation="tanh")(contract(inputs))
    return keras.Model(inputs, x)


def encoders():
    return {name: encoder(width) for name, width in WIDTHS.items()}


def rows(count, seed=0):
    """Two linear views of a vector of four numbers; nothing is missing."""
    maps = np.random.default_rng(9)
    hidden = np.random.default_rng(seed).normal(size=(count, 4))
    made = {}
    for name, width in WIDTHS.items():
        made[name] = (hidden @ maps.normal(size=(4, width))).astype("float32")
        made[f"{name}_present"] = np.ones(count, "float32")
    return made
