"""Text encoders with tokens in columns: the form in which TFLite is fastest.

Dense layers over few tokens spend their time fetching weights: TFLite's kernel for
x W reads all of W once for every seven rows of x. In W^T x^T the weights are what is
read once, row by row as they lie in the file, and the tokens, which are few, stay in
the processor's cache. A layer's twin gives its usual tensor, the transposed one of it
and remembers the latter for the twins that follow; what nobody asks for, the converter
leaves out, so that a transformer's block keeps three small transpositions.
"""

import keras
from keras import ops

from mmkeras.text.bert import gelu_erf, gelu_tanh
from mmkeras.text.layers import AttentionValues, AttentionWeights, TokenDense

#: Kernels compute 32 columns at a time; more tokens than these leave the cache.
_STEP, _MOST = 32, 128
#: What may act before or after a transposition; softmax may not.
_ELEMENTWISE = (
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.silu,
    keras.activations.tanh,
    gelu_erf,
    gelu_tanh,
)


class Columns:
    """The twins of a text encoder's layers, for texts one at a time.

    Call arguments:
        layer: a Keras layer.

    Returns:
        A function to call in its place: the layer itself where there is no twin.
    """

    def __init__(self):
        # by identity, beside the tensor, so that no other takes its place
        self._known = {}

    def __call__(self, layer):
        twins = {
            TokenDense: self._dense,
            AttentionWeights: self._weights,
            AttentionValues: self._values,
        }
        twin = twins.get(type(layer))
        if twin is None:
            return layer

        def call(*tensors, **by_name):
            return twin(layer, *tensors, **by_name)

        return call

    def _dense(self, layer, tokens):
        elementwise = layer.activation in _ELEMENTWISE
        if not (_fits(tokens) and elementwise and layer.quantization_mode is None):
            return layer(tokens)
        import tensorflow as tf

        with tf.name_scope(layer.name):
            kernel = ops.transpose(ops.convert_to_tensor(layer.kernel))[None]
            columns = self._known.get(id(tokens), (None, None))[1]
            if columns is None:
                y = tf.matmul(kernel, tokens, transpose_b=True)
            else:
                y = ops.matmul(kernel, columns)
            if layer.use_bias:
                y = y + ops.convert_to_tensor(layer.bias)[:, None]
            return self._remembered(layer.activation(y))

    def _weights(self, layer, query, key, bias):
        columns = [self._known.get(id(x), (None, None))[1] for x in (query, key)]
        if any(x is None for x in columns):
            return layer(query, key, bias)
        query, key = (_heads(x, layer) for x in columns)
        scores = ops.matmul(ops.swapaxes(query, -1, -2), key)
        return ops.softmax(scores * query.shape[2] ** -0.5 + bias, axis=-1)

    def _values(self, layer, weights, value):
        columns = self._known.get(id(value), (None, None))[1]
        if columns is None:
            return layer(weights, value)
        import tensorflow as tf

        y = tf.matmul(_heads(columns, layer), weights, transpose_b=True)
        return self._remembered(ops.reshape(y, columns.shape))

    def _remembered(self, columns):
        tokens = ops.swapaxes(columns, 1, 2)
        self._known[id(tokens)] = tokens, columns
        return tokens


def _fits(tokens):
    batch, length = tokens.shape[:2]
    short = length <= _MOST and length % _STEP == 0
    return len(tokens.shape) == 3 and batch == 1 and short


def _heads(columns, layer):
    """`(1, dim, length)` to `(1, num_heads, dim / num_heads, length)`."""
    _, width, length = columns.shape
    return ops.reshape(columns, (1, layer.num_heads, width // layer.num_heads, length))
