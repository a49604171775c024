"""Two towers whose weights are set by hand: what is seen and said is its colour."""

import keras
import numpy as np

import mmkeras as mm
from mmkeras.modality import tensor_input
from tests.tiny import Numbers

NAMES = ("red", "green", "blue", "white")
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], "float32")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *NAMES, "a", "square", "."]


def pictures(size=4):
    pixels = mm.image.Pixels((size, size))
    image = tensor_input(pixels, "image")
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(pixels(image)))


def numbers():
    """Three numbers, red, green and blue: quick to read."""
    contract = Numbers(3)
    inputs = tensor_input(contract, "numbers_in")
    x = keras.layers.Identity()(contract(inputs))
    return keras.Model(inputs, x)


def words():
    return mm.text.embedding_mean(WORDS, length=8, units=3)


def model(seen="shade"):
    """Of "shade" (numbers) or "photo" (pictures), and "title"."""
    encoders = {seen: pictures() if seen == "photo" else numbers(), "title": words()}
    made = mm.two_tower(encoders, 3)
    made.get_layer(f"{seen}_projection").set_weights([np.eye(3), np.zeros(3)])
    table = np.zeros((len(WORDS), 3), "float32")
    table[4:8] = COLOURS
    made.get_layer("title_encoder").set_weights([table])
    made.get_layer("title_projection").set_weights([np.eye(3), np.zeros(3)])
    return made
