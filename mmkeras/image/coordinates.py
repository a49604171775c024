"""Where a place lies in the picture, as numbers beside its features."""

import keras
import numpy as np


@keras.saving.register_keras_serializable("mmkeras")
class Coordinates(keras.layers.Layer):
    """Puts each place's column and row beside its features: [x; c; r].

    c = -1 ... 1 from the left edge's middle of a place to the right one's, r from top
    to bottom; 0 along a side of one place. A convolution is the same everywhere, and
    fusions add no positions to tokens: before tokens are made of a feature map, this
    lets them say "left of".

    Example:
    >>> places = mmkeras.image.Coordinates()(np.zeros((1, 2, 3, 1)))
    >>> np.asarray(places)[0, :, :, 1:].tolist()[0]
    [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0]]

    Call arguments:
        features: float `(batch, height, width, dim)`, height and width known.

    Output shape: `(batch, height, width, dim + 2)`.

    Raises:
        ValueError: the features are no map, or of unknown size.

    Reference:
        Liu et al. 2018, arXiv:1807.03247 (CoordConv, without its convolution).
    """

    def call(self, features):
        height, width = features.shape[1:3]
        c, r = np.meshgrid(_line(width), _line(height))
        places = np.stack([c, r], axis=-1)[None].astype("float32")
        places = keras.ops.convert_to_tensor(places, features.dtype)
        places = places + keras.ops.zeros_like(features[..., :1])
        return keras.ops.concatenate([features, places], axis=-1)

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                f"`Coordinates` wants a feature map (batch, height, width, dim), all "
                f"known but the batch. Received: shape {tuple(input_shape)}. Set the "
                f"encoder's `size`."
            )
        return (*input_shape[:-1], input_shape[-1] + 2)


def _line(length):
    return np.linspace(-1.0, 1.0, length) if length > 1 else np.zeros(1)
