"""The colours of a picture, wherever they stand."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class ColourHistogram(keras.layers.Layer):
    """How much of a picture has each colour: y_c = sqrt(pixels in cube c / pixels).

    RGB is cut into `bins`^3 cubes, numbered red first. The root (Hellinger's distance)
    keeps a large ground from drowning the rest; y has length 1.

    Example:
    >>> layer = mmkeras.classic.ColourHistogram(bins=2)
    >>> y = layer(np.full((1, 8, 8, 3), [255.0, 0.0, 0.0]))
    >>> y.shape, int(np.argmax(y[0]))  # red: the cube 1, 0, 0
    (TensorShape([1, 8]), 4)

    Args:
        bins: Integer >= 2, parts of each channel.

    Call arguments:
        pixels: float tensor `(batch, height, width, 3)`, RGB 0-255.

    Output shape: `(batch, bins ** 3)`, float32.

    Raises:
        ValueError: `bins` is below 2.

    Reference:
        Swain and Ballard, 1991, https://doi.org/10.1007/BF00130487.
    """

    def __init__(self, bins=4, **kwargs):
        # 0-255 and shares of thousands of pixels are nothing for float16
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        if not isinstance(bins, int) or bins < 2:
            raise ValueError(f"`bins` wants an integer >= 2. Received: bins={bins!r}")
        self.bins = bins

    def call(self, pixels):
        pixels = ops.cast(pixels, "float32")
        part = ops.clip(ops.floor(pixels * (self.bins / 256)), 0, self.bins - 1)
        red, green, blue = (part[..., i] for i in range(3))
        cube = ops.cast((red * self.bins + green) * self.bins + blue, "int32")
        cube = ops.reshape(cube, (-1, cube.shape[1] * cube.shape[2]))
        return ops.sqrt(ops.mean(ops.one_hot(cube, self.bins**3), axis=1))

    def compute_output_shape(self, pixels_shape):
        return (pixels_shape[0], self.bins**3)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}
