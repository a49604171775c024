"""Fusions that combine the features entry by entry: mean, maximum, product."""

import keras
from keras import ops

from mmkeras.fusion.base import (
    ABSENT_SCORE,
    Fusion,
    any_present,
    narrowed,
    product_of_present,
)
from mmkeras.fusion.checks import positive


class _Pointwise(Fusion):
    """What the three share: an optional projection to one width."""

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units, optional=True)

    def build_fusion(self):
        self.project = self.projections(self.units)

    def fused_dim(self):
        return self.units or next(iter(self.dims.values()))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("mmkeras")
class Mean(_Pointwise):
    """Mean of the modalities that are there, each projected to one width.

    h = sum_m presence_m (V_m x_m + c_m) / sum_m presence_m; without `units`, of x_m.

    Example:
    >>> fusion = mmkeras.fusion.Mean()
    >>> x = {"image": np.ones((1, 2)), "text": np.full((1, 2), 3.0)}
    >>> fusion(x, {"text": np.zeros(1)}).numpy()
    array([[1., 1.]], dtype=float32)

    Args:
        units: Integer, width of the output; None takes the features as they are, which
            wants them equally wide.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: no `units` and features of unequal width; or as `Fusion`.
    """

    def fuse(self, features, presence):
        total = self.stack(features, self.project) * presence[..., None]
        count = ops.maximum(ops.sum(presence, axis=1, keepdims=True), 1)
        return ops.sum(total, axis=1) / count


@keras.saving.register_keras_serializable("mmkeras")
class Max(_Pointwise):
    """Largest value over the modalities that are there, entry by entry.

    h = max_m (V_m x_m + c_m); without `units`, of x_m.

    Example:
    >>> fusion = mmkeras.fusion.Max()
    >>> x = {"image": np.array([[1.0, 5.0]]), "text": np.array([[2.0, 3.0]])}
    >>> fusion(x).numpy()
    array([[2., 5.]], dtype=float32)

    Args:
        units: Integer, width of the output; None takes the features as they are, which
            wants them equally wide.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: no `units` and features of unequal width; or as `Fusion`.
    """

    def fuse(self, features, presence):
        x = self.stack(features, self.project)
        x = ops.where(presence[..., None] > 0, x, ops.cast(ABSENT_SCORE, x.dtype))
        return ops.max(x, axis=1) * any_present(presence)


@keras.saving.register_keras_serializable("mmkeras")
class Product(_Pointwise):
    """Product of the modalities that are there, entry by entry.

    h = prod_m (V_m x_m + c_m); without `units`, of x_m. An absent modality is a factor
    of 1. In float16 what is too large becomes the largest number.

    Example:
    >>> fusion = mmkeras.fusion.Product()
    >>> x = {"image": np.array([[1.0, 5.0]]), "text": np.array([[2.0, 3.0]])}
    >>> fusion(x).numpy()
    array([[ 2., 15.]], dtype=float32)

    Args:
        units: Integer, width of the output; None takes the features as they are, which
            wants them equally wide.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: no `units` and features of unequal width; or as `Fusion`.
    """

    def fuse(self, features, presence):
        x = self.stack(features, self.project)
        y = product_of_present(x, presence)
        return narrowed(y, self.compute_dtype) * any_present(presence)
