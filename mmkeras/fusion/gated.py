"""Gates that choose, unit by unit, which modality to listen to."""

import keras
from keras import ops

from mmkeras.fusion.base import Fusion, softmax_over_present
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class GatedFusion(Fusion):
    """Weighs modalities against each other with learned, input-dependent gates.

    h = sum_m softmax_m(W_m [x_1; ...; x_M] + b_m) * tanh(V_m x_m + c_m). An absent
    modality has gate 0. Gates start equal: training begins at the plain mean and
    learns to leave it, so that a few hundred labels do not start from random gates.

    With a few hundred labels on frozen features use `normalize="layer"` and
    `dropout=0.5`: together they were worth about two points on the stamps.

    Example:
    >>> fusion = mmkeras.fusion.GatedFusion(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        per_unit: Boolean; False gives each modality one gate for all units: far fewer
            weights, but it cannot tell whether two modalities agree (XOR).
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: a feature is not of rank 2 (the message names the modality, its
            shape and the remedy); or as `Fusion`.

    Reference:
        Arevalo et al. 2017, arXiv:1702.01992. Departs: softmax over modalities in
        place of sigmoid gates.
    """

    def __init__(self, units, per_unit=True, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.per_unit = per_unit

    def build_fusion(self):
        self.candidates = self.projections(self.units, activation="tanh")
        self.gates = {}
        # softmax over one modality is 1 whatever the score: nothing to learn there
        if len(self.names) > 1:
            self.gates = self.dense_each(
                "gate",
                self.units if self.per_unit else 1,
                dim=sum(self.dims.values()),
                kernel_initializer="zeros",
            )

    def gates_of(self, features, presence):
        """The gates, `(batch, modalities, units)`; one unit unless `per_unit`."""
        if not self.gates:
            return presence[..., None]
        x = self.concatenate(features)
        scores = ops.stack([self.gates[name](x) for name in self.names], axis=1)
        return softmax_over_present(scores, presence)

    def fuse(self, features, presence):
        candidates = self.stack(features, self.candidates)
        return ops.sum(candidates * self.gates_of(features, presence), axis=1)

    def get_config(self):
        own = {"units": self.units, "per_unit": self.per_unit}
        return {**super().get_config(), **own}
