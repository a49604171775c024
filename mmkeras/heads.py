"""Heads: the output contract of a model, with the loss and metrics that fit it.

Any Keras layer is a head. These also remember what their outputs are called, so
that a table's labels, a report and a prediction file use the same names.
"""

from typing import NamedTuple

import keras
from keras import ops

from mmkeras.dropout import Dropout
from mmkeras.head_metrics import (
    AreaUnderCurve,
    ClassAccuracy,
    LabelAccuracy,
    MacroF1,
    is_dense,
)

KINDS = ("single", "multi", "number")


class Head(NamedTuple):
    """A head layer with the loss and the metrics that go with it."""

    layer: keras.layers.Layer
    loss: keras.losses.Loss
    metrics: list


class Named:
    """What a layer can say of its outputs, once they have names and a kind."""

    temperature = 1.0

    def probabilities(self, outputs):
        """Outputs as probabilities, or the numbers themselves.

        softmax(z / T) or sigmoid(z / T), z the outputs and T the layer's `temperature`.
        """
        if self.temperature != 1:
            outputs = outputs / self.temperature
        if self.kind == "single":
            return ops.softmax(outputs, axis=-1)
        return ops.sigmoid(outputs) if self.kind == "multi" else outputs

    def decode(self, outputs, threshold=0.5):
        """Outputs as one dict a row: the class(es) and the score of each name.

        Args:
            outputs: array `(batch, len(classes))`, as the layer gives.
            threshold: Float, or a list of one a class, the score from which a class of
                kind "multi" is chosen.
        """
        scores = ops.convert_to_numpy(
            self.probabilities(ops.convert_to_tensor(outputs))
        )
        limits = threshold
        if not isinstance(threshold, list | tuple):
            limits = [threshold] * len(self.classes)
        rows = []
        for row in scores:
            named = {name: float(x) for name, x in zip(self.classes, row, strict=True)}
            if self.kind == "single":
                named = {"class": self.classes[int(row.argmax())], **named}
            elif self.kind == "multi":
                pairs = zip(named.items(), limits, strict=True)
                chosen = [n for (n, x), limit in pairs if x >= limit]
                named = {"class": "|".join(chosen), **named}
            rows.append(named)
        return rows


@keras.saving.register_keras_serializable("mmkeras")
class Prediction(Named, keras.layers.Dense):
    """A dense layer whose outputs have names: y = W x + b, logits or numbers.

    Example:
    >>> head = mmkeras.heads.Prediction(["cat", "dog"], kind="single")
    >>> head(np.zeros((1, 4))).shape
    TensorShape([1, 2])
    >>> head.decode(np.array([[0.0, 2.0]]))[0]["class"]
    'dog'

    Args:
        classes: list of strings, the name of each output.
        kind: "single" (one class a row, softmax), "multi" (any number of classes a
            row, sigmoid) or "number" (regression).
        dropout: Float in [0, 1), share of the inputs that training drops.
        temperature: Float above 0 that the logits are divided by where they become
            probabilities; the outputs are the logits as they were. See
            `mmkeras.analysis.fit_temperature`.

    Call arguments:
        inputs: float tensor `(batch, dim)`.

    Output shape: `(batch, len(classes))`, float32.

    Raises:
        ValueError: unknown `kind`, an empty, repeated or missing class name, or a
            `temperature` that is not above 0, or of numbers not 1.
    """

    def __init__(self, classes, kind="single", dropout=0.0, temperature=1.0, **kwargs):
        classes = _checked(classes, kind)
        kwargs.setdefault("dtype", "float32")  # logits stay float32 under any policy
        super().__init__(len(classes), **kwargs)
        self.classes = classes
        self.kind = kind
        self.temperature = _temperature(temperature, kind)
        self.dropout = dropout
        self.input_dropout = Dropout(dropout, dtype=self.dtype_policy)

    def call(self, inputs, training=False):
        return super().call(self.input_dropout(inputs, training=training))

    def get_config(self):
        own = {"classes": self.classes, "kind": self.kind, "dropout": self.dropout}
        config = {**super().get_config(), **own, "temperature": self.temperature}
        del config["units"]
        return config


@keras.saving.register_keras_serializable("mmkeras")
class Outputs(Named, keras.layers.Layer):
    """Names for outputs that are made already, such as a late fusion's: y = x.

    Args:
        classes: list of strings, the name of each output.
        kind: "single", "multi" or "number", as `Prediction`.
        temperature: Float, as `Prediction`.

    Call arguments:
        inputs: float tensor `(batch, len(classes))`, logits or numbers.

    Output shape: `(batch, len(classes))`, float32.

    Raises:
        ValueError: as `Prediction`, or an input of another width.
    """

    def __init__(self, classes, kind="single", temperature=1.0, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.classes, self.kind = _checked(classes, kind), kind
        self.temperature = _temperature(temperature, kind)
        self.units = len(self.classes)

    def call(self, inputs):
        if inputs.shape[-1] != self.units:
            raise ValueError(
                f"Layer '{self.name}' names {self.units} outputs. Received: inputs of "
                f"width {inputs.shape[-1]}. A late fusion wants `units={self.units}`."
            )
        return inputs

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        own = {"classes": self.classes, "kind": self.kind}
        return {**super().get_config(), **own, "temperature": self.temperature}


@keras.saving.register_keras_serializable("mmkeras")
class ClassCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross-entropy of logits; labels are class ids, or shares of the classes.

    -sum_c y_c log softmax(z)_c; an id is y = 1 for its class. Shares come from
    `mmkeras.data.mix`.

    Example:
    >>> loss = mmkeras.heads.ClassCrossentropy()
    >>> round(float(loss(np.array([[0.5, 0.5]]), np.array([[0.0, 0.0]]))), 4)  # log 2
    0.6931

    Args:
        **kwargs: those of `keras.losses.SparseCategoricalCrossentropy`.

    Call arguments:
        y_true: integers `(batch,)` or `(batch, 1)`, or floats `(batch, classes)`.
        y_pred: logits `(batch, classes)`, two classes or more.
    """

    def __init__(self, from_logits=True, **kwargs):
        super().__init__(from_logits=from_logits, **kwargs)

    def call(self, y_true, y_pred):
        if not is_dense(y_true, y_pred.shape[-1]):
            return super().call(y_true, y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            y_true, y_pred, from_logits=self.from_logits
        )


def _checked(classes, kind):
    """The names as strings, once they and their kind are valid."""
    if kind not in KINDS:
        raise ValueError(f"`kind` wants one of {KINDS}. Received: kind={kind!r}")
    classes = [str(x) for x in classes]
    if len(set(classes)) != len(classes) or not classes:
        raise ValueError(
            f"`classes` wants different names, at least one. Received: {classes}"
        )
    if kind == "single" and len(classes) < 2:
        raise ValueError(
            f"Classification wants two or more classes. Received: {classes}"
        )
    return classes


def _temperature(temperature, kind):
    """The temperature as a float, once it is valid."""
    temperature = float(temperature)
    if not 0 < temperature < float("inf"):
        raise ValueError(
            f"`temperature` wants a float above 0. Received: {temperature}"
        )
    if kind == "number" and temperature != 1:
        raise ValueError(
            f"Numbers have no probabilities: `temperature` of kind 'number' wants 1. "
            f"Received: {temperature}"
        )
    return temperature


def _names(classes):
    return [str(i) for i in range(classes)] if isinstance(classes, int) else classes


def _layer(classes, kind, dropout, dense):
    if dense:
        return Prediction(_names(classes), kind, dropout, name="head")
    if dropout:
        raise ValueError(
            f"`dropout` wants a dense head: use the late fusion's own. Received: "
            f"dropout={dropout}, dense=False"
        )
    return Outputs(_names(classes), kind, name="head")


def classification(classes, dropout=0.0, dense=True):
    """Head, loss and metrics for one class a row.

    Example:
    >>> head = mmkeras.heads.classification(["cat", "dog", "fox"])
    >>> [metric.name for metric in head.metrics]
    ['accuracy', 'macro_f1', 'auc_roc']

    Args:
        classes: list of class names, or their number. Labels are the class's index,
            or rows `(batch, classes)` of its shares, as `mmkeras.data.mix` makes them.
        dropout: Float in [0, 1), share of the fused features that training drops.
        dense: False where the fusion's outputs are the logits already (late fusion).

    Returns:
        `Head` whose layer gives logits `(batch, classes)`.
    """
    layer = _layer(classes, "single", dropout, dense)
    metrics = [
        ClassAccuracy(name="accuracy"),
        MacroF1(layer.units),
        AreaUnderCurve(layer.units),
    ]
    return Head(layer, ClassCrossentropy(), metrics)


def multilabel(classes, dropout=0.0, dense=True, positive_weight=None):
    """Head, loss and metrics for any number of classes a row (multi-hot labels).

    Args:
        classes: class names, or how many.
        dropout: Float in [0, 1), share of the fused features that training drops.
        dense: False where the fusion's outputs are the logits already.
        positive_weight: optional list of floats, one a class, that the loss of its
            positives is multiplied by; `mmkeras.data.positive_weights` gives those
            that make up for rare ones.
    """
    layer = _layer(classes, "multi", dropout, dense)
    metrics = [
        LabelAccuracy(),
        MacroF1(layer.units, threshold=0.5),
        AreaUnderCurve(layer.units, sparse=False),
    ]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    if positive_weight is not None:
        if len(positive_weight) != layer.units:
            raise ValueError(
                f"`positive_weight` wants {layer.units} floats, one a class. Received: "
                f"{len(positive_weight)}"
            )
        loss = PositiveWeighted(positive_weight)
    return Head(layer, loss, metrics)


@keras.saving.register_keras_serializable("mmkeras")
class PositiveWeighted(keras.losses.Loss):
    """Binary cross-entropy of logits whose positives weigh more.

    The mean over classes of w y softplus(-z) + (1 - y) softplus(z), z the logits.

    Example:
    >>> loss = mmkeras.heads.PositiveWeighted([3.0])
    >>> round(float(loss(np.array([[1.0]]), np.array([[0.0]]))), 4)  # 3 log 2
    2.0794

    Args:
        positive_weight: list of floats, one a class.
        **kwargs: those of `keras.losses.Loss`.

    Reference:
        King and Zeng 2001, Logistic regression in rare events data.
    """

    def __init__(self, positive_weight, name="positive_weighted", **kwargs):
        super().__init__(name=name, **kwargs)
        self.positive_weight = [float(x) for x in positive_weight]
        if not all(x > 0 for x in self.positive_weight):
            raise ValueError(
                f"`positive_weight` wants floats above 0. Received: "
                f"{self.positive_weight}"
            )

    def call(self, y_true, y_pred):
        y = ops.cast(y_true, y_pred.dtype)
        weight = ops.convert_to_tensor(self.positive_weight, y_pred.dtype)
        positive = weight * y * ops.softplus(-y_pred)
        return ops.mean(positive + (1 - y) * ops.softplus(y_pred), axis=-1)

    def get_config(self):
        return {**super().get_config(), "positive_weight": self.positive_weight}


def regression(outputs=1, dropout=0.0, dense=True):
    """Head, loss and metrics for numbers.

    Args:
        outputs: how many numbers a row, or their names.
        dropout: Float in [0, 1), share of the fused features that training drops.
        dense: False where the fusion's outputs are the numbers already.
    """
    layer = _layer(outputs, "number", dropout, dense)
    metrics = [
        keras.metrics.MeanAbsoluteError(name="mae"),
        keras.metrics.RootMeanSquaredError(name="rmse"),
    ]
    return Head(layer, keras.losses.MeanSquaredError(), metrics)


def output_contract(model):
    """The layer that names the model's outputs, or None where no layer does."""
    # the model's own first: an encoder may be a model with a head of its own
    for layers in (model.layers, model._flatten_layers()):
        found = [x for x in layers if isinstance(x, Named)]
        if found:
            return found[-1]
    return None
