"""Which rows to label next, from a model's probabilities and features."""

import numpy as np

from mmkeras.annotation import scores, spread

#: How rows can be picked.
METHODS = ("random", "entropy", "margin", "k_center", "badge", "margin_k_center")
#: Of "margin_k_center": how many unsure rows, as a multiple of `count`, it picks from.
_WIDE = 4


def pick(probabilities, features, count, method="badge", labelled=None, seed=0):
    """The rows that a model would learn most from, by one of several opinions.

    "entropy" and "margin" take the rows the model is least sure of, "k_center" those
    farthest from what is labelled, "margin_k_center" the farthest of the four times
    `count` least sure, "badge" draws by the gradients that the rows would give,
    "random" draws evenly: the control, which is hard to beat where labels are few.

    Example:
    >>> p = [[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]]
    >>> mmkeras.annotation.pick(p, np.eye(3), 2, "margin")
    array([1, 2])

    Args:
        probabilities: array `(rows, classes)`, of rows without a label.
        features: array `(rows, dim)`, their fused features.
        count: Integer, rows to pick.
        method: one of `METHODS`.
        labelled: optional array `(rows, dim)`, features of what has a label.
        seed: Integer, of "random" and "badge".

    Returns:
        Integer array `(count,)`: positions, the first to label first.

    Raises:
        ValueError: an unknown method, no probabilities, `count` out of range.
    """
    if method not in METHODS:
        raise ValueError(
            f"`method` wants one of {list(METHODS)}. Received: method={method!r}"
        )
    p, x = scores.checked(probabilities), np.asarray(features, "float64")
    if len(p) != len(x) or not 1 <= count <= len(p):
        raise ValueError(
            f"`count` wants an integer from 1 to the number of rows, and "
            f"`probabilities` and `features` the same rows. Received: count={count!r}, "
            f"{len(p)} and {len(x)} rows"
        )
    if method == "random":
        return np.random.default_rng(seed).permutation(len(p))[:count]
    if method == "k_center":
        return spread.k_center(x, count, labelled)
    if method == "badge":
        return spread.k_means_pp(spread.gradient_embedding(p, x), count, seed)
    order = np.argsort(-getattr(scores, method.split("_")[0])(p), kind="stable")
    if method != "margin_k_center":
        return order[:count]
    wide = order[: _WIDE * count]
    return wide[spread.k_center(x[wide], count, labelled)]
