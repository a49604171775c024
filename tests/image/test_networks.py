import socket

import keras
import numpy as np
import pytest

from mmkeras import dropout, encoders, image, transfer
from mmkeras.image import weights as weights_module
from mmkeras.modality import contract

# one small member a family; the big families are marked slow
SMALL = ["mobilenet", "mobilenetv3small", "efficientnetb0"]
LARGE = [
    "mobilenetv2",
    "resnet50",
    "efficientnetv2b0",
    "convnexttiny",
    "densenet121",
    "resnet50v2",
    "vgg16",
]
LARGE += ["vgg19", "xception", "inceptionv3", "inceptionresnetv2", "nasnetmobile"]
FAMILIES = SMALL + [pytest.param(x, marks=pytest.mark.slow) for x in LARGE]


def side(name):
    return encoders.FAMILIES[encoders.find(name).family].min_size


def pictures(name, count=2):
    shape = (count, side(name), side(name), 3)
    return np.random.default_rng(1).uniform(0, 255, shape).astype("float32")


def lively(model):
    """Random weights large enough that the features of two pictures differ."""
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_variance.shape
            layer.moving_variance.assign(rng.uniform(0.01, 0.1, shape))


def close(got, want):
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_those_of_keras_applications_frozen_and_reloaded(name, tmp_path):
    row = encoders.find(name)
    n = side(name)
    build = getattr(keras.applications, row.application)
    reference = build(include_top=False, weights=None, input_shape=(n, n, 3))
    lively(reference)
    path = tmp_path / "reference.weights.h5"
    reference.save_weights(path)
    x = pictures(name)
    module = getattr(keras.applications, row.family)
    want = reference(module.preprocess_input(x.copy()), training=False).numpy()

    make = getattr(image, name)
    encoder = make(size=(n, n), weights=path, pooling=None, trainable=False)
    assert [t.name for t in encoder.inputs] == ["image"]
    out = encoder(x, training=False)
    batch, dim = want.shape[0], want.shape[-1]
    close(out["tokens"].numpy(), want.reshape(batch, -1, dim))
    np.testing.assert_array_equal(out["mask"], np.ones(out["tokens"].shape[:2]))
    assert dim == row.width

    rests = encoder(x, training=True)
    np.testing.assert_array_equal(rests["tokens"], out["tokens"])
    assert not encoder.trainable_weights
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")
    assert contract(loaded).tensor_shape == (n, n, 3)
    np.testing.assert_array_equal(loaded(x, training=True)["tokens"], out["tokens"])


def test_pooling_mean_and_max_are_those_of_the_tokens():
    keras.utils.set_random_seed(3)
    tokens = image.mobilenet((64, 64), weights=None, pooling=None)
    x = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    values = tokens.predict(x, verbose=0)["tokens"]
    for pooling, over in (("mean", np.mean), ("max", np.max)):
        keras.utils.set_random_seed(3)
        encoder = image.mobilenet((64, 64), weights=None, pooling=pooling)
        close(encoder.predict(x, verbose=0), over(values, axis=1))


def test_partial_freeze_by_layer_name_moves_only_what_is_behind(tmp_path):
    encoder = image.mobilenetv2((32, 32), weights=None)
    transfer.freeze(encoder, until="block_14_add")
    encoder.save(tmp_path / "a.keras")
    for model in (encoder, keras.models.load_model(tmp_path / "a.keras")):
        transfer.refreeze(model)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        before = {w.path: np.array(w) for w in model.weights}
        model.fit(pictures("mobilenetv2"), np.ones((2, 1280)), verbose=0)
        moved = {w.path for w in model.weights if np.any(np.array(w) != before[w.path])}
        names = {path.split("/")[0] for path in moved}
        assert "block_15_depthwise" in names and "Conv_1_bn" in names
        assert not names & {"Conv1", "bn_Conv1", "block_14_project_BN"}


def test_efficientnet_drops_while_it_trains():
    encoder = image.efficientnetb0((32, 32), weights=None)
    kinds = {type(x) for x in encoder.layers}
    assert dropout.Dropout in kinds and keras.layers.Dropout not in kinds
    drop = encoder.get_layer("block2b_drop")
    assert drop.noise_shape == (None, 1, 1, 1)  # whole branches, one draw an example
    x = np.ones((64, 2, 2, 4), "float32")
    rows = np.array(drop(x, training=True)).reshape(64, -1)
    assert (rows == rows[:, :1]).all() and 0 < (rows == 0).all(1).sum() < 64


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_of_an_encoder_go_into_another(suffix, tmp_path):
    first = image.efficientnetb0((32, 32), weights=None)
    path = str(tmp_path / f"first{suffix}")
    first.save(path) if suffix == ".keras" else first.save_weights(path)
    second = image.efficientnetb0((32, 32), weights=path)
    x = pictures("efficientnetb0")
    np.testing.assert_array_equal(first(x), second(x))


def test_keras_file_with_a_classification_top():
    """Layers in order; the source's top is left out."""
    whole = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3))
    encoder = image.mobilenet((32, 32), weights=None)
    weights_module._copy_weights(whole, encoder, "whole.keras")
    body = keras.Model(whole.input, whole.get_layer("conv_pw_13_relu").output)
    x = pictures("mobilenet")
    want = body(x / 127.5 - 1).numpy().mean((1, 2))
    np.testing.assert_allclose(encoder(x), want, rtol=1e-4, atol=1e-9)


def test_efficientnet_file_of_keras_is_scaled_as_its_authors_did(tmp_path):
    """Keras' ImageNet files hold the deviation as variance: (x/255 - mean) / std."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    source = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    norm = next(x for x in source.layers if isinstance(x, keras.layers.Normalization))
    shape = norm.get_weights()[0].shape
    count = norm.get_weights()[2]
    norm.set_weights([np.reshape(mean, shape), np.reshape(std, shape), count])
    source.save_weights(tmp_path / "imagenet.weights.h5")
    encoder = image.efficientnetb0((32, 32), weights=tmp_path / "imagenet.weights.h5")
    layer = next(x for x in encoder.layers if isinstance(x, keras.layers.Normalization))
    head = keras.Model(encoder.input, layer.output)
    x = pictures("efficientnetb0")
    np.testing.assert_allclose(head(x), (x / 255 - mean) / std, rtol=1e-4, atol=1e-4)


def test_failed_download_says_how_to_give_a_file(monkeypatch, tmp_path):
    def home():
        return str(tmp_path)  # an empty cache

    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", home)
    before = socket.getdefaulttimeout()
    match = r"`weights`='imagenet' could not be downloaded.*mobilenet\(weights='path"
    with pytest.raises(OSError, match=match):
        image.mobilenet((128, 128), weights="imagenet")
    assert socket.getdefaulttimeout() == before


def test_wrong_files(tmp_path):
    with pytest.raises(OSError, match="no file at 'nowhere.h5'"):
        image.mobilenet((32, 32), weights="nowhere.h5")
    other = tmp_path / "other.txt"
    other.write_text("")
    with pytest.raises(ValueError, match=r"`weights` wants a .weights.h5"):
        image.mobilenet((32, 32), weights=other)
    v3 = image.mobilenetv3small((32, 32), weights=None)
    v3.save(tmp_path / "v3.keras")
    v3.save_weights(tmp_path / "v3.weights.h5")
    with pytest.raises(ValueError, match="same network.*stands where 'conv1'"):
        image.mobilenet((32, 32), weights=tmp_path / "v3.keras")
    with pytest.raises(ValueError, match="MobileNet without its classification"):
        image.mobilenet((32, 32), weights=tmp_path / "v3.weights.h5")


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"'resnet5'. Near names: \['resnet50'"):
        image.network("resnet5")
    with pytest.raises(ValueError, match="`pooling` wants one of"):
        image.mobilenet(weights=None, pooling="avg")


@pytest.mark.parametrize("name", ["resnet50", "xception", "inceptionv3"])
def test_least_size_is_that_of_keras(name):
    row, least = encoders.find(name), side(name)
    with pytest.raises(ValueError, match=f"`size` wants at least \\({least}, {least}"):
        getattr(image, name)(size=(least, least - 1), weights=None)
    with pytest.raises(ValueError, match=f"at least {least}x{least}"):
        getattr(keras.applications, row.application)(
            include_top=False, weights=None, input_shape=(least, least - 1, 3)
        )


def test_every_network_of_keras_applications_has_its_function():
    theirs = {x.lower() for x in dir(keras.applications) if x[0].isupper()}
    assert theirs == {x.name for x in encoders.rows("image")}
    for name in theirs:
        assert getattr(image, name).__name__ == name and name in image.__all__
