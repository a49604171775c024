"""A picture encoder without weights: colours and oriented gradients."""

import keras

from mmkeras.classic.colours import ColourHistogram
from mmkeras.classic.gradients import OrientedGradients
from mmkeras.image.pixels import Pixels
from mmkeras.modality import tensor_input
from mmkeras.standardize import Standardize


def picture(size=64, bins=4, cell=16, standardize=False, name="classic_picture"):
    """Colours and shapes of a picture: y = [colour histogram; oriented gradients].

    There is nothing to train in it: features of such an encoder are computed once.

    Example:
    >>> encoder = mmkeras.classic.picture()
    >>> encoder(np.zeros((2, 64, 64, 3))).shape, encoder.count_params()
    (TensorShape([2, 388]), 0)

    Args:
        size: Integer or pair of integers (height, width), in pixels.
        bins: Integer, parts of each colour channel; 0 leaves the colours out.
        cell: Integer, side of a gradient cell in pixels; 0 leaves the gradients out.
        standardize: True ends in a `Standardize` layer, whose columns
            `mmkeras.transfer.adapt` scales by the training rows.
        name: String.

    Returns:
        `keras.Model`, RGB 0-255 `(batch, height, width, 3)` to a feature of `bins` ** 3
        colours and then the gradients of `OrientedGradients(cell=cell)`.

    Raises:
        ValueError: nothing is left, or an argument that the layers refuse.
    """
    if not bins and not cell:
        raise ValueError(
            "`picture` wants colours or gradients. Received: bins=0, cell=0."
        )
    pixels = Pixels(size, scaling="none", method="area", name="pixels")
    image = tensor_input(pixels, "image")
    x = pixels(image)
    parts = [ColourHistogram(bins, name="colours")(x)] if bins else []
    parts += [OrientedGradients(cell=cell, name="gradients")(x)] if cell else []
    vector = parts[0]
    if len(parts) > 1:
        vector = keras.layers.Concatenate(name="vector", dtype="float32")(parts)
    if standardize:
        vector = Standardize(name="standardize")(vector)
    return keras.Model(image, vector, name=name)
