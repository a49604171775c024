"""Tensor fusion, in full and with a tensor of low rank."""

import math

import keras
from keras import ops

from mmkeras.fusion.base import Fusion, narrowed, product_of_present
from mmkeras.fusion.checks import positive

# More entries than this in one example's outer product are a mistake, not a model.
LARGEST = 1_000_000


@keras.saving.register_keras_serializable("mmkeras")
class TensorFusion(Fusion):
    """All products of entries across modalities, of every order, through one map.

    h = W vec([1; x_1] (x) ... (x) [1; x_M]) + b, the outer product over all modalities
    in the order of their names. An absent modality leaves the products of the others.

    Example:
    >>> fusion = mmkeras.fusion.TensorFusion(units=8, width=4)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        width: Integer, width to which each feature is projected first; None takes the
            features as they are. The map has (width + 1)^M * units weights: with more
            than three modalities use `LowRankFusion`.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; where all modalities are absent, a learned vector.

    Raises:
        ValueError: the outer product has over a million entries; or as `Fusion`.

    Reference:
        Zadeh et al. 2017, arXiv:1707.07250. Departs: one linear map behind the outer
        product, in place of a network, which the head is.
    """

    def __init__(self, units, width=16, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.width = positive("width", width, optional=True)

    def build_fusion(self):
        dims = [self.width or dim for dim in self.dims.values()]
        size = math.prod(dim + 1 for dim in dims)
        if size > LARGEST:
            raise ValueError(
                f"`TensorFusion` of features of widths {dims} wants an outer product "
                f"of {size:,} entries, more than {LARGEST:,}. Give a smaller `width`, "
                "or use `LowRankFusion`."
            )
        # without bias: an absent feature must stay zeros behind the projection
        self.reduce = {}
        if self.width:
            self.reduce = self.dense_each("projection", self.width, use_bias=False)
        self.map = self.dense("tensor", size, self.units, dtype="float32")

    def outer(self, features):
        """The flattened outer product, `(batch, prod (width + 1))`, float32."""
        product = None
        for name in self.names:
            x = features[name]
            x = self.reduce[name](x) if self.reduce else x
            x = with_one(ops.cast(x, "float32"))  # five overflow float16
            if product is None:
                product = x
                continue
            size = product.shape[1] * x.shape[1]
            product = ops.reshape(product[:, :, None] * x[:, None, :], (-1, size))
        return product

    def fuse(self, features, presence):
        return narrowed(self.map(self.outer(features)), self.compute_dtype)

    def get_config(self):
        own = {"units": self.units, "width": self.width}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("mmkeras")
class LowRankFusion(Fusion):
    """Tensor fusion whose map is a sum of `rank` products: linear in the modalities.

    h = sum_r prod_m (F_mr [1; x_m]) + b, which is `TensorFusion` with the map W = sum_r
    F_1r (x) ... (x) F_Mr, without the outer product. An absent modality leaves its
    factor's constant, which starts at 1.

    Example:
    >>> fusion = mmkeras.fusion.LowRankFusion(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        rank: Integer, number of products.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; where all modalities are absent, a learned vector,
        which starts at zeros.

    Raises:
        ValueError: `units` or `rank` is no positive integer; or as `Fusion`.

    Reference:
        Liu et al. 2018, arXiv:1806.00064. Departs: any number of modalities; the
        products are summed as in the paper, without the weights of its program.
    """

    def __init__(self, units, rank=4, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.rank = positive("rank", rank)

    def build_fusion(self):
        self.factors = self.dense_each(
            "factor", self.rank * self.units, bias_initializer="ones"
        )
        # takes back the constants' products, so that training starts around zero
        self.bias = self.add_weight(
            name="bias",
            shape=(self.units,),
            initializer=keras.initializers.Constant(-float(self.rank)),
        )

    def fuse(self, features, presence):
        factors = self.stack(features, self.factors)
        # an absent modality multiplies too, by its constant: all count as present
        product = product_of_present(factors, ops.ones_like(presence))
        terms = ops.reshape(product, (-1, self.rank, self.units))
        return narrowed(ops.sum(terms, axis=1), self.compute_dtype) + self.bias

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rank": self.rank}


def with_one(x):
    """[1; x] along the last axis."""
    return ops.concatenate([ops.ones_like(x[:, :1]), x], axis=-1)
