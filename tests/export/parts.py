"""A model of three raw modalities, and its rows, raw and as an oracle reads them."""

import io
import wave

import keras
import numpy as np

import mmkeras as mm
from mmkeras.audio import Waveform
from mmkeras.dropout import Dropout
from mmkeras.image.pixels import Pixels
from mmkeras.modality import ModalityInput, tensor_input

WORDS = ["red", "green", "blue", "über", "and"]
CLASSES = ["circle", "square", "étoile"]
RATE, SAMPLES, LENGTH = 4000, 1200, 4


@keras.saving.register_keras_serializable("tests")
class Words(ModalityInput):
    """Word numbers, by a lookup table that the serving graph must keep."""

    kind = "text"
    cell = "value"
    tensor_dtype = "int32"
    tensor_shape = (LENGTH,)

    def _table(self):
        import tensorflow as tf

        if not hasattr(self, "_made"):
            with tf.init_scope():
                keys = tf.constant(WORDS)
                values = tf.range(1, len(WORDS) + 1)
                self._made = tf.lookup.StaticHashTable(
                    tf.lookup.KeyValueTensorInitializer(keys, values), 0
                )
        return self._made

    def trackables(self):
        return [self._table()]

    def read_one(self, raw):
        import tensorflow as tf

        ids = self._table().lookup(tf.strings.split(raw))[:LENGTH]
        return tf.pad(ids, [[0, LENGTH - tf.shape(ids)[0]]])

    def call(self, inputs):
        return inputs


def photo():
    contract = Pixels((8, 8))
    x = inputs = tensor_input(contract, "picture")
    x = keras.layers.Conv2D(4, 3, activation="relu")(contract(x))
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def title():
    contract = Words()
    inputs = tensor_input(contract, "ids")
    x = keras.layers.Embedding(len(WORDS) + 1, 5)(contract(inputs))
    return keras.Model(inputs, Dropout(0.5)(keras.layers.Flatten()(x)))


def clip():
    contract = Waveform(RATE, SAMPLES / RATE)
    x = inputs = tensor_input(contract, "wave")
    x = keras.layers.Reshape((12, 100))(contract(x))
    return keras.Model(inputs, keras.layers.GRU(6)(x))


def model(head=None):
    head = head or mm.heads.classification(CLASSES).layer
    made = mm.multimodal(
        {"photo": photo(), "title": title(), "clip": clip()},
        mm.fusion.GatedFusion(16),
        head,
        modality_dropout=0.9,
    )
    rng = np.random.default_rng(1)  # no bias, gate or statistic at its starting value
    made.set_weights([x + rng.uniform(0.1, 0.5, x.shape) for x in made.get_weights()])
    return made


def rows(count=6):
    """`(raw, tensors)`: raw values by modality, and what they mean, without mmkeras."""
    rng = np.random.default_rng(0)
    raw = {"photo": [], "title": [], "clip": []}
    tensors = {
        "photo": rng.integers(0, 256, (count, 8, 8, 3), "uint8"),
        "title": np.zeros((count, LENGTH), "int32"),
        "clip": rng.integers(-30000, 30000, (count, SAMPLES), "int16"),
    }
    there = {x: np.ones(count, "float32") for x in raw}
    for i in range(count):
        known = rng.integers(0, len(WORDS), rng.integers(1, LENGTH + 1))
        tensors["title"][i, : len(known)] = known + 1
        raw["photo"].append(png(tensors["photo"][i]))
        raw["title"].append(" ".join(WORDS[j] for j in known).encode("utf8"))
        raw["clip"].append(wav(tensors["clip"][i]))
    tensors["photo"] = tensors["photo"].astype("float32")
    tensors["clip"] = tensors["clip"].astype("float32") / 32768
    for i, name in ((1, "photo"), (2, "title"), (3, "clip"), (4, "photo"), (4, "clip")):
        raw[name][i] = b""
        tensors[name][i] = 0
        there[name][i] = 0
    tensors.update({f"{name}_present": x for name, x in there.items()})
    return raw, tensors


def png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def wav(samples, rate=RATE):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
