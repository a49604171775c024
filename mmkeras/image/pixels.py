"""`Pixels`, the contract of pictures: encoded bytes to RGB numbers, and scaling."""

import keras
import numpy as np

from mmkeras.image import formats, headers
from mmkeras.modality import ModalityInput

#: Grey level (0-255) that shows through transparent pixels: things drawn in white or
#: in black stay visible, which they would not on a white or black ground.
GREY = 128.0

_METHODS = ("bilinear", "bicubic", "lanczos3", "lanczos5", "area", "nearest")
#: Kernels without negative weights: nothing of theirs is below 0.
_POSITIVE = ("bilinear", "area", "nearest")

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# scaling -> (divisor, mean, standard deviation, whether channels become BGR)
_SCALINGS = {
    "none": (1.0, (0.0,) * 3, (1.0,) * 3, False),
    "unit": (255.0, (0.0,) * 3, (1.0,) * 3, False),
    "tf": (127.5, (1.0,) * 3, (1.0,) * 3, False),
    "torch": (255.0, _IMAGENET_MEAN, _IMAGENET_STD, False),
    "clip": (255.0, _CLIP_MEAN, _CLIP_STD, False),
    "caffe": (1.0, (103.939, 116.779, 123.68), (1.0,) * 3, True),
}


@keras.saving.register_keras_serializable("mmkeras")
class Pixels(ModalityInput):
    """Contract of pictures: bytes -> RGB 0-255 -> what the network was trained on.

    `read` decodes (JPEG, PNG, GIF, BMP, and WebP where TensorFlow can), lays
    transparent pixels of PNG and WebP on grey (128), and resizes without keeping the
    aspect ratio. Grey-scale and palette pictures become RGB, 16 bits become 8, an
    animation gives its first frame. A JPEG's EXIF orientation is not applied. `call`
    then computes, per channel,

        y = (x / divisor - mean) / std

    Example:
    >>> pixels = mmkeras.image.Pixels((2, 2), scaling="tf")
    >>> float(pixels(np.full((1, 2, 2, 3), 255.0))[0, 0, 0, 0])
    1.0

    Args:
        size: Pair of integers (height, width) in pixels, or one integer for both.
        scaling: "none" (0-255), "unit" (0-1), "tf" (-1 to 1), "torch" (0-1, then
            ImageNet's mean and standard deviation), "caffe" (BGR, 0-255 less ImageNet's
            mean): the words of `keras.applications.imagenet_utils`; or "clip" (as
            "torch" with the mean and standard deviation of CLIP).
        method: kernel of the resize: "bilinear", "bicubic", "lanczos3", "lanczos5",
            "area" or "nearest".
        antialias: Boolean, whether the kernel widens when a picture shrinks.
        max_pixels: Integer, pictures with more pixels are refused, before they are
            decoded where the format's header says their size.

    Call arguments:
        tensor: float `(batch, height, width, 3)`, RGB 0-255.

    Output shape: `(batch, height, width, 3)`.

    Raises:
        ValueError: an argument is out of range (the message lists the valid names).
        tf.errors.InvalidArgumentError: from `read`; no picture, cut off, or too large.
    """

    kind = "image"
    cell = "file"

    def __init__(
        self,
        size=(224, 224),
        scaling="unit",
        method="bilinear",
        antialias=True,
        max_pixels=50_000_000,
        **kwargs,
    ):
        # 0-255 in float16 has steps of up to 1/8: scale first, cast after
        super().__init__(autocast=False, **kwargs)
        self.size = _pair(size)
        self.scaling = _one_of("scaling", scaling, _SCALINGS)
        self.method = _one_of("method", method, _METHODS)
        self.antialias = bool(antialias)
        self.max_pixels = int(max_pixels)
        if self.max_pixels < 1:
            raise ValueError(
                f"`max_pixels` wants a positive integer. Received: {max_pixels!r}"
            )

    @property
    def tensor_shape(self):
        return (*self.size, 3)

    def read_one(self, raw):
        import tensorflow as tf

        picture = formats.decode(raw, self.max_pixels)
        # most pictures are opaque: no arithmetic on their millions of numbers
        return tf.cond(
            tf.reduce_all(picture[..., 3:] == 255),
            lambda: self._sized(picture[..., :3]),
            lambda: self._sized(_on_grey(tf.cast(picture, tf.float32))),
        )

    def _sized(self, picture):
        import tensorflow as tf

        return tf.cond(
            tf.reduce_all(tf.shape(picture)[:2] == self.size),
            lambda: tf.cast(picture, tf.float32),
            lambda: self._resized(picture),
        )

    def _resized(self, picture):
        import tensorflow as tf

        picture = tf.image.resize(
            picture, self.size, method=self.method, antialias=self.antialias
        )
        # bicubic and Lanczos kernels overshoot, all round
        picture = tf.minimum(tf.cast(picture, tf.float32), 255.0)
        return picture if self.method in _POSITIVE else tf.maximum(picture, 0.0)

    def refusal(self, raw):
        return headers.refusal(raw, self.max_pixels)

    def call(self, tensor):
        divisor, mean, std, to_bgr = _SCALINGS[self.scaling]
        x = keras.ops.cast(tensor, "float32")
        if to_bgr:
            x = keras.ops.flip(x, axis=-1)
        if divisor != 1.0:
            x = x / divisor
        if any(mean):
            x = x - np.array(mean, "float32")
        if std != (1.0,) * 3:
            x = x / np.array(std, "float32")
        return keras.ops.cast(x, self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "size": list(self.size),
            "scaling": self.scaling,
            "method": self.method,
            "antialias": self.antialias,
            "max_pixels": self.max_pixels,
        }


def _on_grey(rgba):
    rgb, alpha = rgba[..., :3], rgba[..., 3:] / 255.0
    return rgb * alpha + GREY * (1.0 - alpha)


def _pair(size):
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(x, int) and x > 0 for x in pair):
        raise ValueError(
            f"`size` wants two positive integers (height, width) in pixels. "
            f"Received: size={size!r}"
        )
    return pair


def _one_of(argument, value, names):
    if value not in names:
        raise ValueError(
            f"`{argument}` wants one of {list(names)}. Received: {argument}={value!r}"
        )
    return value
