"""Scores on the rows of each value of a column."""

import numpy as np

from mmkeras.analysis.bootstrap import Draws, drawn, weights
from mmkeras.data.table import is_missing

#: Values of a column of strings that is sliced unasked.
_VALUES = 20
MISSING = "(missing)"
THERE = "(there)"


def slices(
    frame,
    labels,
    outputs,
    metric,
    columns=None,
    bins=4,
    small=30,
    bootstrap=1000,
    seed=0,
):
    """The score of each slice of a table; `ErrorReport.slices` says what is what.

    Args:
        frame: DataFrame, the rows in the order of the labels.
        labels: array `(rows, ...)`.
        outputs: array `(rows, outputs)`.
        metric: a function `(labels, outputs) -> float`.
        columns: list; default: those that make slices.
        bins: Integer, quantiles that a column of many numbers is cut at.
        small: Integer, slices of fewer rows are flagged.
        bootstrap: Integer, draws for 95 % intervals; 0: none.
        seed: Integer.
    """
    import pandas

    name = getattr(metric, "__name__", "score")
    found = []
    for column in frame.columns if columns is None else columns:
        values, order = _values(frame[column], bins, columns is not None)
        for value in order:
            mask = np.array([x == value for x in values])
            rest = ~mask
            row = {"column": column, "value": value, "rows": int(mask.sum())}
            row[name] = float(metric(labels[mask], outputs[mask]))
            if bootstrap:
                draws = (labels[mask], outputs[mask], bootstrap, seed)
                row["low"], row["high"] = _interval(metric, *draws)
            row["elsewhere"] = float("nan")
            if rest.any():
                row["elsewhere"] = float(metric(labels[rest], outputs[rest]))
            found.append({**row, "small": bool(mask.sum() < small)})
    spans = ["low", "high"] * bool(bootstrap)
    header = ["column", "value", "rows", name, *spans, "elsewhere", "small"]
    return pandas.DataFrame(found, columns=header)


def _interval(metric, labels, outputs, draws, seed):
    blocks = weights(len(labels), draws, seed=seed)
    found = [drawn(metric, labels, outputs, block) for block in blocks]
    return Draws({}, {}, 0.95).interval(np.concatenate(found))


def _values(column, bins, asked):
    """A slice's name for each row, and the names in order; none: not sliced."""
    import pandas

    gone = np.array([is_missing(x) for x in column])
    there = column[~gone]
    numbers = pandas.api.types.is_numeric_dtype(column.dtype)
    numbers &= not pandas.api.types.is_bool_dtype(column.dtype)
    if numbers and there.nunique() > max(bins, 2):
        names, order = _quantiles(there.to_numpy("float64"), bins)
    else:
        names = [_text(x) for x in there]
        order = sorted(set(names))
        if len(order) > _VALUES and not asked:
            if not gone.any():
                return [], []
            names, order = [THERE] * len(names), [THERE]
    made = np.full(len(column), MISSING, object)
    made[~gone] = names
    order = [*order, *[MISSING] * bool(gone.any())]
    return made, order if len(order) > 1 or asked else []


def _quantiles(values, bins):
    """Equal values share a slice."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, values, "left") - 1, 0, len(edges) - 2)
    order = [
        f"{low:.4g} to {high:.4g}" for low, high in zip(edges, edges[1:], strict=False)
    ]
    used = sorted(set(place))
    return [order[i] for i in place], [order[i] for i in used]


def _text(cell):
    if isinstance(cell, bytes | bytearray | memoryview):
        return f"{len(cell)} bytes"
    text = f"{cell:g}" if isinstance(cell, float) else str(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."
