"""Deep supervision: each modality answers by itself too, in training."""

import keras
from keras import ops

from mmkeras.balance.parts import mapped, parts
from mmkeras.fusion.base import blank

#: Name of the output that is the model's own.
FUSED = "fused"


class OwnLogits(keras.layers.Layer):
    """One modality's own answer: W (its pooled feature) + b; 0 where it is absent.

    Numbers that the head learns in deviations are learnt so here too.
    """

    def __init__(self, units, mean=None, deviation=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean, self.deviation = mean, deviation
        self.dense = keras.layers.Dense(units, dtype=self.dtype_policy)

    def build(self, feature_shape, present_shape):
        if isinstance(feature_shape, dict):
            feature_shape = feature_shape["tokens"]
        self.dense.build((None, feature_shape[-1]))

    def call(self, feature, present):
        # blanked before and after: a NaN times 0 would poison the gradient
        there = present[:, None] > 0
        outputs = self.dense(blank(_pooled(feature), there))
        if self.deviation is not None:
            deviation = ops.convert_to_tensor(self.deviation, outputs.dtype)
            mean = ops.convert_to_tensor(self.mean, outputs.dtype)
            outputs = mean + deviation * outputs
        return blank(outputs, there)


class Experts(keras.layers.Layer):
    """The modalities' own answers in a late fusion; 0 where absent."""

    def __init__(self, fusion, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.fusion = fusion

    def call(self, features, presence):
        answers = self.fusion.experts(features, presence)
        return {
            name: blank(ops.cast(x, "float32"), presence[name][:, None] > 0)
            for name, x in answers.items()
        }


def supervised(model):
    """A training model that also asks each modality alone: deep supervision.

    loss = w_fused L(y, fused) + sum_m w_m L(y, z_m), z_m = W_m x_m + b_m. It shares its
    layers with `model`: fit it and `model` is trained; the W_m stay behind. Tokens are
    averaged first. In a late fusion, whose modalities answer by themselves (it has a
    method `experts`), these answers are used and nothing is added.

    An absent modality gives no gradient: its z_m is a constant 0, and `with_targets`
    gives its row weight 0.

    Example:
        training = mmkeras.balance.supervised(model)
        training.compile("adam", **mmkeras.balance.losses(training, head))
        training.fit(mmkeras.balance.with_targets(dataset, training), epochs=5)
        model.save("model.keras")

    Args:
        model: a multimodal model, or its trunk, with one output of any kind. Under a
            strategy, call this in its scope too.

    Returns:
        `keras.Model` with the inputs of `model`, and a dict of outputs: "fused", that
        of `model`, and one called after each modality.

    Raises:
        ValueError: several outputs, one modality alone, or one called "fused".

    Reference:
        Wang et al. 2020, arXiv:1905.12681, the model that Gradient Blending weighs.
    """
    found = parts(model, reserved=(FUSED,))
    names = sorted(found.features)
    # the inputs, not what modality dropout leaves: that is for the fusion alone
    presence = {name: found.inputs[f"{name}_present"] for name in names}
    if hasattr(found.fusion, "experts"):
        own = Experts(found.fusion, name="experts")(found.features, presence)
    else:
        in_deviations = [getattr(found.head, x, None) for x in ("mean", "deviation")]
        own = {
            name: OwnLogits(found.units, *in_deviations, name=f"{name}_own")(
                found.features[name], presence[name]
            )
            for name in names
        }
    outputs = {FUSED: model.output, **own}
    return keras.Model(found.inputs, outputs, name=f"{model.name}_supervised")


def losses(training, head, weights=None):
    """What `compile` wants for the outputs of `supervised`.

    Args:
        training: what `supervised` returned.
        head: an `mmkeras.heads` head: its loss is taken for every output, its metrics
            for "fused", and copies, by rows that have the modality, for the others.
        weights: optional dict, output -> loss weight, such as `gradient_blending`
            finds; 1 for each output that it does not name.

    Returns:
        Dict of arguments for `training.compile(optimizer, **...)`.

    Raises:
        ValueError: a weight for an unknown output.
    """
    names = list(training.output)
    weights = weights or {}
    unknown = sorted(set(weights) - set(names))
    if unknown:
        raise ValueError(
            f"`weights` names no output {unknown}. Valid names: {sorted(names)}"
        )
    own = [name for name in names if name != FUSED]
    return {
        "loss": {name: head.loss for name in names},
        "loss_weights": {name: float(weights.get(name, 1.0)) for name in names},
        "metrics": {FUSED: list(head.metrics)},
        "weighted_metrics": {name: [_copy(x) for x in head.metrics] for name in own},
    }


def with_targets(data, training):
    """Gives every output of `supervised` its target and its rows' weights.

    (x, y[, w]) -> (x, {output: y}, {"fused": w, "<modality>": w * present}).

    Args:
        data: a `tf.data.Dataset` of `(inputs, labels[, weights])`, or one such tuple of
            arrays.
        training: what `supervised` returned.
    """
    names = sorted(training.output)

    def targets(x, y, weight=1.0):
        return x, dict.fromkeys(names, y), {n: row_weight(x, weight, n) for n in names}

    return mapped(data, targets)


def row_weight(x, weight, name):
    """Weight of each row for an output: 0 where its modality is absent."""
    if name != FUSED:
        return x[f"{name}_present"] * weight
    anyone = next(key for key in sorted(x) if key.endswith("_present"))
    return x[anyone] * 0 + weight  # a row each, on any backend's arrays


def _pooled(feature):
    """A vector as it is; tokens averaged over those that are no padding."""
    if not isinstance(feature, dict):
        if len(feature.shape) == 2:
            return feature
        return ops.mean(feature, axis=tuple(range(1, len(feature.shape) - 1)))
    mask = ops.cast(feature["mask"] > 0, feature["tokens"].dtype)[..., None]
    total = ops.sum(blank(feature["tokens"], mask > 0), axis=1)
    return total / ops.maximum(ops.sum(mask, axis=1), 1)


def _copy(metric):
    return type(metric).from_config(metric.get_config())
