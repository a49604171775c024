"""The multimodal transformer of Tsai et al.: one crossmodal transformer a pair."""

import keras
from keras import ops

from mmkeras.fusion.attention import TokenFusion, mean_of_tokens


@keras.saving.register_keras_serializable("mmkeras")
class MulT(TokenFusion):
    """Repeats each modality in the words of each other one, pair by pair.

    z_m = V_m x_m + e_m. For each ordered pair, `layers` blocks whose queries start as
    z_m and whose keys are always z_n: y_nm. For each m, `layers` blocks of
    self-attention over [y_nm, n != m], (M - 1) units wide, then s_m = mean_tokens LN.
    h = W [s_1; ...; s_M]. An absent n adds nothing to y_nm; an absent m has s_m = 0.
    With one modality only, it is its own pair.

    Example:
    >>> fusion = mmkeras.fusion.MulT(units=8, heads=2)
    >>> words = {"tokens": np.ones((2, 5, 4)), "mask": np.ones((2, 5))}
    >>> fusion({"image": np.ones((2, 16)), "text": words}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the tokens inside and of the output.
        heads: Integer that divides `units`, number of attention heads.
        layers: Integer, number of blocks of each pair and, behind them, of each
            modality. Their weights grow with the third power of M.
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
        Tsai et al. 2019, arXiv:1906.00295. Departs: linear maps in place of temporal
        convolutions, which belong to the encoders as positions do; the mean of the
        tokens in place of the last one, which may be padding; one linear map behind.
    """

    def build_fusion(self):
        super().build_fusion()
        self.pairs, self.selves, self.norms = {}, {}, {}
        for target in self.names:
            sources = self.sources(target)
            width = len(sources) * self.units
            for i in range(self.layers):
                for source in sources:
                    name = f"{source}_to_{target}_{i}"
                    self.pairs[name] = self.block(name, [source])
                name = f"{target}_{i}"
                self.selves[name] = self.block(name, [target], width)
            self.norms[target] = self.last_norm(f"{target}_norm", width)
        width = len(self.names) * width
        # without bias: all absent is zeros
        self.out = self.dense("output", width, self.units, use_bias=False)

    def sources(self, target):
        """Names of the modalities that `target` is repeated in."""
        return [n for n in self.names if n != target] or [target]

    def fuse(self, features, presence):
        z, masks = self.embed(features)
        means = []
        for target in self.names:
            y = [self._repeated(s, target, z, masks) for s in self.sources(target)]
            y = ops.concatenate(y, axis=-1)
            for i in range(self.layers):
                y = self.selves[f"{target}_{i}"](y, masks[target])
            means.append(mean_of_tokens(self.norms[target](y), masks[target]))
        return self.out(ops.concatenate(means, axis=-1))

    def _repeated(self, source, target, z, masks):
        y = z[target]
        for i in range(self.layers):
            y = self.pairs[f"{source}_to_{target}_{i}"](y, masks[source], z[source])
        return y
