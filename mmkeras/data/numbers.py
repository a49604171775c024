"""Columns of numbers: regression targets and sample weights."""

import numpy as np
import pandas

from mmkeras.data.bad import rows_text, short
from mmkeras.data.table import want_column


def floats(column, index, rows=None):
    """A column as finite float32, or an error that names the rows.

    Args:
        column: Series.
        index: labels of the table's rows.
        rows: optional places in the table of the column's rows, where they are some.
    """
    numbers = pandas.to_numeric(column, errors="coerce").to_numpy(
        "float64", na_value=np.nan
    )
    with np.errstate(over="ignore"):
        numbers = numbers.astype("float32")
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        rows = np.arange(len(column)) if rows is None else rows
        raise ValueError(
            f"Column '{column.name}' wants finite numbers. Received: "
            f"{short(column[wrong].iloc[0])} in {rows_text(rows[wrong], index)}. "
            f"Mend the cells or drop the rows."
        )
    return numbers


def weights(frame, sample_weight):
    """Sample weights as float32 `(rows,)`, from a column or one float a row."""
    if isinstance(sample_weight, str):
        values, name = (
            want_column(frame, sample_weight, "`sample_weight`"),
            sample_weight,
        )
    else:
        values, name = sample_weight, "sample_weight"
        if np.shape(values) != (len(frame),):
            raise ValueError(
                f"`sample_weight` wants a column or {len(frame)} floats, one a row. "
                f"Received: shape {np.shape(values)}"
            )
    numbers = floats(pandas.Series(list(values), name=name), frame.index)
    if (numbers < 0).any():
        bad = rows_text(np.flatnonzero(numbers < 0), frame.index)
        raise ValueError(f"`sample_weight` wants floats of 0 or more. Received: {bad}")
    return numbers
