"""A table of files and numbers, and a model for it, whose encoders are frozen."""

import keras
import numpy as np
import pandas

import mmkeras as mm
from mmkeras.modality import ModalityInput, tensor_input
from tests import tiny

WIDTH = 12


@keras.saving.register_keras_serializable("tests")
class Bytes(ModalityInput):
    """A file of 12 bytes as numbers in 0-1, a small and quick kind of picture."""

    kind = "image"
    cell = "file"
    tensor_shape = (WIDTH,)

    def __init__(self, divisor=255.0, **kwargs):
        super().__init__(**kwargs)
        self.divisor = divisor

    def read_one(self, raw):
        import tensorflow as tf

        return tf.cast(tf.io.decode_raw(raw, "uint8"), "float32") / self.divisor

    def read_cell(self, cell):
        if isinstance(cell, str):
            with open(cell, "rb") as file:
                cell = file.read()
        if len(cell) != WIDTH:
            raise ValueError(f"wanted 12 bytes, not {len(cell)}")
        return np.frombuffer(cell, "uint8") / np.float32(self.divisor)

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {**super().get_config(), "divisor": self.divisor}


def picture(path, seed):
    path.write_bytes(np.random.default_rng(seed).integers(1, 256, WIDTH, "uint8"))


def numbers(seed):
    return ",".join(f"{x:.3f}" for x in np.random.default_rng(seed).normal(size=6))


def table(folder, count=24):
    """Rows with a file of their own and numbers of their own."""
    for i in range(count):
        picture(folder / f"{i}.raw", i)
    frame = pandas.DataFrame(
        {
            "photo": [f"{i}.raw" for i in range(count)],
            "left": [numbers(i) for i in range(count)],
            "label": [str(i % 3) for i in range(count)],
            "weight": np.linspace(0.5, 2, count),
        }
    )
    frame.attrs["root"] = str(folder)
    return frame


def photo_encoder(tokens=False, **options):
    contract = Bytes(**options)
    inputs = tensor_input(contract, "image")
    x = keras.layers.Dense(8, activation="tanh")(contract(inputs))
    if tokens:
        x = keras.layers.Reshape((4, 2))(x)
        mask = keras.ops.cast(keras.ops.mean(x, -1) > 0, "float32")
        return keras.Model(inputs, {"tokens": x, "mask": mask})
    return keras.Model(inputs, x)


def model(photo=None, fusion=None, **kwargs):
    """Modalities "photo" and "left"; both frozen, of the same weights each time.

    `photo` holds options of `photo_encoder`.
    """
    keras.utils.set_random_seed(5)
    parts = {"left": tiny.encoder()}
    parts = {"photo": photo_encoder(**(photo or {})), **parts}
    head = mm.heads.classification(["0", "1", "2"])
    fusion = fusion or mm.fusion.GatedFusion(8)
    made = mm.multimodal(parts, fusion, head.layer, **kwargs)
    mm.transfer.freeze(made)
    made.compile("sgd", head.loss)
    return made


class Counter:
    """Counts the rows that each encoder computes; stands in for `cache.forward`."""

    def __init__(self, forward):
        self.forward, self.rows = forward, {}

    def __call__(self, encoder):
        run, name = self.forward(encoder), encoder.name.removesuffix("_encoder")

        def count(batch):
            # rows of zeros fill a batch up, or are the absent cell
            real = np.any(batch.reshape(len(batch), -1), axis=1).sum()
            self.rows[name] = self.rows.get(name, 0) + int(real)
            return run(batch)

        return count

    def taken(self):
        """The counts since the last time, and starts anew."""
        rows, self.rows = self.rows, {}
        return {name: count for name, count in rows.items() if count}
