"""The scores of a report, in numpy: exact, on all rows at once.

Each function takes labels and the model's outputs. Keras' own metrics average over
batches or count on a grid of thresholds; these give scikit-learn's numbers.
"""

import numpy as np


def accuracy(labels, outputs):
    """Share of rows whose largest output is the label's."""
    return float(np.mean(outputs.argmax(-1) == labels))


def macro_f1(labels, outputs):
    """Unweighted mean of the classes' F1, 2 tp / (2 tp + fp + fn).

    A class that is neither among the labels nor predicted does not count.

    Args:
        labels: integers `(rows,)`, or 0 and 1 `(rows, classes)`.
        outputs: logits `(rows, classes)`; with 0-1 labels an output above 0 says yes.
    """
    if labels.ndim == 1:
        table = confusion(labels, outputs.argmax(-1), outputs.shape[-1])
        hits, wanted, given = np.diag(table), table.sum(1), table.sum(0)
        counts = (wanted + given) > 0
    else:
        guess, truth = outputs > 0, labels > 0
        hits = (guess & truth).sum(0)
        wanted, given = truth.sum(0), guess.sum(0)
        counts = np.ones(len(hits), bool)
    return float(np.mean(_ratio(2 * hits, wanted + given)[counts]))


def auc_roc(labels, outputs):
    """Area under the ROC curve, mean over classes: P(positive ranks above negative).

    Ties count half. A class with no positive or no negative row has no area and does
    not count; NaN where no class has one.

    Args:
        labels: 0 and 1 `(rows, classes)`, or integers `(rows,)`: one class against the
            rest, on the softmax of the outputs.
        outputs: logits `(rows, classes)`.
    """
    if labels.ndim == 1:
        labels = np.eye(outputs.shape[-1])[labels]
        outputs = softmax(outputs)
    areas = [
        _area(labels[:, i] > 0, outputs[:, i])
        for i in range(labels.shape[1])
        if 0 < (labels[:, i] > 0).sum() < len(labels)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def mae(labels, outputs):
    """Mean absolute error, in the label's units."""
    return float(np.mean(np.abs(errors(labels, outputs))))


def rmse(labels, outputs):
    """Root of the mean squared error, in the label's units."""
    return float(np.sqrt(np.mean(errors(labels, outputs) ** 2)))


SCORES = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "auc_roc": auc_roc,
    "mae": mae,
    "rmse": rmse,
}
# what a report shows for each kind of label; the first is the one it draws
OF_KIND = {
    "single": ("accuracy", "macro_f1", "auc_roc"),
    "multi": ("auc_roc", "macro_f1"),
    "number": ("mae", "rmse"),
}
LOWER_IS_BETTER = ("mae", "rmse")


def confusion(labels, guesses, classes):
    """Counts `(classes, classes)`: rows are the labels, columns the predictions."""
    table = np.zeros((classes, classes), int)
    np.add.at(table, (labels, guesses), 1)
    return table


def per_class(table):
    """Precision, recall and F1 of each class from a confusion matrix; 0 for 0 / 0.

    Returns:
        dict, name -> array `(classes,)`; "rows" counts the labels of each class.
    """
    return _per_class(np.diag(table), table.sum(1), table.sum(0))


def per_label(labels, outputs):
    """As `per_class`, of any number of classes a row; an output above 0 says yes.

    Args:
        labels: 0 and 1 `(rows, classes)`.
        outputs: logits `(rows, classes)`.
    """
    truth, guess = labels > 0, outputs > 0
    return _per_class((truth & guess).sum(0), truth.sum(0), guess.sum(0))


def _per_class(hits, wanted, given):
    return {
        "precision": _ratio(hits, given),
        "recall": _ratio(hits, wanted),
        "f1": _ratio(2 * hits, wanted + given),
        "rows": wanted,
    }


def softmax(logits):
    """Softmax over the last axis, in float64."""
    e = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _area(positive, outputs):
    """Mann-Whitney: the positives' mean rank, ties sharing their ranks."""
    _, group, counts = np.unique(outputs, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    ahead, behind = positive.sum(), (~positive).sum()
    total = rank[group][positive].sum()
    return (total - ahead * (ahead + 1) / 2) / (ahead * behind)


def errors(labels, outputs):
    """Label less output, in float64, shaped as the outputs."""
    labels = labels.astype("float64").reshape(outputs.shape)
    return labels - outputs.astype("float64")


def _ratio(over, under):
    return np.divide(over, under, out=np.zeros(len(under)), where=under > 0)
