"""The encoder's hash: the same for the same function, another for another."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import transfer
from mmkeras.data.hashes import cell_key
from mmkeras.modality import tensor_input
from mmkeras.transfer.digest import encoder_digest, tensor_key
from tests import tiny

layers = keras.layers


def network(pixels=None, kernel=3, between=None, names=(), dtype=None):
    """A small encoder, of the same weights each time."""
    keras.utils.set_random_seed(1)
    pixels = pixels or mm.image.Pixels((8, 8))
    x = inputs = tensor_input(pixels, "image")
    x = pixels(x)
    first = layers.Conv2D(4, kernel, padding="same", dtype=dtype)(x)
    second = layers.Conv2D(4, kernel, padding="same", dtype=dtype)(x)
    x = layers.Activation("relu")(first - keras.ops.sin(second))
    for layer in between or []:
        x = layer(x)
    x = layers.Bidirectional(layers.GRU(2))(layers.Reshape((-1, 4))(x))
    return keras.Model(inputs, x)


def test_builds_agree_whatever_keras_calls_their_layers():
    first, second = network(), network()
    assert first.layers[-1].name != second.layers[-1].name
    assert encoder_digest(first) == encoder_digest(second)
    assert len(encoder_digest(first)) == 32


def test_the_same_alone_in_a_model_frozen_and_reloaded(tmp_path):
    encoder = network(between=[layers.BatchNormalization(), mm.dropout.Dropout(0.3)])
    wanted = encoder_digest(encoder)
    model = mm.multimodal(
        {"photo": encoder, "left": tiny.encoder()},
        mm.fusion.Concat(),
        layers.Dense(2),
    )
    part = mm.model.encoders(model)["photo"]
    assert encoder_digest(part) == wanted
    transfer.freeze(model)
    model.compile("adam", "mse")
    part.compile("adam", "mse")
    assert encoder_digest(part) == wanted
    model.save(tmp_path / "model.keras")
    again = mm.model.encoders(mm.load_model(tmp_path / "model.keras"))["photo"]
    assert encoder_digest(again) == wanted


def test_nested_models_agree():
    def build():
        keras.utils.set_random_seed(2)
        pixels = mm.image.Pixels((8, 8))
        inputs = tensor_input(pixels, "image")
        inner = keras.Sequential([layers.Flatten(), layers.Dense(2)])
        return keras.Model(inputs, inner(pixels(inputs)))

    assert encoder_digest(build()) == encoder_digest(build())


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": 5},
        {"dtype": "mixed_bfloat16"},
        {"between": [layers.ReLU()]},
        {"pixels": mm.image.Pixels((9, 9))},
        {"pixels": mm.image.Pixels((8, 8), method="area")},
        {"pixels": mm.image.Pixels((8, 8), antialias=False)},
        {"pixels": mm.image.Pixels((8, 8), scaling="tf")},
    ],
    ids=str,
)
def test_another_graph_or_contract_is_another_hash(change):
    assert encoder_digest(network(**change)) != encoder_digest(network())


def test_layers_named_after_what_they_do():
    """Names are left out, but not where they are settings."""
    digests = set()
    for kind in ("relu", "tanh"):
        layer = layers.Activation(kind, name=kind)
        digests.add(encoder_digest(network(between=[layer])))
    assert len(digests) == 2


def test_which_layer_feeds_which():
    """The same layers and weights, wired the other way round."""

    def build(swapped):
        numbers = tiny.Numbers(4)
        inputs = tensor_input(numbers, "numbers_in")
        x = numbers(inputs)
        a = layers.Dense(4, kernel_initializer="ones")(x)
        b = layers.Dense(4, kernel_initializer="ones", activation="relu")(x)
        return keras.Model(inputs, b - a if swapped else a - b)

    assert encoder_digest(build(False)) != encoder_digest(build(True))


def test_each_weight_and_statistic_counts():
    encoder = tiny.encoder()
    wanted = encoder_digest(encoder)
    for weight in encoder.weights:
        value = weight.numpy()
        other = value.copy()
        other.flat[-1] = np.nextafter(other.flat[-1], np.float32(9))
        weight.assign(other)
        assert encoder_digest(encoder) != wanted
        weight.assign(value)
    assert encoder_digest(encoder) == wanted


def test_sampling_rate_and_vocabulary():
    def audio(rate, seconds):
        clip = mm.audio.Waveform(rate, seconds)
        inputs = tensor_input(clip, "clip")
        return keras.Model(inputs, layers.Dense(2, "relu", False, "ones")(clip(inputs)))

    assert encoder_digest(audio(800, 0.1)) != encoder_digest(audio(400, 0.2))

    def text(*words):
        ids = mm.text.TokenIds(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words], 4)
        inputs = tensor_input(ids, "ids")
        table = layers.Embedding(6, 2, embeddings_initializer="ones")
        return keras.Model(inputs, layers.Flatten()(table(ids(inputs))))

    assert encoder_digest(text("a", "b")) == encoder_digest(text("a", "b"))
    assert encoder_digest(text("a", "b")) != encoder_digest(text("b", "a"))


def test_the_code_of_a_layer_counts():
    def build(factor):
        class Scale(layers.Layer):
            if factor == 2:

                def call(self, x):
                    return x * 2.0
            else:

                def call(self, x):
                    return x * 3.0

        return network(between=[Scale()])

    assert encoder_digest(build(2)) == encoder_digest(build(2))
    assert encoder_digest(build(2)) != encoder_digest(build(3))


def test_a_vocabulary_beside_the_weights_counts():
    def build(words):
        numbers = tiny.Numbers(3)
        inputs = tensor_input(numbers, "numbers_in")
        lookup = layers.IntegerLookup(output_mode="multi_hot", num_oov_indices=1)
        lookup.adapt(np.array(words))
        whole = keras.ops.cast(numbers(inputs), "int64")
        return keras.Model(inputs, lookup(whole))

    assert encoder_digest(build([3, 3, 4])) == encoder_digest(build([3, 3, 4]))
    assert encoder_digest(build([3, 3, 4])) != encoder_digest(build([5, 5, 4]))


def test_keys_of_cells_and_tensors():
    assert cell_key("caf\u00e9") == cell_key("caf\u00e9".encode())
    assert cell_key("a") != cell_key("b")
    assert len(cell_key("\ud800")) == 16  # half a surrogate pair
    x = np.arange(6, dtype="float32").reshape(2, 3)
    assert tensor_key(x) == tensor_key(np.asfortranarray(x))
    assert tensor_key(x) != tensor_key(x + 1)
    assert tensor_key(np.frombuffer(b"abcd", "uint8")) != cell_key("abcd")
