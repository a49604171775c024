"""Factorised bilinear pooling."""

import keras
from keras import ops

from mmkeras.fusion.base import Fusion, any_present, product_of_present
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class FactorizedBilinear(Fusion):
    """Multiplies wide projections and sums them in groups (MFB), then tames the scale.

    z_u = sum_k prod_m (V_m x_m)_{uk}, h = l2(sign(z) sqrt|z|). An absent modality is a
    factor of 1.

    Example:
    >>> fusion = mmkeras.fusion.FactorizedBilinear(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        factors: Integer, number of products that are summed into one output.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`, of length 1 (nearly); zeros where all modalities
        are absent.

    Raises:
        ValueError: `units` or `factors` is no positive integer; or as `Fusion`.

    Reference:
        Yu et al. 2017, arXiv:1708.01471 (MFB). Departs: any number of modalities; the
        root is z / sqrt(|z| + 1e-4), whose gradient at 0 is finite; no dropout between
        product and sum.
    """

    def __init__(self, units, factors=5, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.factors = positive("factors", factors)

    def build_fusion(self):
        self.project = self.projections(self.units * self.factors)

    def fuse(self, features, presence):
        x = self.stack(features, self.project)
        product = product_of_present(x, presence)
        z = ops.sum(ops.reshape(product, (-1, self.units, self.factors)), axis=-1)
        z = z / ops.sqrt(ops.abs(z) + 1e-4)
        z = z * ops.rsqrt(ops.sum(ops.square(z), axis=-1, keepdims=True) + 1e-6)
        return ops.cast(z, self.compute_dtype) * any_present(presence)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "factors": self.factors}
