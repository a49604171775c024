"""A multimodal model taken apart, and the data that its training models eat.

A training model shares the layers of the user's model and adds what only training
needs. It starts at the tensors that enter the fusion, so that it works for what
`mmkeras.multimodal` makes, for `mmkeras.transfer.trunk`, and for a loaded model.
"""

from typing import NamedTuple

import keras
from keras import ops

from mmkeras import replicas
from mmkeras.fusion.base import Fusion
from mmkeras.heads.metrics import is_dense


class Parts(NamedTuple):
    """What stands around the fusion of a model: symbolic tensors, and two layers."""

    inputs: dict
    features: dict
    presence: dict
    fusion: keras.layers.Layer
    head: keras.layers.Layer
    kind: str
    units: int


def parts(model, reserved=()):
    """Takes `model` apart.

    Args:
        model: a multimodal model, or the trunk of one, with one output.
        reserved: names that no modality may have.

    Raises:
        ValueError: several outputs, no fusion before the head, one modality alone, or a
            modality with a reserved name.
    """
    if not hasattr(model.output, "_keras_history"):
        raise ValueError(
            f"`model` wants one output. Received: {list(model.output)}. Train one of "
            f"them: `keras.Model(model.input, model.output['name'])`."
        )
    head, node = _behind(model.output)
    fusion, node = _behind(node.input_tensors[0]) if node.input_tensors else (None, 0)
    if not isinstance(fusion, Fusion):
        raise ValueError(
            f"`model` wants a fusion and one head layer after it, as "
            f"`mmkeras.multimodal` builds. Received: '{model.name}'"
        )
    features, presence = node.arguments.args
    if len(features) < 2:
        raise ValueError(
            f"Balance wants two modalities or more. Received: {sorted(features)}"
        )
    for name in reserved:
        if name in features:
            raise ValueError(
                f"A modality called '{name}' would hide the training model's own "
                f"'{name}'. Rename it. Received: {sorted(features)}"
            )
    kind, units = getattr(head, "kind", "single"), model.output.shape[-1]
    return Parts(dict(model.input), features, presence, fusion, head, kind, units)


def label_input(found, method):
    """The input "label" of a training model that looks at the true class.

    Raises:
        ValueError: the model's outputs are numbers, which have no true class.
    """
    if found.kind == "number":
        raise ValueError(
            f"`{method}` weighs modalities by the probability of the true class, which "
            f"regression lacks. Use `mmkeras.balance.supervised`, with "
            f"`gradient_blending`."
        )
    if found.kind == "multi":
        return keras.Input((found.units,), dtype="float32", name="label")
    return keras.Input((), dtype="int32", name="label")


def with_label(data):
    """Puts the label among the inputs, where `ogm_ge` and `agm` look at it.

    (x, y[, w]) -> ({**x, "label": y}, y[, w]).

    Example:
    >>> x = {"photo": np.ones((2, 3)), "photo_present": np.ones(2)}
    >>> inputs, label = mmkeras.balance.with_label((x, np.array([0, 1])))
    >>> inputs["label"]
    array([0, 1])

    Args:
        data: a `tf.data.Dataset` of `(inputs, labels[, weights])`, or one such tuple of
            arrays.
    """
    return mapped(data, _add_label)


def mapped(data, function):
    """`function(x, y[, w])` over a dataset, or over one tuple of arrays."""
    if isinstance(data, tuple) and len(data) in (2, 3):
        return function(*data)
    if hasattr(data, "map") and hasattr(data, "element_spec"):
        return data.map(function)
    raise TypeError(
        "`data` wants a tf.data.Dataset of (inputs, labels[, weights]), or one such "
        f"tuple of arrays. Received: {type(data).__name__}"
    )


class Behind(keras.layers.Layer):
    """Base of the training-only layers that ask what is behind the encoders.

    Args:
        found: `Parts`.
    """

    def __init__(self, found, **kwargs):
        # no autocast: the features pass as they are, bit for bit
        super().__init__(autocast=False, **kwargs)
        self.fusion, self.head, self.kind = found.fusion, found.head, found.kind
        self.names = tuple(sorted(found.features))
        #: How much of the gradient each modality got in the last training batch.
        self.scale = self.state("scale", "ones")

    def state(self, name, initializer):
        """One number a modality; every replica computes the same, the first counts."""
        return self.add_weight(
            name=name,
            shape=(len(self.names),),
            dtype="float32",
            initializer=initializer,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )

    def answer(self, features, presence, shown=None, training=False):
        """The model's output with only the modalities `shown`; None shows all."""
        if shown is not None:
            presence = {
                name: x if name in shown else ops.zeros_like(x)
                for name, x in presence.items()
            }
        fused = self.fusion(features, presence, training=training)
        return self.head(fused, training=training)

    def scores(self, answers, presence, label, probability=False):
        """How well each modality knows the truth, over the batch of all replicas.

        Args:
            answers: dict, modality -> logits.
            presence: dict, modality -> `(batch,)`.
            label: the labels.
            probability: False for the mean log-likelihood, True for the mean
                probability.

        Returns:
            Two tensors `(modalities,)`: the mean over the rows that have the modality,
            and 1 where there is such a row.
        """
        totals, counts = [], []
        for name in self.names:
            score = log_likelihood(self.kind, answers[name], label)
            score = ops.exp(score) if probability else score
            there = ops.cast(presence[name] > 0, "float32")
            totals.append(ops.sum(ops.where(there > 0, score, 0.0)))
            counts.append(ops.sum(there))
        both = ops.stop_gradient(ops.stack([ops.stack(totals), ops.stack(counts)]))
        totals, counts = ops.unstack(ops.sum(replicas.gather(both[None]), axis=0))
        there = ops.cast(counts > 0, "float32")
        return totals / ops.maximum(counts, 1.0), there


def log_likelihood(kind, logits, label):
    """Log of the probability that logits give to the truth, `(batch,)`.

    "single": log softmax(z)_y. "multi": mean over the classes of log sigmoid(z_c) where
    the row has class c, of log(1 - sigmoid(z_c)) where not. At least log 1e-8.
    """
    logits = ops.cast(logits, "float32")
    if kind == "multi":
        sign = 2.0 * ops.cast(label, "float32") - 1.0
        value = ops.mean(ops.log_sigmoid(sign * logits), axis=-1)
    else:
        if is_dense(label, logits.shape[-1]):  # shares of the classes, of mixed rows
            truth = ops.cast(label, "float32")
        else:
            truth = ops.one_hot(ops.reshape(label, (-1,)), logits.shape[-1])
        # a sum of 0 * -inf would be NaN: pick by `where`
        chosen = ops.where(truth > 0, truth * ops.log_softmax(logits, axis=-1), 0.0)
        value = ops.sum(chosen, axis=-1)
    return ops.maximum(value, -18.420680744)


def scales(training):
    """How much of its gradient each modality kept in the last training batch.

    Args:
        training: what `ogm_ge` or `agm` returned.

    Returns:
        Dict, modality -> float.
    """
    for layer in training.layers:
        if isinstance(layer, Behind):
            values = ops.convert_to_numpy(layer.scale.value)
            return {n: float(x) for n, x in zip(layer.names, values, strict=True)}
    raise ValueError(
        "`training` wants a training model of `mmkeras.balance.ogm_ge` or `agm`. "
        f"Received: '{training.name}'"
    )


def _behind(tensor):
    """The operation that made a symbolic tensor, and its call."""
    operation, index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[index]


def _add_label(x, y, *weight):
    return ({**x, "label": y}, y, *weight)
