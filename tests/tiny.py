"""Small parts that many tests share: a contract, an encoder, a model, its rows."""

import keras
import numpy as np

import mmkeras as mm
from mmkeras.dropout import Dropout
from mmkeras.modality import ModalityInput, tensor_input


@keras.saving.register_keras_serializable("tests")
class Numbers(ModalityInput):
    """Comma-separated numbers, as text, to a vector."""

    kind = "table"
    cell = "value"

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    @property
    def tensor_shape(self):
        return (self.width,)

    def read_one(self, raw):
        import tensorflow as tf

        return tf.strings.to_number(tf.strings.split(raw, ","))

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def encoder(width=6, units=5, name="tiny"):
    """Two blocks with batch normalisation and dropout, as real encoders have."""
    layers = keras.layers
    contract = Numbers(width, name="numbers")
    x = inputs = tensor_input(contract, "numbers_in")
    x = contract(x)
    x = layers.Dense(units, name="block1_dense")(x)
    x = layers.BatchNormalization(momentum=0.5, name="block1_norm")(x)
    x = Dropout(0.5, name="block1_dropout")(x)
    x = layers.Dense(units, name="block2_dense")(x)
    x = layers.BatchNormalization(momentum=0.5, name="block2_norm")(x)
    return keras.Model(inputs, x, name=name)


def model(classes=3, **kwargs):
    """Two modalities, "left" and "right", through GatedFusion."""
    head = mm.heads.classification(classes)
    made = mm.multimodal(
        {"left": encoder(6, 5), "right": encoder(4, 7)},
        mm.fusion.GatedFusion(8),
        head.layer,
        **kwargs,
    )
    made.compile("adam", head.loss, metrics=head.metrics)
    return made


def rows(count=48, classes=3, seed=0):
    """`(inputs, labels)` for `model`, some modalities missing."""
    rng = np.random.default_rng(seed)
    inputs = {
        "left": rng.normal(size=(count, 6)).astype("float32"),
        "right": rng.normal(size=(count, 4)).astype("float32"),
        "left_present": (rng.random(count) > 0.2).astype("float32"),
        "right_present": (rng.random(count) > 0.2).astype("float32"),
    }
    return inputs, rng.integers(0, classes, count)


def values(model):
    """Every variable that training could move, as numpy: path and place -> value."""
    return {
        f"{i}:{w.path}": keras.ops.convert_to_numpy(w)
        for i, w in enumerate(model.weights)
    }


def moved(model, data, **kwargs):
    """Names of the weights that one epoch of fit changes."""
    before = values(model)
    model.fit(*data, epochs=1, batch_size=16, verbose=0, **kwargs)
    after = values(model)
    return {k for k in before if not np.array_equal(before[k], after[k])}
