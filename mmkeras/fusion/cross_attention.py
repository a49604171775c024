"""Every modality asks the others."""

import keras

from mmkeras.fusion.attention import TokenFusion, mean_of_present, mean_of_tokens


@keras.saving.register_keras_serializable("mmkeras")
class CrossAttentionFusion(TokenFusion):
    """Lets each modality's tokens attend to those of all the others.

    z_m = V_m x_m + e_m; `layers` times, for all m at once: z_m = Block_m(z_m, the z_n
    of n != m), then h = mean_m mean_tokens LN(z_m), the means over what is there. With
    one modality only, it attends to itself.

    Example:
    >>> fusion = mmkeras.fusion.CrossAttentionFusion(units=8, heads=2)
    >>> words = {"tokens": np.ones((2, 5, 4)), "mask": np.ones((2, 5))}
    >>> fusion({"image": np.ones((2, 16)), "text": words}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the tokens inside and of the output.
        heads: Integer that divides `units`, number of attention heads.
        layers: Integer, number of blocks of each modality.
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
        ValueError: `heads` does not divide `units`; or as `Fusion`.

    Reference:
        Lu et al. 2019, arXiv:1908.02265 (co-attention of ViLBERT). Departs: any number
        of modalities, pre-norm, no self-attention between the cross-attentions.
    """

    def build_fusion(self):
        super().build_fusion()
        self.blocks = {
            f"{name}_{i}": self.block(f"{name}_{i}", self.others(name))
            for i in range(self.layers)
            for name in self.names
        }
        self.norm = self.last_norm()

    def others(self, name):
        """Names of the modalities that `name` asks."""
        return [n for n in self.names if n != name] or [name]

    def fuse(self, features, presence):
        z, masks = self.attended(features)
        means = [mean_of_tokens(z[n], masks[n]) for n in self.names]
        return mean_of_present(means, presence)

    def attended(self, features):
        """LN(z_m), the tokens after all blocks, and their masks: dicts by modality."""
        z, masks = self.embed(features)
        for i in range(self.layers):
            z = {n: self._asked(i, n, z, masks) for n in self.names}
        return {n: self.norm(z[n]) for n in self.names}, masks

    def _asked(self, i, name, z, masks):
        others = self.others(name)
        context = keras.ops.concatenate([z[n] for n in others], axis=1)
        mask = keras.ops.concatenate([masks[n] for n in others], axis=1)
        return self.blocks[f"{name}_{i}"](z[name], mask, context)
