"""What the fusions by attention share: attention, a block of it, tokens in one width.

Everything is made of `keras.layers.Dense` and `LayerNormalization`, so that freezing
and LoRA reach every part, and of matmul and softmax, so that TFLite has every op.
"""

import keras
from keras import ops

from mmkeras.dropout import Dropout
from mmkeras.fusion.base import ABSENT_SCORE, Fusion
from mmkeras.fusion.checks import divides, positive


class Attention(keras.layers.Layer):
    """Multi-head attention that gives zeros where there is nothing to attend to.

    head_i = softmax(Q_i K_i^T / sqrt(units / heads)) V_i over the keys of mask 1, with
    Q = x W_q + b_q, K = context W_k, V = context W_v + b_v; y = [head_1; ...] W_o +
    b_o. A bias on the keys would cancel in the softmax: there is none.

    Args:
        units: Integer, width of queries, keys and output.
        heads: Integer that divides `units`.
        single: Boolean, the context never has more than one token: softmax is 1
            whatever is asked, so W_q and W_k would never learn and are not made.

    Call arguments:
        x: tensor `(batch, queries, units)`.
        context: tensor `(batch, keys, units)`.
        mask: tensor `(batch, keys)`, 1 where a key is there.

    Output shape: `(batch, queries, units)`; `(batch, 1, units)`, the same for all
        queries, where there is but one key.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, units, heads, single=False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.heads, self.single = units, heads, single
        parts = {"value": True, "output": True}
        if not single:
            parts = {"query": True, "key": False, **parts}
        self.maps = {
            part: keras.layers.Dense(
                units, use_bias=bias, name=part, dtype=self.dtype_policy
            )
            for part, bias in parts.items()
        }

    def build(self, shape):
        for layer in self.maps.values():
            layer.build((None, None, self.units))

    def call(self, x, context, mask):
        values = self.maps["value"](context)
        if not self.single and context.shape[1] != 1:  # else softmax is 1
            weights = self.weights_of(x, context, mask)
            heads = ops.matmul(weights, self._split(values))
            heads = ops.transpose(heads, (0, 2, 1, 3))
            values = ops.reshape(heads, (-1, ops.shape(x)[1], self.units))
        # where no key is there softmax has spread over padding
        anything = ops.max(mask, axis=1)[:, None, None]
        return self.maps["output"](values) * anything

    def weights_of(self, x, context, mask):
        """The attention weights, `(batch, heads, queries, keys)`."""
        # scaled before the product, which float16 then holds more easily
        queries = self.maps["query"](x) * (self.units // self.heads) ** -0.5
        keys = ops.transpose(self._split(self.maps["key"](context)), (0, 1, 3, 2))
        scores = ops.cast(ops.matmul(self._split(queries), keys), "float32")
        scores = ops.where(mask[:, None, None, :] > 0, scores, ABSENT_SCORE)
        return ops.cast(ops.softmax(scores), self.compute_dtype)

    def _split(self, x):
        """`(batch, length, units)` as `(batch, heads, length, units / heads)`."""
        shape = (-1, ops.shape(x)[1], self.heads, self.units // self.heads)
        return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))


class Block(keras.layers.Layer):
    """One pre-norm transformer block, of self-attention or of attention to a context.

    y = x + Attention(LN x, LN context); out = y + W_2 gelu(W_1 LN' y), 4 units wide in
    between. The same LN serves both sides, as in MulT's own program.

    Args:
        units, heads, single: as `Attention`.
        dropout: Float in [0, 1), share of both branches that training drops.

    Call arguments:
        x: tensor `(batch, length, units)`.
        mask: tensor `(batch, keys)`, 1 where a key is there.
        context: tensor `(batch, keys, units)`; None: x attends to itself.

    Output shape: like `x`.
    """

    def __init__(self, units, heads, dropout=0.0, single=False, **kwargs):
        super().__init__(**kwargs)
        dtype = {"dtype": self.dtype_policy}
        self.units = units
        self.attention = Attention(units, heads, single, name="attention", **dtype)
        self.wide = keras.layers.Dense(4 * units, "gelu", name="wide", **dtype)
        self.narrow = keras.layers.Dense(units, name="narrow", **dtype)
        self.norm = layer_norm("norm", **dtype)
        self.wide_norm = layer_norm("wide_norm", **dtype)
        self.drop = Dropout(dropout, name="drop", **dtype) if dropout else None

    def build(self, shape):
        shape = (None, None, self.units)
        for layer in (self.attention, self.wide, self.norm, self.wide_norm):
            layer.build(shape)
        self.narrow.build((None, None, 4 * self.units))

    def call(self, x, mask, context=None):
        queries = self.norm(x)
        keys = queries if context is None else self.norm(context)
        x = x + self._dropped(self.attention(queries, keys, mask))
        return x + self._dropped(self.narrow(self.wide(self.wide_norm(x))))

    def _dropped(self, x):
        return self.drop(x) if self.drop else x


class TokenFusion(Fusion):
    """Base class of the fusions by attention: tokens of all modalities in one width.

    A token x of modality m enters as V_m x + e_m; e_m, the modality's embedding, tells
    the attention where a token comes from. No positions are added: the tokens of an
    encoder carry their own, a vector has none.

    Args:
        units: Integer, width of the tokens inside and of the output.
        heads: Integer that divides `units`, number of attention heads.
        layers: Integer, number of transformer blocks one behind the other.
        dropout: Float in [0, 1), share of the features' entries, and of each block's
            two branches, that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).
    """

    takes_tokens = True

    def __init__(self, units, heads=4, layers=2, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.heads = divides("heads", positive("heads", heads), units)
        self.layers = positive("layers", layers)

    def build_fusion(self):
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.project = self.projections(self.units, bias_initializer=small)

    def embed(self, features):
        """Tokens of width `units`, and masks: two dicts by modality."""
        tokens = {n: self.project[n](features[n]["tokens"]) for n in self.names}
        return tokens, {n: features[n]["mask"] for n in self.names}

    def block(self, name, keys=None, units=None):
        """A built `Block`.

        Args:
            name: string.
            keys: names of the modalities whose tokens are its keys; None: there are
                other keys too.
            units: Integer, width; `self.units` where None.
        """
        single = keys is not None and [self.lengths[n] for n in keys] == [1]
        units = units or self.units
        kwargs = {"name": name, "dtype": self.dtype_policy}
        layer = Block(units, self.heads, self.dropout, single, **kwargs)
        layer.build((None, None, units))
        return layer

    def last_norm(self, name="norm", units=None):
        """A built layer normalisation for what leaves the blocks."""
        layer = layer_norm(name, dtype=self.dtype_policy)
        layer.build((None, None, units or self.units))
        return layer

    def learned(self, name, count):
        """`count` learned tokens, `(count, units)`, of length 1 or so at first."""
        # much shorter ones, as 0.02 an entry, make the first layer normalisation steep
        return self.add_weight(
            name=name,
            shape=(count, self.units),
            initializer=keras.initializers.RandomNormal(stddev=self.units**-0.5),
        )

    def get_config(self):
        own = {"units": self.units, "heads": self.heads, "layers": self.layers}
        return {**super().get_config(), **own}


def layer_norm(name, **kwargs):
    """Layer normalisation as all blocks use it."""
    return keras.layers.LayerNormalization(epsilon=1e-5, name=name, **kwargs)


def for_each(learned, presence):
    """Learned tokens `(count, units)` once per example: `(batch, count, units)`."""
    return ops.zeros_like(presence[:, :1, None]) + learned


def mean_of_tokens(tokens, mask):
    """Mean over the tokens of mask 1, `(batch, units)`; zeros where there are none."""
    # in float32: the sum over a long sequence leaves float16
    wide = ops.cast(tokens, "float32")
    mask = ops.cast(mask, "float32")[..., None]
    mean = ops.sum(wide * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)
    return ops.cast(mean, tokens.dtype)


def mean_of_present(x, presence):
    """Mean over the modalities that are there; zeros where there are none.

    Args:
        x: list of tensors `(batch, ...)`, in the order of presence's columns.
        presence: tensor `(batch, modalities)` of 0 and 1.
    """
    count = ops.maximum(ops.sum(presence, axis=1), 1.0)
    total = 0.0
    for i, part in enumerate(x):
        shape = (-1,) + (1,) * (len(part.shape) - 1)
        total = total + part * ops.reshape(presence[:, i] / count, shape)
    return total
