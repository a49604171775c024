"""The public checks pass what is right and name the law that is broken."""

import keras
import numpy as np
import pytest
from keras import ops

from mmkeras import testing
from mmkeras.fusion import Add
from mmkeras.fusion.base import Fusion
from mmkeras.modality import ModalityInput, tensor_input
from mmkeras.testing import case, check_law


@keras.saving.register_keras_serializable("test_testing")
class Mean(Fusion):
    """Mean over the tokens of all modalities, the smallest fusion of tokens."""

    takes_tokens = True

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build_fusion(self):
        self.project = self.projections(self.units)

    def fuse(self, features, presence):
        total = count = 0
        for name in self.names:
            mask = features[name]["mask"][..., None]
            tokens = self.project[name](features[name]["tokens"])
            total = total + ops.sum(tokens * mask, axis=1)
            count = count + ops.sum(mask, axis=1)
        return total / ops.maximum(count, 1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Multiplies(Add):
    """Blanks by multiplying: lets NaN through."""

    def _prepare(self, feature, column):
        return feature * column[:, None]


class LooksAround(Add):
    """Subtracts the batch's mean."""

    def fuse(self, features, presence):
        y = super().fuse(features, presence)
        return y - ops.mean(y, axis=0)


class NeverTrains(Add):
    """Owns a weight that its output does not use, but for a constant that cancels."""

    def build_fusion(self):
        super().build_fusion()
        self.idle = self.add_weight(name="idle", shape=(1,))

    def fuse(self, features, presence):
        y = super().fuse(features, presence)
        return y + ops.softmax(ops.zeros_like(y) + self.idle) - 1 / self.units


class Unordered(Add):
    """Weighs modalities in the order in which they come."""

    def call(self, features, presence=None, training=None):
        return super().call(features, presence) + next(iter(features.values()))[:, :1]


class Forgets(Add):
    """Does not say its units."""

    def get_config(self):
        config = super().get_config()
        config.pop("units")
        return config


class Noisy(Add):
    """Draws at inference."""

    def call(self, features, presence=None, training=None):
        y = super().call(features, presence)
        return y + keras.random.normal(ops.shape(y))


class Divides(Add):
    """Divides by how many are there."""

    def fuse(self, features, presence):
        y = super().fuse(features, presence)
        return y / ops.sum(presence, axis=1, keepdims=True)


BROKEN = {
    Multiplies: "absent unread",
    LooksAround: "neighbours",
    NeverTrains: "weights move",
    Unordered: "key order",
    Forgets: "config",
    Noisy: "deterministic",
    Divides: "all absent",
}


@pytest.mark.parametrize("kind", BROKEN, ids=[x.__name__ for x in BROKEN])
def test_a_broken_fusion_is_caught(kind):
    name = BROKEN[kind]
    with pytest.raises(AssertionError, match=f"{kind.__name__}.*breaks.*'{name}'"):
        check_law(name, testing.LAWS[name], case(lambda: kind(4)))
    check_law(name, testing.LAWS[name], case(lambda: Add(4)))


def test_a_fusion_of_tokens_takes_tokens_and_vectors():
    testing.check_fusion(Mean(), modalities=(1, 3), fresh_process=False)


def test_padding_alone_is_an_absent_modality():
    class Presence(Mean):
        def fuse(self, features, presence):
            return presence

    tokens = {"tokens": np.ones((2, 3, 4)), "mask": np.array([[1.0, 0, 0], [0, 0, 0]])}
    out = Presence()({"a": tokens, "b": np.ones((2, 4))})
    np.testing.assert_array_equal(out, [[1, 1], [0, 1]])


def test_a_run_in_another_process_that_fails_says_why():
    with pytest.raises(AssertionError, match="no_such_module"):
        testing.process.run("mmkeras.testing.fresh", "nowhere", "no_such_module")


# -- contracts


@keras.saving.register_keras_serializable("test_testing")
class Number(ModalityInput):
    """A number written out, as a vector of one."""

    kind = "table"
    cell = "value"
    tensor_shape = (1,)

    def read_one(self, raw):
        import tensorflow as tf

        return tf.strings.to_number(raw)[None]

    def call(self, x):
        return x


class Absent(Number):
    """Reads the empty string as something."""

    def read(self, raw):
        return super().read(raw) + 1


class Forgiving(Number):
    """Reads anything."""

    def read_one(self, raw):
        return np.ones(1, "float32")


def test_a_lawful_contract():
    testing.check_modality_input(Number(), ["1.5", "2"], ["one"])


@pytest.mark.parametrize(
    "kind, law", [(Absent, "empty string"), (Forgiving, "bad values")]
)
def test_a_broken_contract_is_caught(kind, law):
    with pytest.raises(AssertionError, match=f"{kind.__name__}.*breaks.*{law}"):
        testing.check_modality_input(kind(), ["1.5", "2"], ["one"])


# -- encoders


def encoder(*layers):
    contract = Wave(name="contract")
    x = inputs = tensor_input(contract, "wave")
    x = contract(x)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable("test_testing")
class Wave(Number):
    """Six numbers."""

    tensor_shape = (6,)


@keras.saving.register_keras_serializable("test_testing")
class Divide(keras.layers.Layer):
    """Brings each example to length 1, and zeros to NaN."""

    def call(self, x):
        return x / ops.norm(x, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_a_lawful_encoder():
    from mmkeras.dropout import Dropout

    layers = keras.layers
    made = encoder(
        layers.Dense(5), layers.BatchNormalization(), Dropout(0.5), layers.Dense(3)
    )
    before = made.get_weights()
    testing.check_encoder(made)
    assert all(map(np.array_equal, made.get_weights(), before)), "it was trained"


@pytest.mark.parametrize(
    "layer, law",
    [
        (keras.layers.Dropout(0.5), "frozen means deterministic"),
        (Divide(), "finite on an absent modality"),
        (keras.layers.Reshape((1, 1, 4)), "a vector, or tokens and mask"),
    ],
)
def test_a_broken_encoder_is_caught(layer, law):
    with pytest.raises(AssertionError, match=law):
        testing.check_encoder(encoder(keras.layers.Dense(4), layer))


def test_an_encoder_without_a_contract_is_caught():
    x = keras.Input((3,))
    with pytest.raises(AssertionError, match="one named input with a contract"):
        testing.check_encoder(keras.Model(x, keras.layers.Dense(2)(x)))


# -- exports


def test_an_export_is_compared_with_its_model(tmp_path):
    import mmkeras as mm

    model = mm.multimodal(
        {"a": encoder(keras.layers.Dense(4)), "b": number_encoder()},
        mm.fusion.Concat(),
        keras.layers.Dense(2),
    )
    raw = {"a": ["", ""], "b": ["2", ""]}
    mm.export.saved_model(model, tmp_path / "1")
    testing.check_export(model, tmp_path / "1", raw)
    model.layers[-1].set_weights([x + 1 for x in model.layers[-1].get_weights()])
    with pytest.raises(AssertionError, match="serve"):
        testing.check_export(model, tmp_path / "1", raw)


def number_encoder():
    contract = Number()
    inputs = tensor_input(contract, "number")
    return keras.Model(inputs, keras.layers.Dense(3)(contract(inputs)))
