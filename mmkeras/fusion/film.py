"""Feature-wise linear modulation: some modalities steer how another is read."""

import keras
from keras import ops

from mmkeras.fusion.base import Fusion
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class FiLM(Fusion):
    """Scales and shifts one modality's feature by what the others say.

    h = (1 + sum_m G_m x_m) * V x_t + sum_m B_m x_m + b, the sums over the modalities
    other than the target t. An absent one says nothing: it scales by 1, shifts by 0.

    Example:
    >>> fusion = mmkeras.fusion.FiLM("image", units=8)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        target: string, the modality that is modulated.
        units: Integer, width of the output.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; the bias b where all modalities are absent.

    Raises:
        ValueError: `target` is no modality of the features; or as `Fusion`.

    Reference:
        Perez et al. 2018, arXiv:1709.07871. Departs: vectors, not feature maps, and
        several conditioning modalities, whose scales and shifts add up.
    """

    def __init__(self, target, units, **kwargs):
        super().__init__(**kwargs)
        self.target = target
        self.units = positive("units", units)

    def build_fusion(self):
        if self.target not in self.names:
            raise ValueError(
                f"`target` wants one of the modalities. Received: {self.target!r}. "
                f"Valid names: {list(self.names)}."
            )
        self.project = self.dense(
            f"{self.target}_projection",
            self.dims[self.target],
            self.units,
            use_bias=False,
        )
        self.scales = self.dense_each("scale", self.units, use_bias=False)
        self.shifts = self.dense_each("shift", self.units, use_bias=False)
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros"
        )

    def dense_each(self, suffix, units, **kwargs):
        """One map per conditioning modality: all but the target."""
        return {
            name: self.dense(f"{name}_{suffix}", dim, units, **kwargs)
            for name, dim in self.dims.items()
            if name != self.target
        }

    def fuse(self, features, presence):
        y = self.project(features[self.target])
        scale, shift = ops.ones_like(y), ops.zeros_like(y) + self.bias
        for name in self.scales:
            scale = scale + self.scales[name](features[name])
            shift = shift + self.shifts[name](features[name])
        return scale * y + shift

    def get_config(self):
        return {**super().get_config(), "target": self.target, "units": self.units}
