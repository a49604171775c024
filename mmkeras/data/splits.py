"""Splits of a table into train, val and test: by column, stratified, grouped."""

import math

import numpy as np

from mmkeras.data.bad import rows_text
from mmkeras.data.table import as_frame, is_missing, want_column

_FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


def split(table, fractions=None, *, stratify=None, group=None, seed=0):
    """Splits a table's rows: the same rows for the same seed, none twice.

    Units (rows, or groups of rows) are taken in a random order, the largest groups
    first, and each goes to the part that lacks it most: the one with the largest
    sum over classes c of n_c (wanted_c - had_c) / total_c^2, which lowers the squared
    error of the classes' shares the most.

    Example:
    >>> import pandas
    >>> table = pandas.DataFrame({"label": ["cat", "dog"] * 10})
    >>> parts = mm.data.split(table, {"train": 0.8, "test": 0.2}, stratify="label")
    >>> sorted(parts["test"]["label"])
    ['cat', 'cat', 'dog', 'dog']

    Args:
        table: path or DataFrame.
        fractions: dict, part -> share, that sum to 1; or a column that names each
            row's part. Default: train 0.7, val 0.15, test 0.15.
        stratify: column whose values each part gets its share of; an empty cell is a
            value of its own.
        group: column whose equal values stay together (a person, a product); rows
            where it is empty stand alone.
        seed: Integer.

    Returns:
        dict, part -> DataFrame, rows in the table's order with the table's index.

    Raises:
        ValueError: fractions that do not sum to 1, a missing column, a part without
            rows.
    """
    frame = as_frame(table)
    if isinstance(fractions, str):
        return _by_column(frame, fractions)
    fractions = _check(fractions or _FRACTIONS)
    groups = _codes(frame, group, "`group`", np.arange(len(frame)))
    classes = _codes(frame, stratify, "`stratify`", np.zeros(len(frame), int))
    part = _assign(groups, classes, list(fractions.values()), seed)
    parts = {x: _take(frame, part == i) for i, x in enumerate(fractions)}
    empty = [x for x, rows in parts.items() if not len(rows)]
    if empty:
        raise ValueError(
            f"The table has too few {'groups' if group else 'rows'} for the parts "
            f"{list(fractions)}: {empty} would be empty. "
            f"Received: {len(np.unique(groups))} of them"
        )
    return parts


def _by_column(frame, column):
    values = want_column(frame, column, "the split")
    missing = np.array([is_missing(x) for x in values])
    if missing.any():
        raise ValueError(
            f"Column '{column}' wants a part's name in every row. Received: none in "
            f"{rows_text(np.flatnonzero(missing), frame.index)}. Drop them: "
            f"table.dropna(subset=['{column}'])"
        )
    return {x: _take(frame, (values == x).to_numpy()) for x in values.unique()}


def _take(frame, chosen):
    part = frame[chosen]
    part.attrs.update(frame.attrs)  # the folder that paths start from
    return part


def _check(fractions):
    shares = list(fractions.values())
    if any(not 0 < x <= 1 for x in shares) or not math.isclose(sum(shares), 1.0):
        raise ValueError(
            f"`fractions` wants shares above 0 that sum to 1, or a column's name. "
            f"Received: {fractions}"
        )
    return fractions


def _codes(frame, column, purpose, default):
    """Integers that are equal where the column's values are."""
    if column is None:
        return default
    values = want_column(frame, column, purpose)
    codes = values.astype(str).factorize()[0]
    missing = np.array([is_missing(x) for x in values])
    if purpose == "`group`":  # an empty cell ties its row to nothing
        codes[missing] = codes.max() + 1 + np.arange(missing.sum())
    return codes


def _assign(groups, classes, shares, seed):
    """The part of each row, as an index into `shares`."""
    generator = np.random.default_rng(seed)
    names, unit = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), classes.max() + 1))
    np.add.at(counts, (unit, classes), 1)
    total = counts.sum(axis=0)
    wanted = np.outer(shares, total)
    had = np.zeros_like(wanted)
    sizes = counts.sum(axis=1)
    turn = generator.permutation(len(names))
    turn = turn[np.argsort(-sizes[turn], kind="stable")]
    chosen = np.empty(len(names), int)
    for i in turn:
        own = np.flatnonzero(counts[i])
        lack = wanted[:, own] - had[:, own]
        best = (counts[i, own] * lack / total[own] ** 2).sum(axis=1)
        chosen[i] = best.argmax()
        had[chosen[i], own] += counts[i, own]
    return chosen[unit]
