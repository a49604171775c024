"""Class weights: rare classes count for more, right for several outputs too."""

import numpy as np

from mmkeras.data.labels import head_of


def row_weights(labels, class_weight, model):
    """Weight of each row by its class, as the loss multiplies it.

    "balanced" gives a row of class c the weight n / (k count_c), n rows and k classes
    that occur: each class weighs the same in sum, and the mean weight is 1.

    Args:
        labels: int32 array `(rows,)` of class ids, or dict, output name -> labels.
        class_weight: "balanced"; dict, class name or id -> float, others weigh 1; for
            several outputs also dict, output name -> one of these.
        model: the model whose head knows the class names, or a dict of contracts.

    Returns:
        float32 array `(rows,)`, or dict of them for every output.

    Raises:
        ValueError: an output that is not of one class a row, an unknown class, or a
            weight below 0.
    """
    if not isinstance(labels, dict):
        return _weights(labels, class_weight, _names(model), "the label")
    given = class_weight
    if given == "balanced":
        given = {
            key: given for key, x in labels.items() if np.asarray(x).dtype == "int32"
        }
    unknown = sorted(set(given) - set(labels)) if isinstance(given, dict) else [given]
    if unknown:
        raise ValueError(
            f"`class_weight` wants 'balanced' or a dict, output -> weights. Received "
            f"for outputs that `label` does not name: {unknown}. Valid names: "
            f"{sorted(labels)}"
        )
    ones = np.ones(len(next(iter(labels.values()))), "float32")
    return {
        key: _weights(x, given[key], _names(model, key), f"output '{key}'")
        if key in given
        else ones
        for key, x in labels.items()
    }


def _names(model, key=None):
    """The class names of a head, or () where it has none."""
    head, _ = head_of(model, key)
    return head.classes if head else ()


def _weights(labels, class_weight, names, what):
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype != "int32":
        raise ValueError(
            f"`class_weight` wants one class a row. {what} has labels of shape "
            f"{labels.shape} and dtype {labels.dtype}. For several classes a row weigh "
            f"the loss: mmkeras.heads.multilabel(classes, positive_weight=...)."
        )
    if (labels < 0).any():  # rows without a label count nothing anyway
        found = np.zeros(len(labels), "float32")
        found[labels >= 0] = _weights(labels[labels >= 0], class_weight, names, what)
        return found
    if class_weight == "balanced":
        classes, place, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        return (len(labels) / (len(classes) * counts))[place].astype("float32")
    if not isinstance(class_weight, dict):
        raise ValueError(
            f"`class_weight` wants 'balanced' or a dict, class -> weight. Received: "
            f"{class_weight!r}"
        )
    ids = {name: i for i, name in enumerate(names)}
    count = len(names) or int(labels.max()) + 1
    each = np.ones(count)
    for name, weight in class_weight.items():
        place = ids.get(str(name), name)
        if not isinstance(place, int | np.integer) or not 0 <= place < count:
            raise ValueError(
                f"`class_weight` names a class that {what} does not have: {name!r}. "
                f"Valid names: {list(names)[:50] or f'ids from 0 to {count - 1}'}"
            )
        if not weight >= 0:
            raise ValueError(
                f"`class_weight` wants weights of 0 or more. Received: {name!r}: "
                f"{weight}"
            )
        each[place] = weight
    return each[labels].astype("float32")


def positive_weights(labels):
    """Negatives per positive of each class, for `heads.multilabel(positive_weight=)`.

    Example:
    >>> mm.data.positive_weights(np.array([[1, 1], [0, 1], [0, 0], [0, 0]]))
    array([3., 1.])

    Args:
        labels: multi-hot array `(rows, classes)`; a row of NaN has no label.

    Returns:
        float64 array `(classes,)`; 1 for a class that no row has, or that all have.
    """
    labels = np.asarray(labels, "float64")
    labels = labels[~np.isnan(labels).any(axis=1)]
    positive = labels.sum(axis=0)
    negative = len(labels) - positive
    some = (positive > 0) & (negative > 0)
    return np.where(some, negative / np.maximum(positive, 1), 1.0)
