"""Concatenation: the fusion that every other one has to beat."""

import keras

from mmkeras.fusion.base import Fusion
from mmkeras.presence import MissingToken


@keras.saving.register_keras_serializable("mmkeras")
class Concat(Fusion):
    """Puts the features side by side, in the order of their names.

    h = [x_1; ...; x_M]. An absent feature is zeros, or a learned vector.

    Example:
    >>> fusion = mmkeras.fusion.Concat()
    >>> fusion({"image": np.ones((2, 16)), "text": np.ones((2, 4))}).shape
    TensorShape([2, 20])

    Args:
        missing: "zeros", or "token": a learned vector stands in for an absent feature
            (all of them where all modalities are absent). It starts at zeros and
            learns only if training sees absent features: use `ModalityDropout`.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`).

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, sum of dims)`.

    Raises:
        ValueError: unknown `missing`; or as `Fusion`.
    """

    def __init__(self, missing="zeros", **kwargs):
        super().__init__(**kwargs)
        if missing not in ("zeros", "token"):
            raise ValueError(
                f"`missing` wants 'zeros' or 'token'. Received: missing={missing!r}"
            )
        self.missing = missing

    def build_fusion(self):
        if self.missing == "token":
            self.tokens = MissingToken(name="missing", dtype=self.dtype_policy)
            self.tokens.build({n: (None, d) for n, d in self.dims.items()})

    def fuse(self, features, presence):
        if self.missing == "token":
            there = {name: presence[:, i] for i, name in enumerate(self.names)}
            features = self.tokens(features, there)
        return self.concatenate(features)

    def fused_dim(self):
        return sum(self.dims.values())

    def get_config(self):
        return {**super().get_config(), "missing": self.missing}
