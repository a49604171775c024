"""The U-Net: what steers it, what is absent, frozen, saved and exported."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from tests import tiny

SIDE = 16
SENTENCES = ["the left half", "the right half"]
WORDS = mm.text.wordpiece_vocabulary(SENTENCES)


def photo(side=SIDE):
    image = x = keras.Input((side, side, 3))
    for i, width in enumerate((4, 6)):
        x = keras.layers.Conv2D(width, 3, 2, "same", name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(momentum=0.5, name=f"norm{i}")(x)
        x = keras.layers.ReLU(name=f"relu{i}")(x)
    return mm.image.from_model(keras.Model(image, x), scaling="tf")


def encoders():
    return {"photo": photo(), "title": mm.text.embedding_mean(WORDS, length=8)}


def rows(count=8, seed=0):
    """Pictures of noise, and the half that the sentence names."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, count)
    ids = mm.modality.contract(encoders()["title"])
    inputs = {
        "photo": rng.uniform(0, 255, (count, SIDE, SIDE, 3)).astype("float32"),
        "title": ids.read_cells([SENTENCES[i] for i in which]),
    }
    inputs |= {f"{x}_present": np.ones(count, "float32") for x in list(inputs)}
    masks = np.zeros((count, SIDE, SIDE, 1), "uint8")
    masks[which == 0, :, : SIDE // 2] = 1
    masks[which == 1, :, SIDE // 2 :] = 1
    return inputs, masks


def logits(model, inputs):
    return np.asarray(model(inputs, training=False))


@pytest.fixture(scope="module")
def model():
    """Random weights; nothing below may train it."""
    keras.utils.set_random_seed(0)
    return mm.segmentation.unet(encoders(), units=(6, 4), blocks=1)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    made = mm.segmentation.unet(encoders(), units=(12, 8), blocks=2)
    iou = keras.metrics.BinaryIoU([1], threshold=0.0)
    optimizer = mm.transfer.Adam(0.02)
    loss = mm.segmentation.MaskLoss()
    made.compile(optimizer, loss, metrics=[iou], jit_compile=False)
    made.fit(*rows(320), batch_size=16, epochs=2, verbose=0, shuffle=False)
    return made


@pytest.mark.slow
def test_follows_the_sentence(trained):
    inputs, masks = rows(32, seed=1)
    assert ((logits(trained, inputs) > 0) == (masks > 0)).mean() > 0.95
    other = {**inputs, "title": inputs["title"][::-1]}
    changed = (inputs["title"] != other["title"]).any(1)
    wrong = (logits(trained, other) > 0) == (masks > 0)
    assert changed.sum() > 5 and wrong[changed].mean() < 0.1


def test_an_absent_sentence_says_nothing(model):
    inputs, _ = rows(6)
    inputs["title_present"] = np.array([0, 0, 0, 1, 1, 1], "float32")
    found = logits(model, inputs)
    other = {**inputs, "title": inputs["title"][::-1].copy()}
    np.testing.assert_array_equal(logits(model, other)[:3], found[:3])
    empty = {**inputs, "title": np.zeros_like(inputs["title"])}
    np.testing.assert_array_equal(logits(model, empty)[:3], found[:3])


def test_an_absent_picture_is_finite_whatever_it_holds(model):
    inputs, _ = rows(4)
    inputs["photo_present"][1] = 0
    inputs["photo"][1] = np.nan
    found = logits(model, inputs)
    assert np.isfinite(found).all()
    inputs["photo"][1] = 7
    np.testing.assert_array_equal(logits(model, inputs), found)


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "unet.keras")
    loaded = keras.models.load_model(tmp_path / "unet.keras", safe_mode=True)
    inputs, _ = rows()
    np.testing.assert_array_equal(logits(loaded, inputs), logits(model, inputs))
    assert sorted(mm.readers(loaded)) == ["photo", "title"]


@pytest.mark.slow
def test_frozen_encoders_stay():
    made = mm.segmentation.unet(encoders(), units=(6, 4), blocks=1)
    mm.transfer.freeze(made)
    made.compile(mm.transfer.Adam(0.01), mm.segmentation.MaskLoss(), jit_compile=False)
    before = tiny.values(made)
    made.train_on_batch(*rows(8))
    after = tiny.values(made)
    moved = {k for k in before if not np.array_equal(before[k], after[k])}
    own = {k for k in before if "decoder" in k or "mask" in k}
    assert moved == own and len(own) < len(before)


def test_one_modality_alone_is_a_plain_unet():
    made = mm.segmentation.unet({"photo": photo()}, classes=3, units=(6, 4, 4))
    assert made.output_shape == (None, SIDE, SIDE, 3)
    assert sorted(made.input) == ["photo", "photo_present"]


def test_a_network_of_keras_applications():
    encoder = mm.image.network("mobilenet", size=(50, 64), weights=None)
    names = mm.segmentation.skip_layers(encoder)
    sizes = [encoder.get_layer(x).output.shape[1:3] for x in names]
    # 50 is no multiple of 32: this network's strides round down
    assert sizes == [(1, 2), (3, 4), (6, 8), (12, 16), (25, 32), (50, 64)]
    title = mm.text.embedding_mean(WORDS, length=8)
    made = mm.segmentation.unet({"photo": encoder, "title": title}, units=(8, 6, 4))
    assert made.output_shape == (None, 50, 64, 1)
    named = ["conv_pw_11_relu", "conv_pw_3_relu"]
    made = mm.segmentation.unet({"photo": encoder}, skips=named, units=(8, 6))
    shapes = [x.shape[1:3] for x in mm.model.encoders(made)["photo"].outputs]
    assert shapes == [(3, 4), (12, 16)]


def test_gates_of_blocks_are_no_maps():
    encoder = mm.image.network("mobilenetv3small", size=(64, 64), weights=None)
    names = mm.segmentation.skip_layers(encoder)
    sizes = [encoder.get_layer(x).output.shape[1:3] for x in names]
    assert sizes == [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]
    layers = [keras.Input((64, 64, 3)), keras.layers.Conv2D(4, 9, 2)]
    odd = mm.image.from_model(keras.Sequential(layers), scaling="none")
    with pytest.raises(ValueError, match=r"last map is \(28, 28\).*`skips="):
        mm.segmentation.unet({"photo": odd})


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        ("exactly one encoder of pictures", {"encoders": ("title",)}),
        ("`skips` wants layers", {"skips": ["relu9"]}),
        ("`units` wants", {"skips": ["relu1", "relu0"], "units": (4,)}),
        ("`classes` wants", {"classes": 0}),
        ("`blocks` wants", {"blocks": 1.5}),
    ],
)
def test_what_is_refused(error, changed):
    names = changed.pop("encoders", ("photo", "title"))
    made = {x: encoders()[x] for x in names}
    with pytest.raises(ValueError, match=error):
        mm.segmentation.unet(made, **changed)


@pytest.fixture(scope="module")
def asking():
    """One whose sentences come as tokens."""
    keras.utils.set_random_seed(0)
    made = {"photo": photo(), "title": _tokens()}
    return mm.segmentation.unet(made, units=(8, 6), layers=1, blocks=1)


def test_places_and_words_ask_each_other(asking):
    inputs, _ = rows(6)
    found = logits(asking, inputs)
    other = {**inputs, "title": inputs["title"][::-1].copy()}
    differs = (inputs["title"] != other["title"]).any(1)
    gaps = np.abs(logits(asking, other) - found).max((1, 2, 3))
    assert (gaps[differs] > 1e-3).all() and not gaps[~differs].any()


def test_absent_words_say_nothing(asking, tmp_path):
    inputs, _ = rows(4)
    inputs["title_present"][:2] = inputs["photo_present"][2] = 0
    inputs["photo"][2] = np.nan
    found = logits(asking, inputs)
    assert np.isfinite(found).all()
    other = {**inputs, "title": np.roll(inputs["title"], 1, axis=1)}
    np.testing.assert_array_equal(logits(asking, other)[:2], found[:2])
    asking.save(tmp_path / "asking.keras")
    loaded = mm.load_model(tmp_path / "asking.keras")
    np.testing.assert_array_equal(logits(loaded, inputs), found)


def _tokens():
    config = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    config["intermediate_size"] = 4
    options = {"weights": None, "pooling": None, "length": 8}
    return mm.text.bert(config=config, vocabulary=WORDS, **options)


@pytest.mark.slow
def test_exported_with_bytes_and_sentences(trained, tmp_path):
    import tensorflow as tf

    report = mm.export.saved_model(trained, tmp_path / "halves/1")
    assert [x.name for x in report.endpoints] == ["serve", "serve_raw"]
    picture = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), "uint8")
    raw = {
        "photo": tf.constant([tf.io.encode_png(picture).numpy()] * 2),
        "title": tf.constant(SENTENCES),
    }
    loaded = tf.saved_model.load(str(tmp_path / "halves/1"))
    found = loaded.signatures["serve_raw"](**raw)["outputs"].numpy()
    assert found.shape == (2, SIDE, SIDE, 1)
    left = found[:, :, : SIDE // 2].mean((1, 2, 3)) > 0
    assert left.tolist() == [True, False]
