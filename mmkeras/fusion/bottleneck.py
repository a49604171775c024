"""Attention bottlenecks: modalities speak through a few shared tokens only."""

import keras
from keras import ops

from mmkeras.fusion.attention import (
    TokenFusion,
    for_each,
    mean_of_present,
    mean_of_tokens,
)
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class BottleneckFusion(TokenFusion):
    """Gives each modality a transformer of its own, and all of them a few tokens.

    z_m = V_m x_m + e_m, learned bottlenecks b. `layers` times: [b_m; z_m] =
    Block_m([b; z_m]), then b = mean_m b_m. h = mean_m mean_tokens LN(z_m). The means
    over m are over what is there. Attention costs sum_m length_m^2 in place of (sum_m
    length_m)^2.

    Example:
    >>> fusion = mmkeras.fusion.BottleneckFusion(units=8, heads=2)
    >>> words = {"tokens": np.ones((2, 5, 4)), "mask": np.ones((2, 5))}
    >>> fusion({"image": np.ones((2, 16)), "text": words}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the tokens inside and of the output.
        heads: Integer that divides `units`, number of attention heads.
        layers: Integer, number of blocks of each modality; 2 or more, since the
            bottlenecks listen in one block and tell in the next.
        bottlenecks: Integer, number of shared tokens; 0 parts the modalities up to the
            mean (late fusion).
        dropout: Float in [0, 1), share of the features' entries, and of each block's
            two branches, that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> vectors `(batch, dim)` or {"tokens": `(batch,
            length, dim)`, "mask": `(batch, length)`}. A vector is one token; tokens
            bring their own positions, none are added.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; zeros where all modalities are absent.

    Raises:
        ValueError: `heads` does not divide `units`, one layer with bottlenecks; or as
            `Fusion`.

    Reference:
        Nagrani et al. 2021, arXiv:2107.00135 (MBT). Departs: bottlenecks from the first
        block on, the blocks below them being the encoders; the mean of the tokens in
        place of a class token for each modality.
    """

    def __init__(self, units, heads=4, layers=2, bottlenecks=4, **kwargs):
        super().__init__(units, heads=heads, layers=layers, **kwargs)
        self.bottlenecks = bottlenecks and positive("bottlenecks", bottlenecks)
        if bottlenecks and layers < 2:
            raise ValueError(
                "`layers` wants 2 or more where there are bottlenecks: they listen in "
                f"one block and tell in the next. Received: layers={layers}. Give "
                "`bottlenecks=0` to part the modalities."
            )

    def build_fusion(self):
        super().build_fusion()
        if self.bottlenecks:
            self.shared = self.learned("bottlenecks", self.bottlenecks)
        self.blocks = {
            f"{name}_{i}": self.block(
                f"{name}_{i}", None if self.bottlenecks else [name]
            )
            for i in range(self.layers)
            for name in self.names
        }
        self.norm = self.last_norm()

    def fuse(self, features, presence):
        z, masks = self.embed(features)
        if self.bottlenecks:
            z = self._exchange(z, masks, presence)
        else:
            for i in range(self.layers):
                z = {n: self.blocks[f"{n}_{i}"](z[n], masks[n]) for n in self.names}
        means = [mean_of_tokens(self.norm(z[n]), masks[n]) for n in self.names]
        return mean_of_present(means, presence)

    def _exchange(self, z, masks, presence):
        count = self.bottlenecks
        shared = for_each(self.shared, presence)
        ones = ops.ones_like(shared[..., 0])
        for i in range(self.layers):
            told = []
            for name in self.names:
                keys = ops.concatenate([shared, z[name]], axis=1)
                mask = ops.concatenate([ones, masks[name]], axis=1)
                block = self.blocks[f"{name}_{i}"]
                if i == self.layers - 1:  # nobody listens to the bottlenecks any more
                    z[name] = block(z[name], mask, keys)
                    continue
                y = block(keys, mask)
                z[name] = y[:, count:]
                told.append(y[:, :count])
            if told:
                shared = mean_of_present(told, presence)
        return z

    def get_config(self):
        return {**super().get_config(), "bottlenecks": self.bottlenecks}
