"""The decoder's small parts and the loss, against numpy."""

import keras
import numpy as np
import pytest

import mmkeras as mm

RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_modulate():
    maps, said = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=(2, 10))
    found = mm.segmentation.Modulate(dtype="float64")(maps, said)
    for b in range(2):
        for c in range(5):
            wanted = (1 + said[b, c]) * maps[b, :, :, c] + said[b, 5 + c]
            np.testing.assert_allclose(found[b, :, :, c], wanted, rtol=1e-12)
    with pytest.raises(ValueError, match="for each of 5 channels"):
        mm.segmentation.Modulate()(keras.Input((3, 4, 5)), keras.Input((5,)))


def test_enlarge_goes_through_what_was_there():
    line = np.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    found = np.asarray(mm.segmentation.Enlarge((2, 4))(line))[0, :, :, 0]
    # half-pixel centres: the new ones at -1/4, 1/4, 3/4, 5/4 of the old
    np.testing.assert_allclose(found, [[0, 1, 3, 4]] * 2, atol=1e-6)


def test_loss_of_one_mask():
    z = RNG.normal(size=(3, 4, 5, 1))
    y = RNG.integers(0, 2, size=z.shape)
    p = sigmoid(z)
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean((1, 2, 3))
    overlap = (2 * (p * y).sum((1, 2)) / (p.sum((1, 2)) + y.sum((1, 2))))[:, 0]
    found = mm.segmentation.MaskLoss(dice=0.5, reduction=None)(y, z)
    np.testing.assert_allclose(found, entropy + 0.5 * (1 - overlap), rtol=1e-5)


def test_loss_of_classes():
    z = RNG.normal(size=(2, 3, 3, 4))
    ids = RNG.integers(0, 4, size=(2, 3, 3, 1))
    y = np.eye(4)[ids[..., 0]]
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    entropy = -np.log((p * y).sum(-1)).mean((1, 2))
    overlap = 2 * (p * y).sum((1, 2)) / (p.sum((1, 2)) + y.sum((1, 2)) + 1e-7)
    found = mm.segmentation.MaskLoss(reduction=None)(ids, z)
    np.testing.assert_allclose(found, entropy + 1 - overlap.mean(-1), rtol=1e-5)


def test_loss_is_small_for_what_is_right_and_finite_for_an_empty_mask():
    y = RNG.integers(0, 2, size=(2, 4, 4, 1))
    loss = mm.segmentation.MaskLoss()
    assert float(loss(y, 40.0 * (2 * y - 1))) < 1e-6
    assert float(loss(y, -40.0 * (2 * y - 1))) > 10
    assert np.isfinite(float(loss(0 * y, np.full(y.shape, -200.0))))
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    with pytest.raises(ValueError, match="`dice` wants"):
        mm.segmentation.MaskLoss(dice=-1)


def test_keras_metrics_on_logits():
    """As the docstring of `unet` says to use them."""
    z = RNG.normal(size=(4, 5, 5, 1))
    y = RNG.integers(0, 2, size=z.shape)
    metric = keras.metrics.BinaryIoU([1], threshold=0.0)
    metric.update_state(y, z)
    found = z > 0
    wanted = (found & (y > 0)).sum() / (found | (y > 0)).sum()
    np.testing.assert_allclose(float(metric.result()), wanted, rtol=1e-6)
    z = RNG.normal(size=(4, 5, 5, 3))
    ids = RNG.integers(0, 3, size=(4, 5, 5, 1))
    metric = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    metric.update_state(ids, z)
    found, true = z.argmax(-1), ids[..., 0]
    each = [
        ((found == c) & (true == c)).sum() / ((found == c) | (true == c)).sum()
        for c in range(3)
    ]
    np.testing.assert_allclose(float(metric.result()), np.mean(each), rtol=1e-6)


def test_words_without_places_to_ask_about():
    """Means and shapes, and zeros for what is absent, NaN or not."""
    layer = mm.segmentation.AskWords(units=8, heads=2, layers=1)
    words = RNG.normal(size=(3, 5, 6)).astype("float32")
    mask = np.ones((3, 5), "float32")
    maps = RNG.normal(size=(3, 2, 4, 7)).astype("float32")
    maps[1], words[2] = np.nan, np.nan
    there = {"photo": np.array([1.0, 0, 1]), "title": np.array([1.0, 1, 0])}
    features = {"photo": maps, "title": {"tokens": words, "mask": mask}}
    found = layer(features, there)
    photo, title = np.asarray(found["photo"]), np.asarray(found["title"])
    assert photo.shape == (3, 2, 4, 8) and title.shape == (3, 8)
    assert np.isfinite(photo).all() and np.isfinite(title).all()
    assert not photo[1].any() and not title[2].any()
    # places keep their order: what one holds reaches no other without words
    features["photo"] = maps.copy()
    features["photo"][2, 1, 2] += 1
    again = np.asarray(layer(features, there)["photo"])[2]
    changed = np.abs(again - photo[2]).max(-1) > 1e-6
    assert np.argwhere(changed).tolist() == [[1, 2]]
