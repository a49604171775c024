"""What a training table says of its columns: kinds, means, deviations, categories."""

import difflib
from collections import Counter

import numpy as np
import pandas

from mmkeras.tabular import cells

_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean")
_NAMES = ("string", "categorical", "bytes")


def adapt(frame, columns, numeric, categorical, max_categories, min_count):
    """Arguments of `Columns.from_frame`, to those of `Columns`.

    Returns:
        dict, column -> (mean, standard deviation); dict, column -> list of categories.
    """
    if not isinstance(frame, pandas.DataFrame):
        raise TypeError(
            f"`frame` wants a pandas.DataFrame. Received: {type(frame).__name__}. "
            f"Read a file with `mmkeras.data.read_table`."
        )
    for name in (*columns, *numeric, *categorical):
        _want(frame, name)
    numeric, categorical = list(numeric), list(categorical)
    for name in columns:
        if name not in numeric and name not in categorical:
            kind = _kind(frame[name], max_categories)
            (numeric if kind == "number" else categorical).append(name)
    if not numeric and not categorical:
        raise ValueError(
            "`Columns.from_frame` wants names of columns, in `columns`, `numeric` or "
            f"`categorical`; the label must not be one. Valid names: {list(frame)}"
        )
    return (
        {name: _moments(frame[name]) for name in numeric},
        {x: _categories(frame[x], max_categories, min_count) for x in categorical},
    )


def _kind(column, max_categories):
    kind = pandas.api.types.infer_dtype(column, skipna=True)
    if kind in _NUMBERS:
        return "number"
    if kind not in _NAMES:
        raise ValueError(
            f"Column '{column.name}' holds neither numbers nor strings. Received: "
            f"{kind}. Name it in `numeric` or `categorical`, or leave it out."
        )
    count = column.nunique()
    if count > max_categories:
        raise ValueError(
            f"Column '{column.name}' holds {count} different strings, more than "
            f"`max_categories`={max_categories}: a text of its own, or an id? Leave "
            f"it out, or name it in `categorical` to keep the most frequent ones."
        )
    return "category"


def _moments(column):
    """Mean and standard deviation (over n, not n - 1) of the cells that are there."""
    values = np.array([float(x) for x in _texts(column, cells.number)])
    mean, std = float(values.mean()), float(values.std())
    # rounding leaves a constant column a deviation of its last bits
    constant = std <= 10 * np.finfo("float64").eps * abs(mean)
    return mean, 1.0 if constant else std


def _categories(column, max_categories, min_count):
    counts = Counter(_texts(column, cells.category))
    often = sorted(counts, key=lambda x: (-counts[x], x))[:max_categories]
    kept = sorted(x for x in often if counts[x] >= min_count)
    if not kept:
        raise ValueError(
            f"Column '{column.name}' has no category in {min_count} rows or more. "
            f"Leave it out, or lower `min_count`."
        )
    return kept


def _texts(column, make):
    found = []
    for row, value in enumerate(column):
        try:
            found.append(make(value))
        except ValueError as error:
            raise ValueError(f"column '{column.name}', row {row}: {error}") from error
    found = [x for x in found if x]
    if not found:
        raise ValueError(
            f"Column '{column.name}' has no value in the training rows: leave it out."
        )
    return found


def _want(frame, name):
    count = list(frame.columns).count(name)
    if count == 1:
        return
    if count:
        raise ValueError(f"The table has {count} columns called {name!r}.")
    names = [str(x) for x in frame.columns]
    near = difflib.get_close_matches(str(name), names, 3)
    raise ValueError(
        f"The table has no column {name!r}. Near names: {near}. Its columns: "
        f"{names[:50]}"
    )
