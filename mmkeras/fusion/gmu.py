"""The gated multimodal unit of Arevalo et al., for any number of modalities."""

import keras
from keras import ops

from mmkeras.fusion.base import Fusion
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class GMU(Fusion):
    """Gives each modality a gate of its own, which does not compete with the others.

    h = sum_m sigmoid(W_m [x_1; ...; x_M]) * tanh(V_m x_m). An absent modality has
    gate 0.

    Example:
    >>> fusion = mmkeras.fusion.GMU(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: `units` is no positive integer; or as `Fusion`.

    Reference:
        Arevalo et al. 2017, arXiv:1702.01992, figure 2a. Its form for exactly two
        modalities, with gates z and 1 - z, is `GatedFusion`.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)

    def build_fusion(self):
        self.candidates = self.projections(
            self.units, activation="tanh", use_bias=False
        )
        self.gates = self.dense_each(
            "gate",
            self.units,
            dim=sum(self.dims.values()),
            activation="sigmoid",
            use_bias=False,
        )

    def fuse(self, features, presence):
        x = self.concatenate(features)
        gates = ops.stack([self.gates[name](x) for name in self.names], axis=1)
        candidates = self.stack(features, self.candidates)
        return ops.sum(gates * candidates * presence[..., None], axis=1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
