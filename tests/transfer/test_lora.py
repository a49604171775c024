"""LoRA: the update of the paper, nothing else moves, and merging changes nothing."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import load_model, transfer
from mmkeras.text import bert
from tests import tiny
from tests.text import tiny as text

QUERY_VALUE = ["attention_query", "attention_value"]


def model():
    encoder = bert(
        None, length=8, weights=None, config=text.CONFIG, vocabulary=text.WORDS
    )
    encoders = {"title": encoder, "right": tiny.encoder(4, 3)}
    made = mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(2))
    made.compile(keras.optimizers.Adam(0.05), "mse")
    return made


def rows(count=8):
    rng = np.random.default_rng(0)
    inputs = {
        "title": np.tile(text.IDS, (2, 1)).astype("int32")[:count],
        "right": rng.normal(size=(count, 4)).astype("float32"),
        "title_present": np.ones(count, "float32"),
        "right_present": np.ones(count, "float32"),
    }
    return inputs, rng.normal(size=(count, 2)).astype("float32")


def moved(made, data):
    """Paths of the weights in the text encoder, and whether others, that fit moves."""
    encoder = made.get_layer("title_encoder")
    inside = {id(w) for w in encoder.weights}
    before = [np.array(w) for w in made.weights]
    made.fit(*data, batch_size=4, verbose=0)
    changed = [
        w
        for w, old in zip(made.weights, before, strict=True)
        if not np.array_equal(w, old)
    ]
    own = {w.path for w in changed if id(w) in inside}
    return own, len(changed) - len(own)


def dense(made, name):
    return made.get_layer("title_encoder").get_layer(name)


def expected_paths(words):
    return {
        f"layer_{i}_{word}/lora_kernel_{x}"
        for i in range(2)
        for word in words
        for x in "ab"
    }


def test_only_its_weights_and_what_is_behind_move():
    made, data = model(), rows()
    made.fit(*data, verbose=0)
    right = len(made.get_layer("right_encoder").weights)
    transfer.enable_lora(made, "title", rank=2, layers=QUERY_VALUE)
    own, others = moved(made, data)
    assert own == expected_paths(QUERY_VALUE)
    assert others == right + 2
    transfer.freeze(made, "right")  # sets flags of the whole model
    assert moved(made, data) == (expected_paths(QUERY_VALUE), 2)


def test_all_dense_layers_by_default_and_a_block_by_its_name():
    every = ["attention_query", "attention_key", "attention_value"]
    every += ["attention_output", "intermediate", "output"]
    made = transfer.enable_lora(model(), "title", rank=1)
    trained = {w.path for w in made.get_layer("title_encoder").trainable_weights}
    assert trained == expected_paths(every)
    made = transfer.enable_lora(model(), "title", rank=1, layers=["layer_1"])
    trained = {w.path for w in made.get_layer("title_encoder").trainable_weights}
    assert trained == {x for x in expected_paths(every) if x.startswith("layer_1")}


def test_the_layer_computes_the_formula_and_begins_unchanged():
    made, data = model(), rows()
    before = made(data[0])
    transfer.enable_lora(made, "title", rank=2, layers=QUERY_VALUE)
    np.testing.assert_array_equal(made(data[0]), before)
    moved(made, data)
    layer = dense(made, "layer_0_attention_query")
    kernel, bias, a, b = (
        np.array(x, "float64")
        for x in (layer._kernel, layer.bias, layer.lora_kernel_a, layer.lora_kernel_b)
    )
    assert a.shape == (8, 2) and b.shape == (2, 8) and np.abs(b).max() > 0
    x = np.random.default_rng(1).normal(size=(5, 8))
    np.testing.assert_allclose(layer(x), x @ (kernel + a @ b) + bias, rtol=1e-5)


def test_merging_keeps_the_outputs_and_takes_the_weights_away(tmp_path):
    made, data = model(), rows()
    count, names = made.count_params(), [w.path for w in made.weights]
    transfer.enable_lora(made, "title", rank=2, layers=[*QUERY_VALUE, "layer_1"])
    moved(made, data)
    before = made(data[0])
    transfer.merge_lora(made)
    np.testing.assert_allclose(made(data[0]), before, atol=1e-6)
    assert made.count_params() == count
    assert [w.path for w in made.weights] == names
    assert not made.get_layer("title_encoder").trainable_weights
    made.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again(data[0]), before, atol=1e-6)
    transfer.unfreeze(again, "title")
    assert "layer_0_attention_query/kernel" in moved(again, data)[0]
    transfer.enable_lora(made, "title", rank=2, layers=QUERY_VALUE)
    trained = {w.path for w in made.get_layer("title_encoder").trainable_weights}
    assert trained == expected_paths(QUERY_VALUE)


def test_a_file_saved_before_merging_has_the_same_outputs(tmp_path):
    made, data = model(), rows()
    transfer.enable_lora(made, "title", rank=2, layers=QUERY_VALUE)
    moved(made, data)
    made.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        again = load_model(tmp_path / "m.keras")
    expected = made(data[0])
    np.testing.assert_allclose(again(data[0]), expected, atol=1e-6)
    assert moved(again, data)[0] == expected_paths(QUERY_VALUE)


def test_attention_layers_of_a_users_own_transformer():
    x = inputs = keras.Input((4, 4, 3))
    x = keras.layers.Reshape((16, 3))(x)
    x = keras.layers.Dense(8, name="patches")(x)
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    encoder = mm.image.from_model(keras.Model(inputs, x), scaling="unit")
    made = mm.multimodal({"photo": encoder}, mm.fusion.Concat(), keras.layers.Dense(1))
    made.compile(keras.optimizers.Adam(0.05), "mse")
    transfer.enable_lora(made, "photo", rank=2, layers=["attention"])
    photos = np.random.default_rng(0).uniform(0, 255, (4, 4, 4, 3)).astype("float32")
    data = {"photo": photos, "photo_present": np.ones(4)}, np.ones((4, 1))
    before = {w.path: np.array(w) for w in made.weights}
    made.fit(*data, epochs=2, verbose=0)
    changed = {
        w.path.split("/")[-1]
        for w in made.get_layer("photo_encoder").weights
        if not np.array_equal(w, before[w.path])
    }
    assert changed == {"lora_kernel_a", "lora_kernel_b"}
    outputs = made(data[0])
    transfer.merge_lora(made)
    np.testing.assert_allclose(made(data[0]), outputs, atol=1e-6)


def test_what_is_wrong_says_so():
    made = model()
    with pytest.raises(ValueError, match="Near names: .*attention_query"):
        transfer.enable_lora(made, "title", layers=["attention_querry"])
    with pytest.raises(ValueError, match=r"Valid names: \['right', 'title'\]"):
        transfer.enable_lora(made, "photo")
    transfer.enable_lora(made, "title", layers=QUERY_VALUE)
    with pytest.raises(ValueError, match="on already in"):
        transfer.enable_lora(made, "title", layers=["attention_query"])
