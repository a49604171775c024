"""Histograms of oriented gradients (HOG): the shapes in a picture."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class OrientedGradients(keras.layers.Layer):
    """Histograms of the directions of a picture's gradients (HOG).

    g = x(i + 1) - x(i - 1) of the channel where it is longest, 0 at the border; each
    pixel votes with |g| for one of `orientations` directions from 0 to 180 degrees;
    votes are averaged over cells, and v / sqrt(|v|^2 + epsilon^2) is taken over every
    block of cells, one cell apart. The numbers and their order are scikit-image's
    `hog(x, channel_axis=-1, block_norm="L2")`.

    Example:
    >>> layer = mmkeras.classic.OrientedGradients(cell=8, block=1)
    >>> step = np.zeros((1, 16, 16, 3))
    >>> step[:, :, 8:] = 255.0
    >>> layer(step).shape, int(np.argmax(layer(step)[0]))  # an upright edge: 0 degrees
    (TensorShape([1, 36]), 0)

    Args:
        orientations: Integer, directions.
        cell: Integer, side of a cell in pixels; what is left at the right and the
            bottom is not looked at.
        block: Integer, side of a block in cells.
        epsilon: Float, in grey levels (0-255): cells with less are taken for flat.

    Call arguments:
        pixels: float tensor `(batch, height, width, channels)`, 0-255.

    Output shape: `(batch, rows * columns * block ** 2 * orientations)`, float32, with
    `height // cell - block + 1` rows of blocks.

    Raises:
        ValueError: an argument is no positive number, or a picture is smaller than a
            block.

    Reference:
        Dalal and Triggs, 2005, https://doi.org/10.1109/CVPR.2005.177. Departs: a pixel
        votes in one bin and one cell, theirs in the next ones too.
    """

    def __init__(self, orientations=9, cell=16, block=2, epsilon=0.01, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        for name, x in (("orientations", orientations), ("cell", cell)):
            _check(name, x)
        _check("block", block)
        if not epsilon > 0:
            raise ValueError(f"`epsilon` wants a float > 0. Received: {epsilon!r}")
        self.orientations, self.cell, self.block = orientations, cell, block
        self.epsilon = epsilon

    def call(self, pixels):
        down, across = _strongest(ops.cast(pixels, "float32"))
        strength = ops.sqrt(down * down + across * across)
        votes = ops.one_hot(self._direction(down, across), self.orientations)
        votes = votes * strength[..., None]
        cells = ops.average_pool(
            votes, self.cell, self.cell, "valid", data_format="channels_last"
        )
        return self._blocks(cells)

    def _direction(self, down, across):
        """Number of the direction: how many borders between two lie before it.

        By the sides of lines, not by an angle: at 45 degrees rounding decides nothing.
        """
        up = (down < 0) | ((down == 0) & (across < 0))
        sign = ops.where(up, -1.0, 1.0)
        borders = np.arange(1, self.orientations) * np.pi / self.orientations
        cosine, sine = np.cos(borders).astype("float32"), np.sin(borders)
        down, across = (sign * down)[..., None], (sign * across)[..., None]
        beyond = down * cosine - across * sine.astype("float32") >= 0
        return ops.sum(ops.cast(beyond, "int32"), axis=-1)

    def _blocks(self, cells):
        rows, columns = self._count(cells.shape[1:3])
        corners = [
            cells[:, i : i + rows, j : j + columns]
            for i in range(self.block)
            for j in range(self.block)
        ]
        blocks = ops.concatenate(corners, axis=-1)
        squares = ops.sum(blocks * blocks, axis=-1, keepdims=True)
        blocks = blocks * ops.rsqrt(squares + self.epsilon**2)
        return ops.reshape(blocks, (-1, rows * columns * blocks.shape[-1]))

    def _count(self, cells):
        return tuple(x - self.block + 1 for x in cells)

    def compute_output_shape(self, pixels_shape):
        rows, columns = self._count([x // self.cell for x in pixels_shape[1:3]])
        if rows < 1 or columns < 1:
            raise ValueError(
                f"`OrientedGradients` wants pictures of {self.cell * self.block} "
                f"pixels or more, a block's side. Received: {pixels_shape[1:3]}. "
                f"Make `cell` or `block` smaller."
            )
        width = rows * columns * self.block**2 * self.orientations
        return (pixels_shape[0], width)

    def build(self, pixels_shape):
        self.compute_output_shape(pixels_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "orientations": self.orientations,
            "cell": self.cell,
            "block": self.block,
            "epsilon": self.epsilon,
        }


def _strongest(pixels):
    """Differences down and across, of the channel where they are longest together."""
    down = ops.pad(pixels[:, 2:] - pixels[:, :-2], [[0, 0], [1, 1], [0, 0], [0, 0]])
    across = pixels[:, :, 2:] - pixels[:, :, :-2]
    across = ops.pad(across, [[0, 0], [0, 0], [1, 1], [0, 0]])
    # not by argmax, which is no TFLite operation in Keras' form
    best = [x[..., 0] for x in (down, across)]
    for i in range(1, pixels.shape[-1]):
        new = [x[..., i] for x in (down, across)]
        longer = _squares(new) > _squares(best)
        best = [ops.where(longer, a, b) for a, b in zip(new, best, strict=True)]
    return best


def _squares(pair):
    return pair[0] * pair[0] + pair[1] * pair[1]


def _check(name, value):
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` wants an integer >= 1. Received: {name}={value!r}")
