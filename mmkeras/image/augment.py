"""Augmentation of pictures: Keras' layers, on RGB 0-255, in training alone.

Inside a model Keras' own layers go on while frozen, and act whenever nobody says
`training=False`: on `model(x)` too. Behind `augment=` they rest as all of
`mmkeras.augmentation` do.
"""

import keras
from keras import ops

from mmkeras.augmentation import Augmentation, listed

_MIXES = "mixes labels too: `mmkeras.data.mix` does so, for all modalities alike"
#: What Keras has and a model cannot use.
_REFUSED = {
    "AugMix": "draws its operations in Python, once, when `fit` traces the model: "
    "take `mmkeras.image.RandAugment`",
    "CutMix": _MIXES,
    "MixUp": _MIXES,
}


@keras.saving.register_keras_serializable("mmkeras")
class PictureAugmentation(Augmentation):
    """Runs a layer on pictures in training, while trainable; else y = x.

    What the encoders make of each layer in `augment`; by itself it gives the layer to
    a share of the pictures.

    Example:
    >>> flip = mmkeras.image.PictureAugmentation(keras.layers.RandomFlip(seed=1))
    >>> flip(np.ones((1, 4, 4, 3))).shape
    TensorShape([1, 4, 4, 3])

    Args:
        layer: Keras layer, pictures `(batch, height, width, 3)` of 0-255 to the same.
            A copy of it runs, in float32 under any dtype policy.
        rate: Float in [0, 1], probability that a picture is changed.
        seed: optional integer, of the choice; the layer has its own.

    Call arguments:
        image: float tensor `(batch, height, width, 3)`, RGB 0-255.

    Output shape: `(batch, height, width, 3)`, float32.

    Raises:
        ValueError: a layer of another range of values, one that mixes labels, changes
            the picture's size or cannot be saved, `AugMix`; `rate` is out of range.
        TypeError: `layer` is no Keras layer.
    """

    def __init__(self, layer, rate=1.0, seed=None, **kwargs):
        # 0-255 in a half has steps of up to 1/8
        kwargs = {**kwargs, "dtype": "float32", "autocast": False}
        super().__init__(rate, seed, **kwargs)
        if isinstance(layer, dict):
            layer = keras.saving.deserialize_keras_object(layer)
        self.layer = _copy(layer)

    def build(self, image_shape):
        shape = tuple(self.layer.compute_output_shape(image_shape))
        if shape != tuple(image_shape):
            raise ValueError(
                f"`augment` wants layers that keep the pictures' size, "
                f"{tuple(image_shape)}. Received: {type(self.layer).__name__}, which "
                f"makes {shape} of it."
            )
        self.layer.build(image_shape)

    def call(self, image, training=False):
        image = ops.cast(image, "float32")
        if self._rests(training):
            return image
        return self._some(self.layer(image, training=True), image)

    def compute_output_shape(self, image_shape):
        return tuple(image_shape)

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}


@keras.saving.register_keras_serializable("mmkeras")
class RandAugment(keras.layers.RandAugment):
    """`keras.layers.RandAugment` that treats each picture by itself.

    `num_ops` of shear, translation, rotation, brightness, colour, contrast, sharpness,
    posterisation, solarisation, auto-contrast and equalisation, one after another.
    Keras' own layer draws them once a batch, and equalises by the batch's histogram.
    All are computed for every picture: about 20 ms of CPU for one of 128 x 128.

    Example:
    >>> layer = mmkeras.image.RandAugment(factor=0.3, seed=1)
    >>> layer(np.full((2, 8, 8, 3), 100.0), training=True).shape
    TensorShape([2, 8, 8, 3])

    Args:
        value_range: as `keras.layers.RandAugment`, 0 to 255.
        num_ops: Integer, operations a picture.
        factor: Float in [0, 1], strength.
        interpolation: "nearest" or "bilinear".
        seed: optional integer.

    Call arguments:
        image: float tensor `(batch, height, width, 3)`.

    Output shape: `(batch, height, width, 3)`.

    Reference:
        Cubuk et al. 2019, arXiv:1909.13719.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.equalization = _Equalization(
            self.value_range, data_format=self.data_format, dtype=self.dtype_policy
        )

    def get_random_transformation(self, data, training=True, seed=None):
        found = super().get_random_transformation(data, training, seed)
        if found is not None:
            shape = (self.num_ops, self.backend.shape(data)[0], 1, 1, 1)
            found["layer_idxes"] = self.backend.random.randint(
                shape,
                0,
                len(found["transforms"]),
                seed=self._get_seed_generator(self.backend._backend),
            )
        return found


class _Equalization(keras.layers.Equalization):
    """Picture by picture: Keras' own takes one histogram of the whole batch."""

    def transform_images(self, images, transformation=None, training=True):
        def one(image):
            alone = super(_Equalization, self).transform_images(
                image[None], transformation, training
            )
            return alone[0]

        return ops.map(one, images)


def augmented(image, augment):
    """`image` behind copies of the layers in `augment`.

    Args:
        image: `KerasTensor` `(batch, height, width, 3)`, RGB 0-255.
        augment: None, a Keras layer, or a list of them.
    """
    for i, layer in enumerate(listed(augment), 1):
        if isinstance(layer, PictureAugmentation):
            # a layer shared by two encoders would freeze with either
            layer = type(layer).from_config(layer.get_config())
        else:
            layer = PictureAugmentation(layer, name=f"augment{i}")
        image = layer(image)
    return image


def _copy(layer):
    """The same layer in float32, checked."""
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(
            f"`augment` wants Keras layers such as keras.layers.RandomFlip. Received: "
            f"{layer!r}"
        )
    name = type(layer).__name__
    refused = _REFUSED.get(name)
    if isinstance(layer, Augmentation):
        refused = "is no layer for pictures: other encoders have their own `augment`"
    if refused:
        raise ValueError(
            f"`augment` wants layers that change each picture by itself. Received: "
            f"{name}, which {refused}."
        )
    values = tuple(getattr(layer, "value_range", (0, 255)))
    if values != (0, 255):
        raise ValueError(
            f"`augment` works on RGB 0-255. Received: {name} with "
            f"value_range={values}. Give it value_range=(0, 255)."
        )
    try:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})
    except (NotImplementedError, TypeError) as error:
        raise ValueError(
            f"`augment` wants layers that can be saved. Received: {name}, which its "
            f"own config does not make again: {error}"
        ) from error
