"""What the best predictor of the embedded set would show in a report, by enumeration.

A row of the set is one of 5 x 9 x 5 triples of symbols (photo and clip have four each,
title eight, and each may be missing), so that every expectation is a sum over 225
cells. Nothing is drawn, nothing imports TensorFlow.
"""

import itertools
import math

import numpy as np

from mmkeras.run import demo_data
from mmkeras.run.demo_data import CLASSES, MISSING, MODALITIES


def joint():
    """p(photo, title, clip, class): array `(5, 9, 5, 8)`; the last is missing."""
    states = np.full((16, 1), 1 / 16)  # class x flag
    for modality in MODALITIES:
        seen = (1 - MISSING) * demo_data.symbol_table(modality)
        table = np.concatenate([seen, np.full((16, 1), MISSING)], axis=1)
        states = (states[:, :, None] * table[:, None, :]).reshape(16, -1)
    found = np.zeros((len(CLASSES), states.shape[1]))
    np.add.at(found, demo_data.truth()["class"], states)
    shape = [demo_data.symbol_table(x).shape[1] + 1 for x in MODALITIES]
    return found.T.reshape(*shape, len(CLASSES))


def log_posterior():
    """Log p(class | symbols) `(5, 9, 5, 8)`: its argmax is the best guess there is."""
    cells = joint()
    return np.log(cells / cells.sum(-1, keepdims=True))


def best_shapley():
    """The Shapley value of each modality's accuracy, over the 6 orders of showing them.

    Example:
    >>> values = mmkeras.run.demo_theory.best_shapley()
    >>> {name: round(x, 4) for name, x in values.items()}
    {'photo': 0.1988, 'title': 0.2764, 'clip': 0.1445}
    """
    best = {frozenset(x): y for x, y in demo_data.best_accuracies().items()}
    found = dict.fromkeys(MODALITIES, 0.0)
    for order in itertools.permutations(MODALITIES):
        for i, name in enumerate(order):
            gain = best[frozenset(order[: i + 1])] - best[frozenset(order[:i])]
            found[name] += gain / math.factorial(len(MODALITIES))
    return found


def emap_accuracy():
    """The accuracy of the additive part (EMAP) of the best predictor.

    Flag and siren are coins: whatever one of them is, the other's average tells
    nothing, and so the additive part cannot read the weather from them. Where it ties
    between classes, each of them counts alike.

    Example:
    >>> data = mmkeras.run.demo_data
    >>> best = data.best_accuracy(data.MODALITIES)
    >>> round(best, 4), round(mmkeras.run.demo_theory.emap_accuracy(), 4)
    (0.7446, 0.5742)
    """
    cells, outputs = joint(), log_posterior()
    seen = cells.sum(-1)
    marginals = [seen.sum(tuple({0, 1, 2} - {i})) for i in range(3)]
    mean = _averaged(outputs, marginals, (0, 1, 2))
    additive = -2 * mean
    for i in range(3):
        additive = additive + _averaged(outputs, marginals, {0, 1, 2} - {i})
    tied = np.isclose(additive, additive.max(-1, keepdims=True), rtol=0, atol=1e-9)
    return float((cells * tied / tied.sum(-1, keepdims=True)).sum())


def _averaged(outputs, marginals, axes):
    """The expectation over some modalities, each drawn by itself; axes are kept."""
    for axis in axes:
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        weighted = outputs * marginals[axis].reshape(shape)
        outputs = weighted.sum(axis, keepdims=True)
    return outputs
