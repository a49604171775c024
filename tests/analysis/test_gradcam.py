"""Grad-CAM against an independent computation on known weights."""

import keras
import numpy as np
import pytest
from scipy.signal import correlate2d

import mmkeras as mm
from mmkeras.analysis import grad_cam
from mmkeras.modality import tensor_input
from tests import tiny
from tests.analysis.standins import stir


def encoder(nested=False):
    """Convolution, relu, mean; known weights, the picture's size kept."""
    pixels = mm.image.Pixels((7, 9), scaling="unit")
    image = tensor_input(pixels, "image")
    net = keras.Sequential(
        [
            keras.Input((7, 9, 3)),
            keras.layers.Conv2D(4, 3, padding="same", name="conv"),
            keras.layers.ReLU(name="relu"),
        ],
        name="net",
    )
    x = pixels(image)
    layers = [net] if nested else net.layers
    for layer in layers:
        x = layer(x)
    pool = keras.layers.GlobalAveragePooling2D(name="pool")
    return keras.Model(image, pool(x)), net.get_layer("conv")


def model(**kwargs):
    made, conv = encoder(**kwargs)
    joined = mm.multimodal(
        {"photo": made, "title": tiny.encoder(3)},
        mm.fusion.Concat(),
        mm.heads.classification(["cat", "dog"]).layer,
    )
    stir(joined)
    return joined, conv


def rows(count=3):
    rng = np.random.default_rng(0)
    return {
        "photo": rng.uniform(0, 255, (count, 7, 9, 3)).astype("float32"),
        "title": rng.normal(size=(count, 3)).astype("float32"),
    }


def by_hand(conv, head, pictures, target):
    """relu(sum_k w_k A_k): the mean makes every gradient w / (height * width)."""
    kernel, bias = (np.asarray(x, "float64") for x in conv.get_weights())
    maps = []
    for picture in pictures.astype("float64") / 255:
        total = 0.0
        for k in range(kernel.shape[-1]):
            a = bias[k] + sum(
                correlate2d(picture[..., c], kernel[..., c, k], mode="same")
                for c in range(3)
            )
            weight = np.asarray(head.kernel)[k, target] / a.size
            total = total + weight * np.maximum(a, 0)
        maps.append(np.maximum(total, 0))
    return np.array(maps)


@pytest.mark.parametrize("nested", [False, True])
def test_equals_the_computation_by_hand(nested):
    made, conv = model(nested=nested)
    found = grad_cam(
        made, rows() | {"photo_present": np.array([1, 1, 0])}, target="dog"
    )
    wanted = by_hand(conv, made.get_layer("head"), rows()["photo"], 1)
    wanted[2] = 0
    assert wanted[:2].max() > 0
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found.coarse, wanted, atol=1e-5 * scale)
    largest = np.maximum(wanted.max((1, 2), keepdims=True), 1e-12)
    np.testing.assert_allclose(found.maps, wanted / largest, atol=1e-5)
    assert (found.maps[2] == 0).all()
    # the last place before the pooling: what a nested network gives
    assert found.layer == ("net" if nested else "relu")
    if nested:
        inside = grad_cam(made, rows(), layer="net/relu", target="dog")
        np.testing.assert_allclose(inside.coarse[:2], wanted[:2], atol=1e-5 * scale)


def test_inner_layer_and_resize(tmp_path):
    """A constant map stays constant; a saved model gives the same."""
    made, conv = model()
    made.save(tmp_path / "model.keras")
    found = grad_cam(made, rows(1), layer="conv", target=0)
    again = grad_cam(
        mm.load_model(tmp_path / "model.keras"), rows(1), "photo", "conv", 0
    )
    np.testing.assert_allclose(again.maps, found.maps, atol=1e-5)
    assert found.maps.shape == (1, 7, 9) and found.maps.max() in (0.0, 1.0)
    assert list(found.to_frame()) == ["class", "y", "x", "share above half"]
    with pytest.raises(ValueError, match=r"Valid names.*\['conv', 'relu'\]"):
        grad_cam(made, rows(1), layer="pool")
    with pytest.raises(ValueError, match=r"`modality` wants one of \['photo'\]"):
        grad_cam(made, rows(1), "title")


def test_frames_of_a_sound():
    """A convolution over time gives a number a frame, and none behind the end."""
    clip = mm.audio.mfcc_cnn(
        seconds=0.2,
        units=4,
        front_end=mm.audio.MFCC(n_fft=256, hop_length=200, num_mel_bins=20),
    )
    head = mm.heads.regression(1).layer
    made = mm.multimodal({"clip": clip}, mm.fusion.Concat(), head)
    wave = np.random.default_rng(0).normal(size=(2, 3200)).astype("float32")
    wave[0, 1000:] = 0
    found = grad_cam(made, {"clip": wave})
    assert found.layer == "conv3_dropout" and found.maps.shape == (2, 17)
    assert (found.maps[0, 6:] == 0).all()
    assert found.maps.min() >= 0 and found.maps.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "layer"), [("mobilenetv2", "out_relu"), ("densenet121", "relu")]
)
def test_networks_of_keras(network, layer):
    """The last map of a plain graph, also of one deeper than Python's stack."""
    photo = mm.image.network(network, size=(32, 32), weights=None)
    head = mm.heads.regression(1).layer
    made = mm.multimodal({"photo": photo}, mm.fusion.Concat(), head)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3))
    found = grad_cam(made, {"photo": picture})
    assert found.layer == layer and found.maps.shape == (1, 32, 32)
