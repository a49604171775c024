"""A learned latent array that reads all modalities, however long they are."""

import keras
from keras import ops

from mmkeras.fusion.attention import TokenFusion, for_each
from mmkeras.fusion.checks import positive


@keras.saving.register_keras_serializable("mmkeras")
class PerceiverFusion(TokenFusion):
    """Reads the tokens of all modalities into a fixed number of latents.

    x = [V_1 x_1 + e_1; ...; V_M x_M + e_M], learned latents z. `layers` times: z =
    Block(z, x), z = Block'(z). h = LN(mean z). The cost grows with the number of tokens
    times `latents`, not with its square.

    Example:
    >>> fusion = mmkeras.fusion.PerceiverFusion(units=8, heads=2, latents=4)
    >>> words = {"tokens": np.ones((2, 5, 4)), "mask": np.ones((2, 5))}
    >>> fusion({"image": np.ones((2, 16)), "text": words}).shape
    TensorShape([2, 8])

    Args:
        units: Integer, width of the tokens inside and of the output.
        heads: Integer that divides `units`, number of attention heads.
        layers: Integer, number of readings, each followed by a block of self-attention
            over the latents.
        latents: Integer, number of latents.
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
        (the latents, which have read nothing).

    Raises:
        ValueError: `heads` does not divide `units`; or as `Fusion`.

    Reference:
        Jaegle et al. 2021, arXiv:2103.03206. Departs: no Fourier positions, which
        belong to the encoders; one block of self-attention behind each reading; blocks
        share no weights; one width for tokens and latents.
    """

    def __init__(self, units, heads=4, layers=2, latents=8, **kwargs):
        super().__init__(units, heads=heads, layers=layers, **kwargs)
        self.latents = positive("latents", latents)
        if latents < 2:
            raise ValueError(
                "`latents` wants 2 or more: one alone has nothing to attend to. "
                f"Received: latents={latents}"
            )

    def build_fusion(self):
        super().build_fusion()
        self.array = self.learned("latents", self.latents)
        reads = range(self.layers)
        self.readings = [self.block(f"read_{i}", self.names) for i in reads]
        self.selves = [self.block(f"latent_{i}") for i in reads]
        self.norm = self.last_norm()

    def latents_of(self, features, presence):
        """The latents after all readings, `(batch, latents, units)`."""
        z, masks = self.embed(features)
        tokens = ops.concatenate([z[n] for n in self.names], axis=1)
        mask = ops.concatenate([masks[n] for n in self.names], axis=1)
        latents = for_each(self.array, presence)
        everyone = ops.ones_like(latents[..., 0])
        for read, attend in zip(self.readings, self.selves, strict=True):
            latents = attend(read(latents, mask, tokens), everyone)
        return latents

    def fuse(self, features, presence):
        return self.norm(ops.mean(self.latents_of(features, presence), axis=1))

    def get_config(self):
        return {**super().get_config(), "latents": self.latents}
