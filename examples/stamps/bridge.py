"""A bridge from pictures to words: the 1000 ImageNet classes, whose names are text.

    photo, title, rows = bridge.build(classes, pictures, captions)

EfficientNet-Lite0 was trained to tell 1000 classes, MiniLM knows what their names mean:
so both can say how much of each class is in a thing, without a pair to learn from. Here
the root of these shares stands beside the features of either side, and the classes are
rows to train on: a picture that the classifier would take for the class with certainty,
and its name as the caption. What a picture of the class looks like to the network is
not known; W Cov, the pattern that belongs to the classifier's weights W, comes near.

Reference: Haufe et al. 2014, NeuroImage 87 (patterns of weights); Frome et al. 2013,
DeViSE (pictures to the names of ImageNet's classes).
"""

import dataclasses

import keras
import numpy as np

TEMPERATURE = 0.05  # of cosines between captions and names


@dataclasses.dataclass(frozen=True)
class Classes:
    """A classifier behind picture features, and its classes' names as text features.

    Args:
        kernel: array `(dim, classes)`.
        bias: array `(classes,)`.
        texts: array `(classes, text dim)`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    texts: np.ndarray


def load(stamps, path):
    """The classes of lite0_classes.npz, named "A <name>." for the caption encoder."""
    with np.load(path) as found:
        names = [f"A {x}." for x in found["names"]]
        kernel, bias = found["kernel"], found["bias"]
    encoder = stamps.encoders["title"]
    ids = encoder.layers[1].read(names)
    texts = [
        encoder.predict_on_batch(ids[i : i + 100]) for i in range(0, len(ids), 100)
    ]
    return Classes(kernel, bias, np.concatenate(texts))


def random(dim, texts):
    """Classes that mean nothing, for a smoke run."""
    kernel = np.random.default_rng(0).normal(size=(dim, len(texts)))
    return Classes(kernel.astype("float32"), np.zeros(len(texts), "float32"), texts)


def build(classes, pictures, captions):
    """What stands behind the encoders, and the classes as rows.

    Args:
        classes: `Classes`.
        pictures: array `(rows, dim)`, features of the training pictures.
        captions: array `(rows, text dim)`, of their captions.

    Returns:
        Two models, features of pictures and of captions to inputs of a tower; and the
        classes as such inputs, `{"photo": (classes, ...), "title": (classes, ...)}`.
    """
    mean, middle = pictures.mean(0), unit(captions).mean(0)
    scale = np.linalg.norm(pictures - mean, axis=1).mean()
    count = len(classes.bias)
    x = keras.Input((pictures.shape[1],))
    shares = _fixed(count, classes.kernel, classes.bias)(x)
    x_ = keras.layers.Normalization(mean=mean, variance=np.full_like(mean, scale**2))(x)
    photo = keras.Model(x, _joined(x_, shares), name="photo_bridge")
    t = keras.Input((captions.shape[1],))
    t_ = keras.layers.UnitNormalization()(t)
    names = unit(classes.texts)
    shares = _fixed(count, names.T / TEMPERATURE, np.zeros(count))(t_)
    t_ = keras.layers.Normalization(mean=middle, variance=np.ones_like(middle))(t_)
    title = keras.Model(t, _joined(t_, shares), name="title_bridge")
    rows = {"photo": np.concatenate([_patterns(classes, pictures), np.eye(count)], 1)}
    rows["title"] = title.predict_on_batch(classes.texts)
    # names have a middle of their own: what they share tells pictures from classes
    width = captions.shape[1]
    rows["title"][:, :width] = names - names.mean(0)
    return photo, title, {name: x.astype("float32") for name, x in rows.items()}


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def _patterns(classes, pictures):
    """W Cov, as long as the pictures' features are and around 0 as they are."""
    covariance = np.cov(pictures.T)
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    found = unit(classes.kernel.T @ (0.9 * covariance + 0.1 * even))
    return found - found.mean(0)


def _fixed(count, kernel, bias):
    """A softmax layer of given weights."""
    layer = keras.layers.Dense(count, activation="softmax", trainable=False)
    layer.build((None, len(kernel)))
    layer.set_weights([kernel, bias])
    return layer


def _joined(x, shares):
    return keras.layers.Concatenate()([x, keras.ops.sqrt(shares)])
