"""One transformer over the tokens of all modalities."""

import keras
from keras import ops

from mmkeras.fusion.attention import TokenFusion, for_each


@keras.saving.register_keras_serializable("mmkeras")
class TransformerFusion(TokenFusion):
    """Puts all tokens in one sequence, behind a fusion token that gathers them.

    z = [f; V_1 x_1 + e_1; ...; V_M x_M + e_M], with a learned fusion token f and an
    embedding e_m of each modality; `layers` blocks of self-attention; h = LN(z_f).

    Example:
    >>> fusion = mmkeras.fusion.TransformerFusion(units=8, heads=2)
    >>> words = {"tokens": np.ones((2, 5, 4)), "mask": np.ones((2, 5))}
    >>> fusion({"image": np.ones((2, 16)), "text": words}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the tokens inside and of the output.
        heads: Integer that divides `units`, number of attention heads.
        layers: Integer, number of blocks.
        dropout: Float in [0, 1), share of the features' entries, and of each block's
            two branches, that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> vectors `(batch, dim)` or {"tokens": `(batch,
            length, dim)`, "mask": `(batch, length)`}. A vector is one token; tokens
            bring their own positions, none are added.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`; where all modalities are absent, a learned vector
        (the fusion token alone).

    Raises:
        ValueError: `heads` does not divide `units`; or as `Fusion`.

    Reference:
        Vaswani et al. 2017, arXiv:1706.03762; the fusion token and the embeddings as
        the class token and segments of Devlin et al. 2018, arXiv:1810.04805. Departs:
        pre-norm; the last block computes the fusion token only, which changes nothing.
    """

    def build_fusion(self):
        super().build_fusion()
        self.token = self.learned("fusion_token", 1)
        self.blocks = [self.block(f"block_{i}") for i in range(self.layers)]
        self.norm = self.last_norm()

    def fuse(self, features, presence):
        z, masks = self.embed(features)
        first = for_each(self.token, presence)
        z = ops.concatenate([first] + [z[n] for n in self.names], axis=1)
        masks = [masks[n] for n in self.names]
        mask = ops.concatenate([ops.ones_like(first[..., 0]), *masks], axis=1)
        for block in self.blocks[:-1]:
            z = block(z, mask)
        return self.norm(self.blocks[-1](z[:, :1], mask, z))[:, 0]
