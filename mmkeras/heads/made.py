"""A head with its loss and metrics, by what is predicted."""

from typing import NamedTuple

import keras
import numpy as np

from mmkeras.heads.layers import Outputs, Prediction
from mmkeras.heads.losses import (
    ClassCrossentropy,
    PositiveWeighted,
    StandardizedSquaredError,
)
from mmkeras.heads.metrics import (
    AreaUnderCurve,
    ClassAccuracy,
    LabelAccuracy,
    MacroF1,
)


class Head(NamedTuple):
    """A head layer with the loss and the metrics that go with it."""

    layer: keras.layers.Layer
    loss: keras.losses.Loss
    metrics: list


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


def regression(outputs=1, dropout=0.0, dense=True, standardize=None):
    """Head, loss and metrics for numbers.

    With `standardize` the layer learns (y - mean) / deviation and gives y: rates that
    suit classes suit these numbers too, whatever unit they are in. The loss is the
    squared error in deviations; the metrics stay in the labels' units.

    Example:
    >>> head = mmkeras.heads.regression(["price"], standardize=[10.0, 30.0])
    >>> head.layer.mean, head.layer.deviation
    ([20.0], [10.0])

    Args:
        outputs: how many numbers a row, or their names.
        dropout: Float in [0, 1), share of the fused features that training drops.
        dense: False where the fusion's outputs are the numbers already.
        standardize: optional labels of the training rows, `(rows,)` or
            `(rows, outputs)`; NaN is an absent label.
    """
    if standardize is None:
        layer, loss = _layer(outputs, "number", dropout, dense), None
    else:
        names = _names(outputs)
        mean, deviation = _statistics(standardize, len(names), dense)
        own = {"mean": mean, "deviation": deviation, "name": "head"}
        layer = Prediction(names, "number", dropout, **own)
        loss = StandardizedSquaredError(deviation)
    metrics = [
        keras.metrics.MeanAbsoluteError(name="mae"),
        keras.metrics.RootMeanSquaredError(name="rmse"),
    ]
    return Head(layer, loss or keras.losses.MeanSquaredError(), metrics)


def _statistics(labels, units, dense):
    """Mean and deviation of each column of the labels, as lists."""
    labels = np.asarray(labels, "float64")
    if not dense or labels.ndim not in (1, 2) or labels.size != len(labels) * units:
        raise ValueError(
            f"`standardize` wants the training labels, {units} number(s) a row, and a "
            f"dense head. Received: shape {labels.shape}, dense={dense}"
        )
    labels = labels.reshape(-1, units)
    some = np.isfinite(labels).sum(axis=0)
    mean = np.nanmean(labels, axis=0) if some.all() else np.zeros(units)
    deviation = np.nanstd(labels, axis=0) if some.all() else np.zeros(units)
    if not (deviation > 0).all() or not np.isfinite(deviation).all():
        raise ValueError(
            f"`standardize` wants finite labels of which two differ in each column. "
            f"Received: deviations {deviation.tolist()}"
        )
    return mean.tolist(), deviation.tolist()
