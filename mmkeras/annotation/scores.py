"""How unsure a model is of each row."""

import numpy as np


def entropy(probabilities):
    """H = -sum_c p_c log p_c, in nats: 0 where sure, log(classes) at most.

    Example:
    >>> mmkeras.annotation.entropy([[1.0, 0.0], [0.5, 0.5]]).round(3)
    array([0.   , 0.693])

    Args:
        probabilities: array `(rows, classes)`, each row summing to 1.

    Raises:
        ValueError: they are no probabilities.
    """
    p = checked(probabilities)
    return (p * -np.log(np.where(p > 0, p, 1.0))).sum(1) + 0.0


def margin(probabilities):
    """1 - (p_1 - p_2), the two largest of a row: 1 where they are equal.

    Example:
    >>> mmkeras.annotation.margin([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]]).round(3)
    array([0.5, 1. ])

    Args:
        probabilities: array `(rows, classes)`, each row summing to 1.

    Raises:
        ValueError: they are no probabilities.
    """
    second, first = np.sort(checked(probabilities), axis=1)[:, -2:].T
    return 1 - (first - second)


def checked(probabilities):
    """Probabilities in float64, once they are some."""
    p = np.asarray(probabilities, "float64")
    if p.ndim != 2 or p.shape[1] < 2:
        raise ValueError(
            f"`probabilities` wants shape (rows, classes), two classes or more. "
            f"Received: shape {p.shape}"
        )
    if not (np.isfinite(p).all() and (p >= 0).all() and _whole(p)):
        raise ValueError(
            f"`probabilities` wants rows of numbers from 0 that sum to 1. Received: "
            f"{p.min():.4g} to {p.max():.4g}, the first row sums to {p[0].sum():.4g}. "
            f"Of logits take `keras.ops.softmax`."
        )
    return p


def _whole(p):
    return np.allclose(p.sum(1), 1.0, atol=1e-3)
