"""Rows that differ from each other: two greedy ways, and a space to do it in."""

import numpy as np

from mmkeras.annotation.scores import checked


def k_center(features, count, labelled=None):
    """Each next row is the one farthest from all that are chosen or labelled.

    Without labelled rows the first is the one nearest to the mean.

    Example:
    >>> mmkeras.annotation.k_center([[0.0], [1.0], [9.0], [5.0]], 2, labelled=[[0.0]])
    array([2, 3])

    Args:
        features: array `(rows, dim)`.
        count: Integer, rows to choose.
        labelled: optional array `(rows, dim)`, features of what has a label.

    Returns:
        Integer array `(count,)`: positions, the farthest first.

    Raises:
        ValueError: `count` is not between 1 and the number of rows.

    Reference:
        Gonzalez, 1985, https://doi.org/10.1016/0304-3975(85)90224-5; for labels Sener
        and Savarese, 2018, arXiv:1708.00489.
    """
    x = _features(features, count)
    if labelled is None or not len(labelled):
        chosen = [int(((x - x.mean(0)) ** 2).sum(1).argmin())]
        far = _squares(x, x[chosen[0]])
    else:
        chosen = []
        far = np.min([_squares(x, y) for y in np.asarray(labelled, "float64")], axis=0)
    while len(chosen) < count:
        far[chosen] = -1.0
        chosen.append(int(far.argmax()))
        far = np.minimum(far, _squares(x, x[chosen[-1]]))
    return np.array(chosen)


def k_means_pp(features, count, seed=0):
    """Each next row is drawn by its squared distance to the nearest that is chosen.

    The first is the longest one. Where all that is left equals what is chosen, the rest
    is drawn evenly.

    Example:
    >>> mmkeras.annotation.k_means_pp([[0.0], [0.0], [9.0]], 2)
    array([2, 1])

    Args:
        features: array `(rows, dim)`.
        count: Integer, rows to choose.
        seed: Integer.

    Returns:
        Integer array `(count,)`: positions, in the order of the draw.

    Raises:
        ValueError: `count` is not between 1 and the number of rows.

    Reference:
        Arthur and Vassilvitskii, 2007 (k-means++). Departs: its first is drawn evenly.
    """
    x = _features(features, count)
    rng = np.random.default_rng(seed)
    chosen = [int((x**2).sum(1).argmax())]
    far = _squares(x, x[chosen[0]])
    while len(chosen) < count:
        far[chosen] = 0.0
        left = far if far.sum() > 0 else 1.0 - np.isin(np.arange(len(x)), chosen)
        chosen.append(int(rng.choice(len(x), p=left / left.sum())))
        far = np.minimum(far, _squares(x, x[chosen[-1]]))
    return np.array(chosen)


def gradient_embedding(probabilities, features):
    """The last layer's gradient, were the guess right: (p - onehot(guess)) x h.

    Long where the model is unsure, and of another direction for another guess: rows
    spread in this space are unsure and differ (BADGE).

    Example:
    >>> p, h = [[0.8, 0.2]], [[1.0, 2.0]]
    >>> mmkeras.annotation.gradient_embedding(p, h).round(1)
    array([[-0.2, -0.4,  0.2,  0.4]])

    Args:
        probabilities: array `(rows, classes)`.
        features: array `(rows, dim)`, what the last layer takes.

    Returns:
        Array `(rows, classes * dim)`.

    Reference:
        Ash et al. 2020, arXiv:1906.03671.
    """
    p = checked(probabilities)
    slope = p - np.eye(p.shape[1])[p.argmax(1)]
    h = np.asarray(features, "float64")
    return (slope[:, :, None] * h[:, None, :]).reshape(len(p), -1)


def _squares(x, point):
    return ((x - point) ** 2).sum(1)


def _features(features, count):
    x = np.asarray(features, "float64")
    if x.ndim != 2:
        raise ValueError(
            f"`features` wants shape (rows, dim). Received: shape {x.shape}"
        )
    if not (isinstance(count, int | np.integer) and 1 <= count <= len(x)):
        raise ValueError(
            f"`count` wants an integer from 1 to the {len(x)} rows. Received: {count!r}"
        )
    return x
