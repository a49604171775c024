"""A small conformer: attention over the whole clip, convolution over its neighbours."""

import keras
import numpy as np
from keras import layers, ops

from mmkeras.audio.features.frames import BlankFrames, FrameNormalization
from mmkeras.audio.features.mel import LogMel
from mmkeras.audio.front import check_pooling, normalized_features, pool
from mmkeras.dropout import Dropout

_SUBSAMPLING = (1, 2, 4)
#: The score of padding: exp of it is 0.
_BLOCKED = -1e9


def conformer(
    sampling_rate=16000,
    seconds=2.0,
    units=144,
    blocks=4,
    heads=4,
    kernel=15,
    subsampling=4,
    pooling="mean",
    dropout=0.1,
    front_end=None,
    augment=None,
    name="conformer",
):
    """A conformer over log-mel frames: tokens for fusions by attention, or their mean.

    wave -> LogMel (25 ms every 10 ms, 80 bands) -> batch normalisation -> convolutions
    of stride 2 -> Dense + positions -> `blocks` times

    x = x + FFN(x) / 2; x = x + attention(x); x = x + convolution(x); x = LN(x +
    FFN'(x) / 2)

    Frames beyond a clip's end are blanked before every convolution and attended to by
    none: the result does not depend on the padding.

    Example:
    >>> encoder = mm.audio.conformer(
    ...     seconds=0.5, units=16, blocks=1, heads=2, pooling=None
    ... )
    >>> encoder(np.zeros((1, 8000)))["tokens"].shape
    TensorShape([1, 13, 16])

    Args:
        sampling_rate: Integer, in Hz.
        seconds: Float, length of the tensor; longer clips are cropped.
        units: Integer, width of the tokens and of the output.
        blocks: Integer, number of conformer blocks.
        heads: Integer that divides `units`, number of attention heads.
        kernel: Integer, tokens that the convolution of a block sees.
        subsampling: 1, 2 or 4, frames that become one token.
        pooling: "mean", or None for the tokens.
        dropout: Float in [0, 1), rate in every branch; rests while frozen.
        front_end: optional `LogMel` or `MFCC` layer in place of the one above.
        augment: optional layer of mmkeras.audio, or list of them, as `mfcc_cnn` takes.
        name: name of the model.

    Returns:
        `keras.Model`, input and output as those of `mfcc_cnn`, with
        ceil(frames / subsampling) tokens.

    Raises:
        ValueError: an argument is out of range or not among its valid values.

    Reference:
        Gulati et al. 2020, arXiv:2005.08100. Departs: sinusoidal positions are added
        once, where the paper's attention has relative ones; the convolutions that
        subsample go over time with the bands as channels.
    """
    _check(units, blocks, heads, kernel, subsampling)
    check_pooling(pooling)
    front_end = front_end or _log_mel(sampling_rate)
    wave, x, mask = normalized_features(sampling_rate, seconds, front_end, augment)
    for i in range(1, 1 + _SUBSAMPLING.index(subsampling)):
        x, mask = _halved(x, mask, units, f"stem{i}")
    x = layers.Dense(units, name="stem_dense")(x)
    x = Positions(name="positions")(x)
    x = Dropout(dropout, name="stem_dropout")(x)
    for i in range(1, blocks + 1):
        x = _block(x, mask, heads, kernel, dropout, f"block{i}")
    return keras.Model(wave, pool(x, mask, pooling), name=name)


def _check(units, blocks, heads, kernel, subsampling):
    for key, value in {"units": units, "blocks": blocks, "kernel": kernel}.items():
        if value < 1:
            raise ValueError(f"`{key}` wants 1 or more. Received: {key}={value}")
    if heads < 1 or units % heads:
        raise ValueError(
            f"`heads` wants a number that divides `units`. Received: heads={heads}, "
            f"units={units}"
        )
    if subsampling not in _SUBSAMPLING:
        raise ValueError(
            f"`subsampling` wants one of {_SUBSAMPLING}. Received: "
            f"subsampling={subsampling}"
        )


def _log_mel(sampling_rate):
    return LogMel(
        sampling_rate,
        n_fft=round(0.025 * sampling_rate),
        hop_length=round(0.01 * sampling_rate),
        num_mel_bins=80,
        name="log_mel",
    )


def _halved(x, mask, units, name):
    """A convolution of stride 2 over time; token t is centred on frame 2 t.

    "same" would put its zeros by the tensor's length, and so by the padding.
    """
    x = BlankFrames(name=f"{name}_blank")(x, mask)
    x = layers.ZeroPadding1D(1, name=f"{name}_ends")(x)
    x = layers.Conv1D(units, 3, strides=2, name=f"{name}_conv")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return x, EverySecond(name=f"{name}_mask")(mask)


def _block(x, mask, heads, kernel, dropout, name):
    x = _feed_forward(x, dropout, f"{name}_ffn1")
    x = _attention(x, mask, heads, dropout, f"{name}_attention")
    x = _convolution(x, mask, kernel, dropout, f"{name}_conv")
    x = _feed_forward(x, dropout, f"{name}_ffn2")
    return layers.LayerNormalization(name=f"{name}_norm")(x)


def _feed_forward(x, dropout, name):
    units = x.shape[-1]
    y = layers.LayerNormalization(name=f"{name}_norm")(x)
    y = layers.Dense(4 * units, "silu", name=f"{name}_wide")(y)
    y = Dropout(dropout, name=f"{name}_wide_dropout")(y)
    y = layers.Dense(units, name=f"{name}_narrow")(y)
    y = Dropout(dropout, name=f"{name}_dropout")(y)
    y = layers.Rescaling(0.5, name=f"{name}_half")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def _attention(x, mask, heads, dropout, name):
    """Plain layers: a `MultiHeadAttention` comes back from a file wholly unfrozen."""
    units = x.shape[-1]
    y = layers.LayerNormalization(name=f"{name}_norm")(x)
    query = layers.Dense(units, name=f"{name}_query")(y)
    key = layers.Dense(units, use_bias=False, name=f"{name}_key")(y)
    value = layers.Dense(units, name=f"{name}_value")(y)
    y = Attend(heads, name=name)(query, key, value, mask)
    y = layers.Dense(units, name=f"{name}_out")(y)
    y = Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def _convolution(x, mask, kernel, dropout, name):
    units = x.shape[-1]
    y = layers.LayerNormalization(name=f"{name}_norm")(x)
    gate = layers.Dense(units, "sigmoid", name=f"{name}_gate")(y)
    y = layers.Dense(units, name=f"{name}_value")(y)
    y = layers.Multiply(name=f"{name}_glu")([y, gate])
    y = BlankFrames(name=f"{name}_blank")(y, mask)
    y = layers.DepthwiseConv1D(
        kernel, padding="same", use_bias=False, name=f"{name}_depth"
    )(y)
    y = FrameNormalization(name=f"{name}_depth_norm")(y, mask)
    y = layers.Activation("silu", name=f"{name}_silu")(y)
    y = layers.Dense(units, name=f"{name}_out")(y)
    y = Dropout(dropout, name=f"{name}_dropout")(y)
    return layers.Add(name=f"{name}_add")([x, y])


@keras.saving.register_keras_serializable("mmkeras")
class EverySecond(keras.layers.Layer):
    """The mask of tokens that stand on the frames 0, 2, 4, ...

    Call arguments:
        token_mask: float tensor `(batch, length)`.

    Output shape: `(batch, ceil(length / 2))`, float32.
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})

    def call(self, token_mask):
        return token_mask[:, ::2]

    def compute_output_shape(self, token_mask_shape):
        batch, length = token_mask_shape
        return (batch, None if length is None else -(-length // 2))


@keras.saving.register_keras_serializable("mmkeras")
class Attend(keras.layers.Layer):
    """Attention among tokens, the heads side by side; padding is attended to by none.

    y_i = softmax(Q_i K_i^T / sqrt(dim / heads)) V_i. A bias on the keys would cancel in
    the softmax. Where all is padding, every token counts the same.

    Args:
        heads: Integer that divides `dim`.

    Call arguments:
        query: float tensor `(batch, length, dim)`.
        key: float tensor `(batch, length, dim)`.
        value: float tensor `(batch, length, dim)`.
        token_mask: float tensor `(batch, length)`, 1 token, 0 padding.

    Output shape: `(batch, length, dim)`.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, query, key, value, token_mask):
        # scaled before the product, which float16 then holds more easily
        query = query * (query.shape[-1] // self.heads) ** -0.5
        keys = ops.swapaxes(self._split(key), -1, -2)
        scores = ops.cast(ops.matmul(self._split(query), keys), "float32")
        scores = ops.where(token_mask[:, None, None] > 0, scores, _BLOCKED)
        weights = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        y = ops.transpose(ops.matmul(weights, self._split(value)), (0, 2, 1, 3))
        return ops.reshape(y, (-1, ops.shape(value)[1], value.shape[-1]))

    def _split(self, x):
        """`(batch, length, dim)` to `(batch, heads, length, dim / heads)`."""
        shape = (-1, ops.shape(x)[1], self.heads, x.shape[-1] // self.heads)
        return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

    def compute_output_shape(
        self, query_shape, key_shape=None, value_shape=None, token_mask_shape=None
    ):
        return tuple(query_shape)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("mmkeras")
class Positions(keras.layers.Layer):
    """Adds sines and cosines of a token's place: y[t, i] = x[t, i] + p[t, i].

    p[t, i] = sin(t / 10000^(i / h)) for i < h = ceil(dim / 2), then the cosines.

    Example:
    >>> Positions()(np.zeros((1, 1, 2))).numpy()
    array([[[0., 1.]]], dtype=float32)

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.

    Output shape: `(batch, length, dim)`.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762. Departs: the sines stand before the
        cosines, not between them.
    """

    def call(self, tokens):
        dim = tokens.shape[-1]
        half = -(-dim // 2)
        speed = (10000.0 ** (-np.arange(half) / half)).astype("float32")
        place = ops.cast(ops.arange(ops.shape(tokens)[1], dtype="int32"), "float32")
        angle = place[:, None] * speed
        waves = ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)
        return tokens + ops.cast(waves[None, :, :dim], tokens.dtype)

    def compute_output_shape(self, tokens_shape):
        return tuple(tokens_shape)
