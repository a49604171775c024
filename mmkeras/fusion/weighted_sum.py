"""A learned weighted mean of the modalities."""

import keras
from keras import ops

from mmkeras.fusion.base import Fusion, softmax_over_present
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class WeightedSum(Fusion):
    """Weighs whole modalities: one weight each, for all examples or per example.

    h = sum_m w_m p_m with p_m = V_m x_m + c_m and w = softmax(a) over the modalities
    that are there. Per example the score is a_m + u_m . p_m in place of a_m. Training
    starts from equal weights.

    Example:
    >>> fusion = mmkeras.fusion.WeightedSum(units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        per_example: Boolean, whether the weights depend on the example.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: `units` is no positive integer; or as `Fusion`.
    """

    def __init__(self, units, per_example=False, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.per_example = per_example

    def build_fusion(self):
        self.project = self.projections(self.units)
        # softmax over one modality is 1 whatever the score: nothing to learn there
        scored = self.names if len(self.names) > 1 else ()
        self.scores = {
            name: self.add_weight(name=f"{name}_score", shape=(), initializer="zeros")
            for name in scored
        }
        self.score_vectors = {
            name: self.add_weight(
                name=f"{name}_score_vector", shape=(self.units,), initializer="zeros"
            )
            for name in scored
            if self.per_example
        }

    def weights_of(self, projected, presence):
        """The modalities' weights, `(batch, modalities)`."""
        if not self.scores:
            return presence
        columns = []
        for i, name in enumerate(self.names):
            column = ops.zeros_like(presence[:, i]) + self.scores[name]
            if self.per_example:
                vector = self.score_vectors[name]
                column = column + ops.sum(projected[:, i] * vector, axis=-1)
            columns.append(column)
        return softmax_over_present(ops.stack(columns, axis=1), presence)

    def fuse(self, features, presence):
        projected = self.stack(features, self.project)
        weights = self.weights_of(projected, presence)
        return ops.sum(projected * weights[..., None], axis=1)

    def get_config(self):
        own = {"units": self.units, "per_example": self.per_example}
        return {**super().get_config(), **own}
