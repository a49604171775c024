"""A folder with pictures and sounds, a table of them, and a model that reads it."""

import keras
import numpy as np
import pandas
import pytest
import soundfile

import mmkeras as mm
from mmkeras.modality import ModalityInput, tensor_input

RATE = 8000


@keras.saving.register_keras_serializable("tests")
class Letters(ModalityInput):
    """Text to the codes of its first bytes."""

    kind = "text"
    cell = "value"
    tensor_dtype = "int32"
    tensor_shape = (6,)

    def read(self, raw):
        import tensorflow as tf

        return tf.cast(tf.io.decode_raw(raw, tf.uint8, fixed_length=6), "int32")

    def call(self, ids):
        return ids


@pytest.fixture(scope="session")
def contracts():
    return {
        "photo": mm.image.Pixels((4, 4)),
        "title": Letters(),
        "clip": mm.audio.Waveform(RATE, 0.01),
    }


@pytest.fixture
def folder(tmp_path):
    """Ten 4 x 4 pictures, ten clips of 60 samples, and a table with label."""
    rng = np.random.default_rng(0)
    for i in range(10):
        picture = rng.integers(0, 256, (4, 4, 3), "uint8")
        keras.utils.save_img(tmp_path / f"{i}.png", picture, scale=False)
        wave = rng.integers(-9000, 9000, 60).astype("int16")
        soundfile.write(tmp_path / f"{i}.wav", wave, RATE)
    table(10).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path


def table(count):
    return pandas.DataFrame(
        {
            "photo": [f"{i}.png" for i in range(count)],
            "title": [f"no. {i}" for i in range(count)],
            "clip": [f"{i}.wav" for i in range(count)],
            "label": [["ant", "bee", "cat"][i % 3] for i in range(count)],
        }
    )


@pytest.fixture
def frame(folder):
    rows = table(10)
    rows.attrs["root"] = str(folder)
    return rows


@pytest.fixture
def network(contracts):
    """A function, head -> multimodal model."""

    def build(head):
        encoders = {}
        for name, contract in contracts.items():
            contract = contract.__class__.from_config(contract.get_config())
            inputs = tensor_input(contract, name)
            x = keras.layers.Flatten()(contract(inputs))
            x = keras.ops.cast(x, "float32") / 255.0
            encoders[name] = keras.Model(inputs, keras.layers.Dense(3)(x))
        return mm.multimodal(encoders, mm.fusion.Concat(), head)

    return build
