"""The sum of the features."""

import keras
from keras import ops

from mmkeras.fusion.base import Fusion
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class Add(Fusion):
    """Adds the modalities that are there, each projected to one width.

    h = sum_m presence_m (V_m x_m + c_m); without `units`, h = sum_m presence_m x_m.

    Example:
    >>> fusion = mmkeras.fusion.Add(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

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

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units, optional=True)

    def build_fusion(self):
        self.project = self.projections(self.units)

    def fuse(self, features, presence):
        return ops.sum(self.stack(features, self.project) * presence[..., None], axis=1)

    def fused_dim(self):
        return self.units or next(iter(self.dims.values()))

    def get_config(self):
        return {**super().get_config(), "units": self.units}
