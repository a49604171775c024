"""Pseudo-labels: what the model says where it has earned to be believed."""

import numpy as np

from mmkeras.annotation.scores import checked


def threshold(probabilities, labels, precision=0.95):
    """The least confidence above which labelled rows come out right often enough.

    t = min { c : share of right guesses among rows with max_c p >= c is >= precision }.
    Take rows that the model was not trained on; a temperature
    (`mmkeras.analysis.fit_temperature`) moves t, not the rows above it.

    Example:
    >>> p = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    >>> mmkeras.annotation.threshold(p, [0, 1, 1], precision=1.0)
    0.8

    Args:
        probabilities: array `(rows, classes)`.
        labels: integer array `(rows,)`.
        precision: Float in (0, 1], wanted share of right guesses.

    Returns:
        Float; infinity where no confidence is enough.

    Raises:
        ValueError: `precision` is out of range, or labels do not fit.
    """
    p, labels = checked(probabilities), np.asarray(labels)
    if not 0 < precision <= 1:
        raise ValueError(
            f"`precision` wants a float in (0, 1]. Received: {precision!r}"
        )
    if labels.shape != (len(p),):
        raise ValueError(
            f"`labels` wants one for each of {len(p)} rows. Received: shape "
            f"{labels.shape}"
        )
    sure = p.max(1)
    order = np.argsort(-sure, kind="stable")
    right = np.cumsum((p.argmax(1) == labels)[order]) / np.arange(1, len(p) + 1)
    # rows of one confidence stand or fall together
    last = np.append(np.diff(sure[order]) != 0, True)
    enough = np.flatnonzero((right >= precision) & last)
    return float(sure[order][enough[-1]]) if len(enough) else float("inf")


def pseudo_labels(probabilities, least):
    """The rows whose guess is sure enough, and the guesses.

    Example:
    >>> p = [[0.9, 0.1], [0.4, 0.6]]
    >>> mmkeras.annotation.pseudo_labels(p, 0.8)
    (array([0]), array([0]))

    Args:
        probabilities: array `(rows, classes)`.
        least: Float, as `threshold` gives.

    Returns:
        Integer arrays: positions of the rows, and their classes.
    """
    p = checked(probabilities)
    rows = np.flatnonzero(p.max(1) >= least)
    return rows, p[rows].argmax(1)
