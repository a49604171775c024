"""The weightless parts of a text encoder: masks, attention, pooling.

What has weights stays a plain Keras layer in the encoder's graph, so that each can be
frozen, cut and reloaded on its own.
"""

import keras
from keras import ops

# `token_mask`, not `mask`: Keras takes an argument of that name for its own masks.
# Added to the attention scores of padding: exp(-1e4) is 0, and float16 holds it.
_BLOCKED = -1e4


@keras.saving.register_keras_serializable("mmkeras")
class PaddingMask(keras.layers.Layer):
    """1.0 where an id is a token, 0.0 where it is padding.

    Args:
        padding_id: Integer.

    Call arguments:
        ids: integer tensor `(batch, length)`.

    Output shape: `(batch, length)`, float32.
    """

    def __init__(self, padding_id, **kwargs):
        super().__init__(**kwargs)
        self.padding_id = padding_id

    def call(self, ids):
        return ops.cast(ids != self.padding_id, "float32")

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, "float32")

    def get_config(self):
        return {**super().get_config(), "padding_id": self.padding_id}


@keras.saving.register_keras_serializable("mmkeras")
class Row(keras.layers.Layer):
    """One row of integers for every example: the positions, or the token type 0.

    Args:
        values: sequence of integers.

    Call arguments:
        ids: any tensor; only its place in the graph counts.

    Output shape: `(1, len(values))`, int32: broadcasts over the batch.
    """

    def __init__(self, values, **kwargs):
        super().__init__(**kwargs)
        self.values = list(values)

    def call(self, ids):
        return ops.convert_to_tensor([list(self.values)], "int32")

    def compute_output_spec(self, ids):
        return keras.KerasTensor((1, len(self.values)), "int32")

    def get_config(self):
        return {**super().get_config(), "values": list(self.values)}


@keras.saving.register_keras_serializable("mmkeras")
class Sum(keras.layers.Layer):
    """The sum of tensors that broadcast to the first one's shape.

    Call arguments:
        tensors: list of tensors; the first is `(batch, length, dim)`.

    Output shape: `(batch, length, dim)`.
    """

    def call(self, tensors):
        total = tensors[0]
        for tensor in tensors[1:]:
            total = total + tensor
        return total

    def compute_output_shape(self, tensors_shape):
        return tensors_shape[0]


@keras.saving.register_keras_serializable("mmkeras")
class TokenDense(keras.layers.Dense):
    """`keras.layers.Dense` over tokens, computed as one matrix product.

    The tokens of all texts stand below each other in one matrix: only so TensorFlow
    fuses product, bias and activation into one kernel.

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.

    Output shape: `(batch, length, units)`.
    """

    def call(self, tokens):
        rows = super().call(ops.reshape(tokens, (-1, tokens.shape[-1])))
        return ops.reshape(rows, (-1, *tokens.shape[1:-1], self.units))


@keras.saving.register_keras_serializable("mmkeras")
class TokenNorm(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` over the last axis in fewer passes.

    y = gamma c / sqrt(mean(c^2) + epsilon) + beta, c = x - mean(x), float32 at least.
    Centred once, its gradient costs a third less than that of Keras' form, which keeps
    x and its mean apart. Wants Keras' own `axis`, `center` and `scale`.

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.

    Output shape: `(batch, length, dim)`.

    Reference:
        Ba et al. 2016, arXiv:1607.06450.
    """

    def call(self, tokens):
        x = ops.cast(tokens, keras.backend.result_type(tokens.dtype, "float32"))
        x = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
        x = x * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta
        return ops.cast(x, self.compute_dtype)


@keras.saving.register_keras_serializable("mmkeras")
class MaskBias(keras.layers.Layer):
    """What to add to attention scores so that nobody attends to padding.

    Call arguments:
        token_mask: float tensor `(batch, length)`, 1 token, 0 padding.

    Output shape: `(batch, 1, 1, length)`.
    """

    def call(self, token_mask):
        mask = ops.cast(token_mask, self.compute_dtype)
        return ((1.0 - mask) * _BLOCKED)[:, None, None, :]

    def compute_output_shape(self, token_mask_shape):
        return (token_mask_shape[0], 1, 1, token_mask_shape[1])


@keras.saving.register_keras_serializable("mmkeras")
class AttentionWeights(keras.layers.Layer):
    """How much each token attends to each other: softmax(Q K^T / sqrt(d) + bias).

    Args:
        num_heads: Integer.

    Call arguments:
        query: float tensor `(batch, length, dim)`.
        key: float tensor `(batch, length, dim)`.
        bias: float tensor `(batch, 1, 1, length)`.

    Output shape: `(batch, num_heads, length, length)`.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def call(self, query, key, bias):
        scale = (query.shape[-1] // self.num_heads) ** -0.5
        query = _heads(query, self)
        scores = ops.matmul(query, ops.swapaxes(_heads(key, self), -1, -2))
        # in this order TensorFlow fuses product, scale and bias into one kernel
        return ops.softmax(scores * scale + bias, axis=-1)

    def compute_output_shape(self, query_shape, key_shape, bias_shape):
        return (query_shape[0], self.num_heads, query_shape[1], key_shape[1])

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable("mmkeras")
class AttentionValues(keras.layers.Layer):
    """The values that each token attends to, the heads side by side: A V.

    Call arguments:
        weights: float tensor `(batch, num_heads, length, length)`.
        value: float tensor `(batch, length, dim)`.

    Output shape: `(batch, length, dim)`.
    """

    def __init__(self, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def call(self, weights, value):
        out = ops.transpose(ops.matmul(weights, _heads(value, self)), (0, 2, 1, 3))
        return ops.reshape(out, (-1, *value.shape[1:]))

    def compute_output_shape(self, weights_shape, value_shape):
        return value_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}


def _heads(x, layer):
    """`(batch, length, dim)` to `(batch, num_heads, length, dim / num_heads)`."""
    size = x.shape[-1] // layer.num_heads
    x = ops.reshape(x, (-1, x.shape[1], layer.num_heads, size))
    return ops.transpose(x, (0, 2, 1, 3))


@keras.saving.register_keras_serializable("mmkeras")
class MaskedMean(keras.layers.Layer):
    """The mean of the tokens that are no padding; zeros where all is padding.

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.
        token_mask: float tensor `(batch, length)`, 1 token, 0 padding.

    Output shape: `(batch, dim)`.
    """

    def call(self, tokens, token_mask):
        mask = ops.cast(token_mask, tokens.dtype)[:, :, None]
        # shares, not a sum divided afterwards: float16 overflows at long sums
        share = mask / ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1.0)
        return ops.sum(tokens * share, axis=1)

    def compute_output_shape(self, tokens_shape, token_mask_shape):
        return (tokens_shape[0], tokens_shape[2])


@keras.saving.register_keras_serializable("mmkeras")
class FirstToken(keras.layers.Layer):
    """The feature of the first token, BERT's [CLS].

    Call arguments:
        tokens: float tensor `(batch, length, dim)`.

    Output shape: `(batch, dim)`.
    """

    def call(self, tokens):
        return tokens[:, 0]

    def compute_output_shape(self, tokens_shape):
        return (tokens_shape[0], tokens_shape[2])
