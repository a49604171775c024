"""Columns of a run's table as one modality: their kinds, from the training rows."""

import re

import numpy as np
import pandas

from mmkeras.data.bad import BadRows
from mmkeras.tabular import Columns, cells, mlp

_OF_COLUMNS = ("numeric", "categorical", "max_categories", "min_count")


def encoder(name, source, rows, on_bad_row="raise"):
    """The network of a tabular source, with the statistics of the training rows.

    Args:
        name: the modality.
        source: `recipe.Source`; its options are those of `Columns.from_frame` and of
            `mlp`.
        rows: DataFrame, the training rows.
        on_bad_row: "raise", or "absent": a cell that is no number is a missing one.

    Raises:
        ValueError: a column without values, of no kind, or with too many categories;
            a cell that cannot be read.
    """
    options = dict(source.options)
    own = {key: options.pop(key) for key in _OF_COLUMNS if key in options}
    rows = _readable(rows[source.column], own, rows.attrs.get("root", "."), on_bad_row)
    try:
        contract = Columns.from_frame(rows, source.column, **own)
    except ValueError as error:
        kinds = " or ".join(f"{name}.{x}=COLUMN" for x in ("categorical", "numeric"))
        hint = f" On the command line: --option {kinds}."
        raise ValueError(
            f"Modality '{name}': {error}{hint * ('`categorical`' in str(error))}"
        ) from error
    return mlp(contract, **options)


def told(name, source, contract):
    """The kinds of the columns, for the screen."""
    words = [_kind(name, source, contract, column) for column in contract.columns]
    return f"{name}: {', '.join(words)}"


def for_card(name, contract):
    """What the model knows of the columns, and a line of them, as Markdown."""
    lines = [f"## Columns of `{name}`", ""]
    for column, (mean, std) in contract.numeric.items():
        lines.append(f"- {column}: number, mean {mean:.4g}, deviation {std:.4g}")
    for column, values in contract.categorical.items():
        shown = ", ".join(values[:20]) + ", ..." * (len(values) > 20)
        lines.append(f"- {column}: category, {len(values)} values: {shown}")
    header = contract.join(contract.columns)
    lines += ["", f"The raw endpoint takes a line of CSV, `{header}`, such as "]
    lines[-1] += f"`{contract.example()}`; an empty field is missing."
    return "\n".join(lines)


def _kind(name, source, contract, column):
    if column in contract.numeric:
        return f"{column} number"
    values = contract.categorical[column]
    numbers = sum(bool(re.fullmatch(cells.NUMBER, x)) for x in values)
    asked = column in source.options.get("categorical", ())
    hint = ""
    if 2 * numbers > len(values) and not asked:  # one "n/a" makes strings of all
        hint = f", most are numbers: --option {name}.numeric={column} takes it as such"
    return f"{column} category ({len(values)} values{hint})"


def _readable(rows, own, root, on_bad_row):
    """The rows without the cells that their column's kind cannot read."""
    rows, problems = rows.copy(), []
    bad = BadRows(on_bad_row, None, rows.index, reader="train")
    for column in rows:
        number = column in own.get("numeric", ()) or (
            pandas.api.types.is_numeric_dtype(rows[column])
        )
        if column in own.get("categorical", ()):
            make = cells.category
        elif number:
            make = cells.number
        else:
            continue  # strings are categories; what else it holds `Columns` tells
        wrong = np.zeros(len(rows), bool)
        for i, cell in enumerate(rows[column]):
            try:
                make(cell)
            except ValueError as error:
                wrong[i] = True
                problems.append(bad.row(i, column, "", str(error)))
        if wrong.any():
            rows[column] = rows[column].astype(object).where(~wrong, None)
    if on_bad_row == "raise":  # else `from_table` notes them, of every part
        bad.up_front(problems, root)
    return rows
