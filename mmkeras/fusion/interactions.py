"""Multiplicative interactions: every pair of modalities through a full tensor."""

from itertools import combinations

import keras
from keras import ops

from mmkeras.fusion.base import Fusion
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class MultiplicativeInteractions(Fusion):
    """Lets each modality choose the linear map that reads each other one.

    h = sum_{m<n} x_m^T W_mn x_n + sum_m U_m x_m + b, with a tensor W_mn of shape
    (dim_m, dim_n, units) for each pair. An absent modality drops out of the sums.

    Example:
    >>> fusion = mmkeras.fusion.MultiplicativeInteractions(units=8, width=None)
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the output.
        width: Integer, width to which each feature is projected first, since a pair
            costs width^2 * units weights; None takes the features as they are.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; the bias b where all modalities are absent.

    Raises:
        ValueError: `units` or `width` is no positive integer; or as `Fusion`.

    Reference:
        Jayakumar et al. 2020, "Multiplicative interactions and where to find them",
        ICLR, equation 2. Departs: more than two modalities, as the sum over pairs.
    """

    def __init__(self, units, width=32, **kwargs):
        super().__init__(**kwargs)
        self.units = positive("units", units)
        self.width = positive("width", width, optional=True)

    def build_fusion(self):
        # without bias: an absent feature must stay zeros behind the projection
        self.reduce = {}
        if self.width:
            self.reduce = self.dense_each("projection", self.width, use_bias=False)
        dims = {name: self.width or dim for name, dim in self.dims.items()}
        self.linear = {
            name: self.dense(f"{name}_linear", dim, self.units, use_bias=False)
            for name, dim in dims.items()
        }
        self.pairs = {
            f"{a}_{b}": self.dense(
                f"{a}_{b}_pair", dims[a] * dims[b], self.units, use_bias=False
            )
            for a, b in combinations(self.names, 2)
        }
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros"
        )

    def fuse(self, features, presence):
        x = {
            name: self.reduce[name](y) if self.reduce else y
            for name, y in features.items()
        }
        terms = [self.linear[name](x[name]) for name in self.names]
        for a, b in combinations(self.names, 2):
            outer = x[a][:, :, None] * x[b][:, None, :]
            flat = ops.reshape(outer, (-1, outer.shape[1] * outer.shape[2]))
            terms.append(self.pairs[f"{a}_{b}"](flat))
        return sum(terms[1:], terms[0]) + self.bias

    def get_config(self):
        own = {"units": self.units, "width": self.width}
        return {**super().get_config(), **own}
