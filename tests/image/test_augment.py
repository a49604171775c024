"""Keras' picture layers behind `augment=`: training alone, each picture by itself."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import image, testing
from mmkeras.transfer.digest import encoder_digest

SIZE = 12
LAYERS = {
    "flip": lambda: keras.layers.RandomFlip(seed=1),
    "rotate": lambda: keras.layers.RandomRotation(0.2, seed=1),
    "rand": lambda: image.RandAugment(seed=1),
}


def pictures(rows=6, seed=0):
    shape = (rows, SIZE, SIZE, 3)
    return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")


def run(layer, x=None):
    return np.asarray(layer(pictures() if x is None else x, training=True))


def invert():
    """255 - x of every picture."""
    return keras.layers.RandomInvert((1.0, 1.0), value_range=(0, 255), seed=1)


def tiny(augment=None, scaling="unit", **kwargs):
    x = keras.Input((SIZE, SIZE, 3))
    y = keras.layers.Conv2D(3, 3, name="conv")(x)
    y = keras.layers.BatchNormalization(momentum=0.5, name="norm")(y)
    model = keras.Model(x, y, name="tiny")
    return image.from_model(model, scaling=scaling, augment=augment, **kwargs)


@pytest.mark.parametrize("name", list(LAYERS))
def test_acts_in_training_while_trainable_and_only_then(name):
    layer = image.PictureAugmentation(LAYERS[name]())
    x = pictures()
    assert (run(layer) != x).any()
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    layer.trainable = False
    np.testing.assert_array_equal(run(layer), x)
    never = image.PictureAugmentation(LAYERS[name](), rate=0.0)
    np.testing.assert_array_equal(run(never), x)
    config = keras.saving.serialize_keras_object(image.PictureAugmentation(never.layer))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again.layer) is type(LAYERS[name]())
    np.testing.assert_array_equal(
        run(again), run(image.PictureAugmentation(never.layer))
    )


def test_a_share_of_the_pictures():
    layer = image.PictureAugmentation(invert(), rate=0.3, seed=1)
    x = pictures(2000)[:, :2, :2]
    y = run(layer, x)
    changed = (y != x).any((1, 2, 3))
    np.testing.assert_array_equal(y, np.where(changed[:, None, None, None], 255 - x, x))
    assert abs(changed.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_rand_augment_takes_each_picture_by_itself():
    """Each picture as its own operations make it of it alone, one after another."""
    layer = image.RandAugment(seed=3)
    x = pictures(8)
    layer.build(x.shape)
    found = layer.get_random_transformation(x)
    numbers = np.asarray(found["layer_idxes"]).reshape(2, 8)
    assert len(np.unique(numbers)) > 4 and (numbers[0] != numbers[0, 0]).any()
    y = np.asarray(layer.transform_images(keras.ops.convert_to_tensor(x), found))
    names = list(found["transforms"])
    for i, ops in enumerate(numbers.T):
        z = x
        for k in ops:
            part = getattr(keras.layers.RandAugment(seed=3), names[k])
            z = keras.ops.convert_to_tensor(np.repeat(z[i : i + 1], 8, axis=0))
            z = np.asarray(part.transform_images(z, found["transforms"][names[k]]))
        np.testing.assert_allclose(y[i], z[i], atol=1e-3)
    # what the layer is for: Keras' own has one choice for all (else, drop ours)
    other = keras.layers.RandAugment(seed=3)
    other.build(x.shape)
    assert other.get_random_transformation(x)["layer_idxes"].shape == (2,)


def test_equalises_by_the_picture_alone():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, SIZE, SIZE, 3)).astype("float32")
    x[1] //= 8
    ours, keras_own = image.RandAugment(), keras.layers.RandAugment()
    y = np.asarray(ours.equalization.transform_images(x))
    for i in (0, 1):
        for c in range(3):
            values = x[i, :, :, c].astype(int)
            cdf = np.bincount(values.ravel(), minlength=256).cumsum()
            least = cdf[cdf > 0][0]
            wanted = (cdf[values] - least) * 255 / (values.size - least)
            np.testing.assert_allclose(y[i, :, :, c], wanted, atol=1.0)  # rounded
    batch = np.asarray(keras_own.equalization.transform_images(x, None))
    assert np.abs(batch - y).max() > 20  # the defect that ours is for


def test_before_the_scaling_on_the_way_in():
    encoder, plain = tiny(invert(), scaling="tf"), tiny(scaling="tf")
    plain.set_weights([w for w in encoder.get_weights() if w.dtype == "float32"])
    x = pictures()
    np.testing.assert_array_equal(encoder(x), plain(x))
    plain.get_layer("norm").trainable = encoder.get_layer("norm").trainable = False
    np.testing.assert_allclose(
        encoder(x, training=True), plain(255 - x, training=True), atol=1e-5
    )
    names = [type(x).__name__ for x in encoder.layers]
    assert names[:3] == ["InputLayer", "PictureAugmentation", "Pixels"]


@pytest.fixture(scope="module")
def augmented():
    return tiny([keras.layers.RandomFlip(), keras.layers.RandomContrast(0.5)])


def test_an_encoder_keeps_the_laws(augmented):
    testing.check_encoder(augmented)


def test_features_of_a_frozen_one_can_be_kept(augmented):
    twin = tiny([keras.layers.RandomFlip(), keras.layers.RandomContrast(0.5)])
    twin.set_weights(augmented.get_weights())
    assert encoder_digest(twin) == encoder_digest(augmented)


def test_networks_take_it():
    layers = [keras.layers.RandomFlip("horizontal"), invert()]
    encoder = image.mobilenetv3small((32, 32), None, augment=layers)
    first = [type(x).__name__ for x in encoder.layers[:4]]
    assert first == ["InputLayer", *2 * ["PictureAugmentation"], "Pixels"]
    assert not any(x.layer in layers for x in encoder.layers[1:3])  # its own copies


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        ("flip", TypeError, "`augment` wants Keras layers .*Received: 'flip'"),
        (keras.layers.MixUp(), ValueError, "Received: MixUp, .* `mmkeras.data.mix` do"),
        # Keras 3.15: the same operations in every step of a fit
        (keras.layers.AugMix((0, 255)), ValueError, "AugMix, .* once, when `fit` trac"),
        (mm.audio.Gain(3.0), ValueError, "Gain, which is no layer for pictures"),
        (
            keras.layers.RandomBrightness(0.2, value_range=(0, 1)),
            ValueError,
            r"RGB 0-255. Received: RandomBrightness with value_range=\(0, 1\)",
        ),
        (keras.layers.RandomCrop(4, 4), ValueError, "keep the pictures' size.*RandomC"),
        # Keras 3.15: its config does not make it again
        (keras.layers.RandomShear(0.2), ValueError, "can be saved. Received: RandomSh"),
    ],
)
def test_errors(augment, error, message):
    with pytest.raises(error, match=message):
        tiny(augment)


@pytest.mark.slow
def test_trains_in_a_graph_and_leaves_in_both_formats(tmp_path):
    """RandAugment and the layers for texts are not in what is exported."""
    import tensorflow as tf

    words = mm.text.wordpiece_vocabulary(["a red cup", "a blue hat"])
    title = mm.text.embedding_mean(
        words, 8, units=4, augment=[mm.text.WordDropout(0.3), mm.text.TokenMasking(0.3)]
    )
    encoders = {"photo": tiny(image.RandAugment()), "title": title}
    model = mm.multimodal(encoders, mm.fusion.Concat(), keras.layers.Dense(2))
    ids = title.get_layer("token_ids").read(["a red cup", "a blue hat", ""] * 2)
    inputs = {"photo": pictures(), "title": np.asarray(ids)}
    inputs["photo_present"] = np.ones(6, "float32")
    inputs["title_present"] = np.array([1, 1, 0] * 2, "float32")
    model.compile("sgd", "mse")
    model.fit(inputs, np.zeros((6, 2)), batch_size=6, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = mm.load_model(tmp_path / "model.keras")
    answers = model.predict(inputs, verbose=0)
    np.testing.assert_array_equal(again.predict(inputs, verbose=0), answers)
    np.testing.assert_allclose(again(inputs), answers, atol=1e-6)  # no `training`
    mm.export.saved_model(again, tmp_path / "saved")
    photo = tf.io.encode_png(pictures()[0].astype("uint8")).numpy()
    raw = {"photo": [photo, b""], "title": ["a red cup", "a hat"]}
    testing.check_export(again, tmp_path / "saved", raw)
    # builtin operations alone, compared with `predict`
    mm.export.tflite(again, tmp_path / "model.tflite", batch_size=6)
