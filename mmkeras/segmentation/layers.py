"""The parts of a decoder: places that ask words, modulation, making a map larger."""

import keras
from keras import ops

from mmkeras.fusion.attention import mean_of_tokens
from mmkeras.fusion.cross_attention import CrossAttentionFusion


@keras.saving.register_keras_serializable("mmkeras")
class Modulate(keras.layers.Layer):
    """Scales and shifts a feature map, channel by channel: y = (1 + g) * x + b.

    Example:
    >>> maps, said = np.ones((1, 2, 2, 1)), np.array([[2.0, 0.5]])
    >>> float(mmkeras.segmentation.Modulate()(maps, said)[0, 0, 0, 0])
    3.5

    Call arguments:
        maps: float tensor `(batch, height, width, dim)`.
        said: float tensor `(batch, 2 * dim)`, [g; b]; zeros change nothing.

    Output shape: like `maps`.

    Raises:
        ValueError: `said` is not twice as wide as `maps`.

    Reference:
        Perez et al. 2018, arXiv:1709.07871 (FiLM); 1 + g in place of their gamma, as
        they recommend.
    """

    def call(self, maps, said):
        scale, shift = ops.split(said[:, None, None, :], 2, axis=-1)
        return (1 + scale) * maps + shift

    def compute_output_shape(self, maps_shape, said_shape):
        if said_shape[-1] != 2 * maps_shape[-1]:
            raise ValueError(
                f"`said` wants a scale and a shift for each of {maps_shape[-1]} "
                f"channels. Received: shape {tuple(said_shape)}"
            )
        return maps_shape


@keras.saving.register_keras_serializable("mmkeras")
class Enlarge(keras.layers.Layer):
    """Feature maps of another size, bilinear: for a decoder's way up.

    Unlike `keras.layers.UpSampling2D` it reaches sizes that are no multiples.

    Example:
    >>> mmkeras.segmentation.Enlarge((7, 5))(np.ones((1, 4, 3, 2))).shape
    TensorShape([1, 7, 5, 2])

    Args:
        size: pair of integers (height, width).

    Call arguments:
        maps: float tensor `(batch, height, width, dim)`.

    Output shape: `(batch, *size, dim)`.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, maps):
        return ops.image.resize(
            maps, self.size, "bilinear", data_format="channels_last"
        )

    def compute_output_shape(self, maps_shape):
        return (maps_shape[0], *self.size, maps_shape[-1])

    def get_config(self):
        return {**super().get_config(), "size": list(self.size)}


@keras.saving.register_keras_serializable("mmkeras")
class AskWords(keras.layers.Layer):
    """Lets a map's places and the other modalities' tokens ask each other.

    The blocks of `CrossAttentionFusion`, before it takes means: `layers` times each
    place attends to all tokens and each token to all places, so that "the red square"
    learns where it is and "left of it" which places that is.

    Example:
    >>> words = {"tokens": np.ones((1, 5, 6)), "mask": np.ones((1, 5))}
    >>> layer = mmkeras.segmentation.AskWords(units=8, heads=2)
    >>> found = layer({"photo": np.ones((1, 2, 3, 4)), "title": words})
    >>> found["photo"].shape, found["title"].shape
    (TensorShape([1, 2, 3, 8]), TensorShape([1, 8]))

    Args:
        units: Integer, width of places and tokens inside and of the outputs.
        heads: Integer that divides `units`.
        layers: Integer, number of blocks.

    Call arguments:
        features: dict, modality -> a map `(batch, height, width, dim)`, or {"tokens":
            `(batch, length, dim)`, "mask": `(batch, length)`}.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: dict, modality -> `(batch, height, width, units)` for a map, `(batch,
        units)`, the mean of its tokens, for others; zeros where absent.
    """

    def __init__(self, units, heads=4, layers=3, **kwargs):
        super().__init__(**kwargs)
        self.units, self.heads, self.layers = units, heads, layers
        self.blocks = CrossAttentionFusion(
            units, heads, layers, name="blocks", dtype=self.dtype_policy
        )

    def build(self, features_shape, presence_shape=None):
        shapes = {k: _token_shapes(x) for k, x in features_shape.items()}
        self.blocks.build(shapes, presence_shape)

    def call(self, features, presence=None):
        tokens = {k: _tokens(x) for k, x in features.items()}
        prepared, _ = self.blocks.prepared(tokens, presence)
        z, masks = self.blocks.attended(prepared)
        made = {}
        for name, x in features.items():
            if isinstance(x, dict):
                made[name] = mean_of_tokens(z[name], masks[name])
            else:
                blanked = z[name] * masks[name][..., None]
                made[name] = ops.reshape(blanked, (-1, *x.shape[1:3], self.units))
        return made

    def compute_output_shape(self, features_shape, presence_shape=None):
        return {
            name: (x["tokens"][0], self.units)
            if isinstance(x, dict)
            else (*x[:3], self.units)
            for name, x in features_shape.items()
        }

    def get_config(self):
        own = {"units": self.units, "heads": self.heads, "layers": self.layers}
        return {**super().get_config(), **own}


def _token_shapes(shape):
    if isinstance(shape, dict):
        return shape
    batch, height, width, dim = shape
    length = height * width
    return {"tokens": (batch, length, dim), "mask": (batch, length)}


def _tokens(x):
    """A map as tokens, all of them valid."""
    if isinstance(x, dict):
        return x
    tokens = ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))
    return {"tokens": tokens, "mask": ops.ones_like(tokens[..., 0])}
