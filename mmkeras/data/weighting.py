"""Class weights: rare classes count for more, right for several outputs too."""

import numpy as np

from mmkeras.data.labels import head_of


def row_weights(labels, class_weight, model):
    """Weight of each row by its class, as the loss multiplies it.

    "balanced" gives a row of class c the weight n / (k count_c), n rows and k classes
    that occur: each class weighs the same in sum, and the mean weight is 1. Numbers 0
    and 1 for a head of width 1 are two classes.

    Args:
        labels: int32 array `(rows,)` of class ids, float array `(rows, 1)` of 0 and 1,
            or dict, output name -> labels.
        class_weight: "balanced", of several outputs for those that are not numbers;
            dict, class name or id -> float, others weigh 1; for several outputs also
            dict, output name -> one of these, outputs that it leaves out weigh 1.
        model: the model whose head knows the class names, or a dict of contracts.

    Returns:
        float32 array `(rows,)`, or dict of them for every output.

    Raises:
        ValueError: an output that is not of one class a row, an unknown class, or a
            weight below 0.
    """
    if not isinstance(labels, dict):
        head = head_of(model)[0]
        return _weights(labels, class_weight, head, "the label")
    heads = {key: head_of(model, key)[0] for key in labels}
    given = class_weight
    if given == "balanced":
        kinds = {key: _kind(x, heads[key]) for key, x in labels.items()}
        given = {key: given for key, kind in kinds.items() if kind != "number"}
        if not given:
            raise ValueError(
                f"`class_weight` wants classes, and all outputs are of numbers: "
                f"{sorted(labels)}. Leave it out."
            )
    unknown = sorted(set(given) - set(labels)) if isinstance(given, dict) else [given]
    if unknown:
        raise ValueError(
            f"`class_weight` wants 'balanced' or a dict, output -> weights. Received "
            f"for outputs that `label` does not name: {unknown}. Valid names: "
            f"{sorted(labels)}"
        )
    ones = np.ones(len(next(iter(labels.values()))), "float32")
    return {
        key: _weights(x, given[key], heads[key], f"output '{key}'")
        if key in given
        else ones
        for key, x in labels.items()
    }


def _kind(labels, head):
    """What labels are, as `mmkeras.heads.KINDS`: by their head, else by themselves."""
    labels = np.asarray(labels)
    if labels.dtype.kind in "iu":
        return "single"
    there = labels[~np.isnan(labels)]
    hot = bool(np.isin(there, (0, 1)).all())
    if head and head.kind != "single":
        return head.kind
    # a head of width 1 that has no name of its own tells two classes apart
    if hot and labels.shape[1:] == (1,):
        return "single"
    return "multi" if hot else "number"


def _weights(labels, class_weight, head, what):
    """The weights of one output's rows."""
    labels, kind = np.asarray(labels), _kind(labels, head)
    if kind == "number":
        raise ValueError(
            f"`class_weight` wants classes, and {what} is of numbers: weigh its rows "
            f"by `sample_weight`, or leave it out."
        )
    if kind == "multi":
        raise ValueError(
            f"`class_weight` wants one class a row, and {what} takes several: weigh "
            f"its loss in place of its rows, by mmkeras.heads.multilabel(classes, "
            f"positive_weight=mmkeras.data.positive_weights(hot)), with "
            f"hot = mmkeras.data.targets(table, column, mmkeras.heads.multilabel("
            f"classes)) of the training rows; for other outputs name them, as in "
            f"class_weight={{'<output>': 'balanced'}}."
        )
    if labels.ndim == 2:
        labels = np.where(np.isnan(labels), -1, labels)[:, 0].astype("int32")
    names = head.classes if head else ()
    there = labels >= 0
    found = np.zeros(len(labels), "float32")  # rows without a label count nothing
    found[there] = _of_classes(labels[there], class_weight, names, what)
    return found


def _of_classes(labels, class_weight, names, what):
    """The weights of rows by their class ids `(rows,)`, all there."""
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
