"""Late fusion (model level): each modality answers, and the answers are joined.

In one graph with `multimodal` (joint learning) every modality has a dense layer of its
own here, and `mmkeras.heads.classification(classes, dense=False)` names the outputs.
Models that were trained apart are joined by `mmkeras.late.join`.
"""

import keras
from keras import ops

from mmkeras.fusion import checks
from mmkeras.fusion.base import (
    ABSENT_SCORE,
    Fusion,
    any_present,
    narrowed,
    softmax_over_present,
)
from mmkeras.heads import KINDS


class LateFusion(Fusion):
    """Base class: z_m = W_m x_m + b_m for each modality, then `join` of those present.

    Args:
        units: Integer, number of classes or outputs.
        kind: "single" (softmax), "multi" (sigmoid) or "number" (regression).
        dense: False where the features are logits already, all of width `units`.
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None, "layer" or "length" (see `Fusion`); wants `dense`.

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing.

    Output shape: `(batch, units)`: logits, or numbers. Zeros, which is undecided,
    where all modalities are absent.

    Raises:
        ValueError: unknown `kind`; without `dense` a feature of another width; or as
            `Fusion`.
    """

    def __init__(self, units, kind="single", dense=True, **kwargs):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"`kind` wants one of {KINDS}. Received: kind={kind!r}")
        if not dense and (self.normalize or self.dropout):
            raise ValueError(
                "`dense=False` takes logits as they are: leave `normalize` and "
                f"`dropout` out. Received: normalize={self.normalize!r}, "
                f"dropout={self.dropout}"
            )
        self.units, self.kind, self.is_dense = units, kind, dense

    def build_fusion(self):
        # logits stay float32 under any policy
        self.own_heads = {}
        if self.is_dense:
            self.own_heads = self.dense_each("logits", self.units, dtype="float32")
            return
        checks.equal_dims(self)
        width = self.dims[self.names[0]]
        if width != self.units:
            raise ValueError(
                f"Layer '{self.name}' with `dense=False` wants logits of width "
                f"units={self.units}. Received: width {width}"
            )

    def experts(self, features, presence=None):
        """Each modality's own answer: dict, modality -> float32 `(batch, units)`."""
        prepared, _ = self.prepared(features, presence)
        return self._answers(prepared)

    def join(self, answers, presence):
        """Joins `(batch, modalities, units)` to `(batch, units)`, both float32."""
        raise NotImplementedError(f"{type(self).__name__} must write `join`.")

    def fuse(self, features, presence):
        answers = self.stack(self._answers(features))
        presence = ops.cast(presence, "float32")
        joined = self.join(answers, presence)
        undecided = ops.zeros_like(joined)
        joined = ops.where(any_present(presence) > 0, joined, undecided)
        return narrowed(joined, self.compute_dtype)

    def get_config(self):
        own = {"units": self.units, "kind": self.kind, "dense": self.is_dense}
        return {**super().get_config(), **own}

    def _answers(self, features):
        found = {}
        for name in self.names:
            x = ops.cast(features[name], "float32")
            found[name] = self.own_heads[name](x) if self.is_dense else x
        return found


@keras.saving.register_keras_serializable("mmkeras")
class LateAverage(LateFusion):
    """Mean of the probabilities of the modalities that are there.

    p = mean_m softmax(z_m), given as log p (so that softmax(y) = p); for "multi"
    p = mean_m sigmoid(z_m) as its logit; for "number" the mean.

    Example:
    >>> fusion = mmkeras.fusion.LateAverage(2, dense=False)
    >>> answers = {"image": np.log([[0.9, 0.1]]), "text": np.log([[0.5, 0.5]])}
    >>> print(np.round(keras.ops.softmax(fusion(answers)), 3))
    [[0.7 0.3]]

    Args:
        units: Integer, number of classes or outputs.
        kind: "single", "multi" or "number".
        dense: False where the features are logits already.
        **kwargs: as `LateFusion`.
    """

    def weights_of(self, presence):
        """Each modality's weight, `(batch, modalities)`; 0 for absent ones."""
        return presence / ops.maximum(ops.sum(presence, axis=1, keepdims=True), 1.0)

    def join(self, answers, presence):
        weights = self.weights_of(presence)
        if self.kind == "number":
            return ops.sum(answers * weights[..., None], axis=1)
        # in logarithms: a probability of 1e-50 is 0 in float32
        logs = ops.log(ops.maximum(weights, 1e-30))
        logs = ops.where(presence > 0, logs, ops.full_like(logs, ABSENT_SCORE))
        logs = logs[..., None]
        if self.kind == "single":
            return ops.logsumexp(ops.log_softmax(answers, axis=-1) + logs, axis=1)
        yes = ops.logsumexp(logs - ops.softplus(-answers), axis=1)
        no = ops.logsumexp(logs - ops.softplus(answers), axis=1)
        return yes - no


@keras.saving.register_keras_serializable("mmkeras")
class LateWeighted(LateAverage):
    """`LateAverage` with a learned weight for each modality, the same for all rows.

    p = sum_m w_m softmax(z_m), w = softmax(a) over the modalities that are there.
    The weights start equal; `set_modality_weights` takes those of a search on
    validation predictions (`mmkeras.late.search_weights`, `mmkeras.late.select`).

    Args:
        units: Integer, number of classes or outputs.
        kind: "single", "multi" or "number".
        dense: False where the features are logits already.
        **kwargs: as `LateFusion`.
    """

    def build_fusion(self):
        super().build_fusion()
        self.scores = {}
        for name in self.names if len(self.names) > 1 else ():  # alone it has all
            self.scores[name] = self.add_weight(
                name=f"{name}_score",
                shape=(),
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )

    def weights_of(self, presence):
        if not self.scores:
            return presence
        scores = ops.stack([self.scores[name] + 0.0 for name in self.names])
        return softmax_over_present(ops.zeros_like(presence) + scores, presence)

    def set_modality_weights(self, weights):
        """Sets the weights, a dict, modality -> float, 0 or more, not all 0.

        Raises:
            ValueError: other names than the fusion's, or a wrong weight.
        """
        checks.modality_weights(weights, self.names)
        total = sum(weights.values())
        for name, score in self.scores.items():
            # weight 0 as e^-60: it then counts only where nothing else is there
            share = max(float(weights[name]) / total, 1e-26)
            score.assign(ops.log(share))


@keras.saving.register_keras_serializable("mmkeras")
class LateProduct(LateFusion):
    """Product of experts: modalities that are sure outvote those that are not.

    p ~ prod_m softmax(z_m): the sum of the logits of the modalities that are there
    (their mean with `mean=True`, the geometric mean of the probabilities, which keeps
    many agreeing modalities from sounding surer than each is). For "number" the mean,
    the product of Gaussians of equal variance.

    Example:
    >>> fusion = mmkeras.fusion.LateProduct(2, dense=False)
    >>> answers = {"image": np.log([[0.8, 0.2]]), "text": np.log([[0.5, 0.5]])}
    >>> print(np.round(keras.ops.softmax(fusion(answers)), 3))
    [[0.8 0.2]]

    Args:
        units: Integer, number of classes or outputs.
        kind: "single", "multi" or "number".
        dense: False where the features are logits already.
        mean: Boolean, the geometric mean in place of the product.
        **kwargs: as `LateFusion`.

    Reference:
        - [Hinton, 2002](https://doi.org/10.1162/089976602760128018)
    """

    def __init__(self, units, kind="single", dense=True, mean=False, **kwargs):
        super().__init__(units, kind, dense, **kwargs)
        self.mean = mean

    def join(self, answers, presence):
        if self.kind == "single":
            answers = ops.log_softmax(answers, axis=-1)
        total = ops.sum(answers * presence[..., None], axis=1)
        if self.mean or self.kind == "number":
            total = total / ops.maximum(ops.sum(presence, axis=1, keepdims=True), 1.0)
        return total

    def get_config(self):
        return {**super().get_config(), "mean": self.mean}


@keras.saving.register_keras_serializable("mmkeras")
class LateMLP(LateFusion):
    """A small network over the modalities' answers and which of them are there.

    y = MLP([log softmax(z_1); ...; log softmax(z_M); presence]); for "multi" and
    "number" over z_m itself. Without hidden layers it is stacking by a linear model,
    as `mmkeras.late.stack` fits it.

    Args:
        units: Integer, number of classes or outputs.
        kind: "single", "multi" or "number".
        dense: False where the features are logits already.
        hidden: tuple of Integers, the widths of the hidden layers; () for none.
        activation: of the hidden layers.
        **kwargs: as `LateFusion`.
    """

    def __init__(
        self,
        units,
        kind="single",
        dense=True,
        hidden=(32,),
        activation="relu",
        **kwargs,
    ):
        super().__init__(units, kind, dense, **kwargs)
        self.hidden = tuple(hidden)
        self.activation = keras.activations.get(activation)

    def build_fusion(self):
        super().build_fusion()
        dim = len(self.names) * (self.units + 1)
        self.mlp = []
        for i, units in enumerate(self.hidden):
            layer = self.dense(
                f"hidden_{i}", dim, units, activation=self.activation, dtype="float32"
            )
            self.mlp.append(layer)
            dim = units
        self.mlp.append(self.dense("joint", dim, self.units, dtype="float32"))

    def join(self, answers, presence):
        if self.kind == "single":
            answers = ops.log_softmax(answers, axis=-1)
        answers = answers * presence[..., None]
        size = len(self.names) * self.units
        x = ops.concatenate([ops.reshape(answers, (-1, size)), presence], axis=1)
        for layer in self.mlp:
            x = layer(x)
        return x

    def get_config(self):
        own = {
            "hidden": self.hidden,
            "activation": keras.activations.serialize(self.activation),
        }
        return {**super().get_config(), **own}
