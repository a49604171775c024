"""The freezing law on real networks: saved, loaded in a fresh process, fitted once.

Exactly the declared weights move, statistics included.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import hub, transfer
from mmkeras.testing import process
from mmkeras.text import bert
from tests.test_hub import saved
from tests.text import tiny as text

pytestmark = pytest.mark.slow
SIZE = (32, 32)


def network(name):
    return lambda folder: mm.image.network(name, size=SIZE, weights=None)


def tiny_bert(folder):
    return bert(None, length=8, weights=None, config=text.CONFIG, vocabulary=text.WORDS)


def own(folder):
    """A user's network with what is hard to freeze: attention and dropout inside."""
    x = inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 8, strides=8, name="patches")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Reshape((16, 4))(x)
    x = keras.layers.MultiHeadAttention(2, 2, name="attention_1")(x, x)
    x = keras.layers.Dropout(0.3, name="drop")(x)
    x = keras.layers.MultiHeadAttention(2, 2, name="attention_2")(x, x)
    x = keras.layers.LayerNormalization(name="last")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return mm.image.from_model(keras.Model(inputs, x), scaling="unit")


def module(folder):
    return hub.saved_model(
        saved(folder / "module"), contract=mm.image.Pixels(SIZE, "unit")
    )


CASES = {
    "resnet50": (network("resnet50"), "conv4_block6_out"),
    "vgg16": (network("vgg16"), "block4_pool"),
    "efficientnetb0": (network("efficientnetb0"), "block4a_project_bn"),
    "mobilenetv3small": (network("mobilenetv3small"), "expanded_conv_7"),
    "bert": (tiny_bert, "layer_0"),
    "own": (own, "attention_1"),
    "hub": (module, None),
}


@pytest.mark.parametrize("case", CASES)
def test_exactly_the_declared_weights_move(case, tmp_path):
    make, until = CASES[case]
    model = mm.multimodal(
        {"part": make(tmp_path)}, mm.fusion.Concat(), keras.layers.Dense(2)
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    data = rows(model)
    transfer.freeze(model, "part", until=until)
    model.fit(*data, batch_size=4, verbose=0)
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "rows.npz", **data[0], label=data[1])

    process.run("tests.transfer.fit_fresh", tmp_path)
    found = json.loads((tmp_path / "moved.json").read_text())
    frozen = {id(w) for layer in declared(model, until) for w in layer.weights}
    expected = [i for i, w in enumerate(model.weights) if id(w) not in frozen]
    assert found["paths"] == [w.path for w in model.weights]
    moved = {found["paths"][i] for i in found["moved"]}
    assert moved == {found["paths"][i] for i in expected}
    assert found["moved"] == expected
    # Keras warns and begins a new optimizer where a layer of layers is partly frozen:
    # it builds the optimizer before the flags are mended
    assert found["iterations"] == ([0, 2] if case == "own" else [2, 4])
    tf.keras.backend.clear_session()


def declared(model, until):
    """The layers of the encoder up to `until`, counted here by their order."""
    layers = model.get_layer("part_encoder").layers
    if until is None:
        return layers
    names = [x.name for x in layers]
    ends = [i for i, x in enumerate(names) if x == until or x.startswith(until + "_")]
    assert ends, names
    return layers[: ends[-1] + 1]


def rows(model, count=8):
    rng = np.random.default_rng(0)
    tensor = model.input["part"]
    if tensor.dtype == "int32":
        values = np.tile(text.IDS, (count // len(text.IDS), 1)).astype("int32")
    else:
        values = rng.uniform(0, 255, (count, *tensor.shape[1:])).astype("float32")
    inputs = {"part": values, "part_present": np.ones(count, "float32")}
    return inputs, rng.normal(size=(count, 2)).astype("float32")
