"""Several heads over one fusion: one loss each, balanced, with labels that may lack.

`mmkeras.balance.uncertainty` learns how much each task counts.
"""

import keras
from keras import ops

from mmkeras.heads.layers import Prediction
from mmkeras.heads.made import Head


def several(tasks, weights=None, absent_labels=False):
    """Heads of several tasks as one: multi-task learning.

    loss = sum_t w_t L_t(y_t, z_t), z_t = W_t h + b_t, h the fused features.

    Example:
    >>> head = mmkeras.heads.several({
    ...     "kind": mmkeras.heads.classification(["cat", "dog"]),
    ...     "price": mmkeras.heads.regression(standardize=[10.0, 30.0]),
    ... })
    >>> outputs = {name: layer(np.ones((1, 4))) for name, layer in head.layer.items()}
    >>> {name: tuple(x.shape) for name, x in outputs.items()}
    {'kind': (1, 2), 'price': (1, 1)}

    Then `mm.multimodal(encoders, fusion, head.layer)`, `model.compile("adam",
    head.loss, metrics=head.metrics)` and `mm.data.from_table(table, model,
    label={"kind": "<column>", "price": "<column>"})`.

    Args:
        tasks: dict, task -> `Head` of `classification`, `multilabel` or `regression`.
        weights: optional dict, task -> float of 0 or more; 1 where left out.
        absent_labels: whether rows may lack labels. `mmkeras.data.from_table` then
            gives -1 for an absent class and NaN otherwise; such a row counts neither
            in its task's loss nor in its metrics.

    Returns:
        `Head` whose `layer`, `loss` and `metrics` are dicts by task. The layers are new
        ones, called `<task>_head`.

    Raises:
        ValueError: fewer than two tasks, a name that is no identifier, a head that is
            not of `mmkeras.heads` or stands on logits, unknown weights or below 0.
    """
    _check(tasks, weights or {})
    weights = {task: (weights or {}).get(task, 1.0) for task in tasks}
    layers, losses, metrics = {}, {}, {}
    for task, (layer, loss, own) in tasks.items():
        config = {**layer.get_config(), "absent_labels": absent_labels}
        layers[task] = Prediction.from_config({**config, "name": f"{task}_head"})
        about = {"units": layer.units, "kind": layer.kind}
        losses[task] = TaskLoss(loss, **about, weight=weights[task])
        metrics[task] = [TaskMetric(x, **about) for x in own]
    return Head(layers, losses, metrics)


@keras.saving.register_keras_serializable("mmkeras")
class TaskLoss(keras.losses.Loss):
    """A loss whose rows may lack their label, and may be weighed by their uncertainty.

    w L where the outputs are the task's own; behind `mmkeras.balance.uncertainty`, with
    s = log sigma^2 beside them, w (a exp(-s) L + s / 2), a = 1/2 for numbers and 1
    for classes. A row whose label is -1 (class) or NaN has loss 0 and moves no s.

    Example:
    >>> loss = mmkeras.heads.TaskLoss(keras.losses.MeanSquaredError(), 1, "number")
    >>> float(loss(np.array([[3.0], [np.nan]]), np.array([[1.0], [1.0]])))  # 4 / 2
    2.0

    Args:
        loss: `keras.losses.Loss` whose `call` gives one number a row.
        units: Integer, width of the task's outputs.
        kind: "single", "multi" or "number", as the head.
        weight: Float of 0 or more, w.
        **kwargs: those of `keras.losses.Loss`.

    Call arguments:
        y_true: labels, ids `(batch,)` or rows `(batch, units)`.
        y_pred: outputs `(batch, units)`, or `(batch, units + 1)` with s last.

    Reference:
        Kendall et al. 2018, arXiv:1705.07115, equation 10.
    """

    def __init__(self, loss, units, kind, weight=1.0, name="task", **kwargs):
        super().__init__(name=name, **kwargs)
        self.loss, self.units, self.kind, self.weight = loss, units, kind, weight

    def call(self, y_true, y_pred):
        outputs, log_variance = _apart(y_pred, self.units)
        there = labelled(y_true, self.kind)
        # a stand-in that every loss takes: its row counts 0, and NaN * 0 would not
        rows = self.loss.call(_filled(y_true, there), outputs)
        if log_variance is not None:
            rows = rows * (0.5 if self.kind == "number" else 1.0)
            rows = rows * ops.exp(-log_variance) + log_variance / 2
        return ops.where(there, self.weight * rows, ops.zeros_like(rows))

    def get_config(self):
        own = {"units": self.units, "kind": self.kind, "weight": self.weight}
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, **own}

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})


@keras.saving.register_keras_serializable("mmkeras")
class TaskMetric(keras.metrics.Metric):
    """A metric over the rows that have their label, of the task's own outputs.

    Args:
        metric: `keras.metrics.Metric` that takes sample weights.
        units: Integer, width of the task's outputs.
        kind: "single", "multi" or "number", as the head.
        name: optional name; default: the metric's.
        dtype: optional, as the metric's.
    """

    def __init__(self, metric, units, kind, name=None, dtype=None):
        super().__init__(name=name or metric.name, dtype=dtype)
        self.metric, self.units, self.kind = metric, units, kind

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.convert_to_tensor(y_true)
        outputs, _ = _apart(ops.convert_to_tensor(y_pred), self.units)
        there = labelled(y_true, self.kind)
        weight = ops.cast(there, "float32")
        if sample_weight is not None:
            weight = weight * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        self.metric.update_state(_filled(y_true, there), outputs, weight)

    def result(self):
        return self.metric.result()

    def reset_state(self):
        self.metric.reset_state()

    def get_config(self):
        metric = keras.saving.serialize_keras_object(self.metric)
        own = {"metric": metric, "units": self.units, "kind": self.kind}
        return {**own, "name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config):
        metric = keras.saving.deserialize_keras_object(config["metric"])
        return cls(**{**config, "metric": metric})


@keras.saving.register_keras_serializable("mmkeras")
class LogVariances(keras.layers.Layer):
    """One learned s = log sigma^2 a task, beside the task's outputs: [z_t, s_t].

    s begins at 0, sigma at 1. See `mmkeras.balance.uncertainty`.

    Args:
        rate: Float above 0: s is `rate` times a weight, and so `rate` times as fast
            under Adam, whose steps are of one size.

    Call arguments:
        outputs: dict, task -> float tensor `(batch, units)`.

    Output shape: dict, task -> `(batch, units + 1)`.
    """

    #: a model with it is for `fit` alone: see `output_contract`
    training_only = True

    def __init__(self, rate=1.0, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.rate = rate

    def build(self, input_shape):
        self.tasks = sorted(input_shape)
        self.scaled = self.add_weight(
            shape=(len(self.tasks),), initializer="zeros", name="log_variances"
        )

    def call(self, outputs):
        found = {}
        for i, task in enumerate(self.tasks):
            own = ops.ones_like(outputs[task][:, :1]) * self.scaled[i] * self.rate
            found[task] = ops.concatenate([outputs[task], own], axis=-1)
        return found

    def compute_output_shape(self, input_shape):
        return {key: (*x[:-1], x[-1] + 1) for key, x in input_shape.items()}

    def values(self):
        """S by task: dict, task -> float."""
        numbers = ops.convert_to_numpy(self.scaled) * self.rate
        return dict(zip(self.tasks, map(float, numbers), strict=True))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


def labelled(labels, kind):
    """Which rows have a label: bool `(batch,)`. Absent are -1, and NaN."""
    labels = ops.convert_to_tensor(labels)
    there = ops.equal(labels, labels) if kind == "number" else labels >= 0
    if len(labels.shape) > 1:
        there = ops.all(ops.reshape(there, (ops.shape(labels)[0], -1)), axis=1)
    return there


def _filled(labels, there):
    """The labels, 0 in rows without."""
    labels = ops.convert_to_tensor(labels)
    column = ops.reshape(there, (-1, *[1] * (len(labels.shape) - 1)))
    return ops.where(column, labels, ops.zeros_like(labels))


def _apart(outputs, units):
    """A task's outputs, and s `(batch,)` where it stands beside them, or None."""
    if outputs.shape[-1] == units:
        return outputs, None
    return outputs[..., :units], outputs[..., units]


def _check(tasks, weights):
    if not isinstance(tasks, dict) or len(tasks) < 2:
        raise ValueError(
            f"`tasks` wants a dict, task -> head, with two or more. Received: {tasks!r}"
        )
    for task, head in tasks.items():
        if not (str(task).isidentifier() and str(task).isascii()):
            raise ValueError(
                f"A task's name wants letters (a to z), digits and '_', since it names "
                f"outputs. Received: {task!r}"
            )
        layer = head.layer if isinstance(head, Head) else None
        if not isinstance(layer, Prediction):
            raise ValueError(
                f"tasks['{task}'] wants a head of `mmkeras.heads` with a dense layer. "
                f"Received: {head!r}"
            )
    unknown = sorted(set(weights) - set(tasks))
    if unknown or not all(x >= 0 for x in weights.values()):
        raise ValueError(
            f"`weights` wants a dict, task -> float of 0 or more. Received: {weights}. "
            f"Valid names: {sorted(tasks)}"
        )
