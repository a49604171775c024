"""Semi-paired batches: each holds a stated share of the rows with the rare part."""

import keras
import numpy as np


def semi_paired(having, batch_size, share=0.5, seed=0, epoch=0):
    """Row numbers of an epoch's batches, each with `share` of rows from `having`.

    Of unequal data most batches hold few rows of the rare modality, and its encoder
    learns from noise. Here each has round(share * batch_size) of them. Every row comes
    at least once; the rows of the side that is over first come again, in a new order.
    No batch has a row twice. The order is a function of seed and epoch alone.

    Example:
    >>> having = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    >>> rows = mmkeras.data.semi_paired(having, batch_size=4, share=0.25)
    >>> rows.shape, having[rows].sum(axis=1)
    ((2, 4), array([1, 1]))

    From a table: `from_table(table, model, batch_size=4, rows=rows.ravel())`.

    Args:
        having: array `(rows,)`, 1 where a row has the rare part, else 0: for instance
            `table.title.notna()`, or an array `title_present`.
        batch_size: Integer.
        share: Float between 0 and 1, of a batch's rows.
        seed: Integer.
        epoch: Integer; another gives another order.

    Returns:
        Integer array `(steps, batch_size)`.

    Raises:
        ValueError: `share` leaves one side without a row in a batch, or a side has
            fewer rows than a batch wants of it.
    """
    having = np.asarray(having).astype(bool)
    some = round(share * batch_size)
    if having.ndim != 1 or not 0 < some < batch_size:
        raise ValueError(
            f"`semi_paired` wants `having` of shape (rows,), and a `share` that leaves "
            f"each side a row of a batch. Received: shape {having.shape}, "
            f"share={share}, batch_size={batch_size}"
        )
    sides = [np.flatnonzero(having), np.flatnonzero(~having)]
    counts = [some, batch_size - some]
    for rows, count, words in zip(sides, counts, ("with", "without"), strict=True):
        if len(rows) < count:
            raise ValueError(
                f"`batch_size` wants {count} rows {words} the part in a batch. "
                f"Received: {len(rows)} such rows. Take another `share` or a smaller "
                f"`batch_size`."
            )
    pairs = list(zip(sides, counts, strict=True))
    steps = max(-(-len(rows) // count) for rows, count in pairs)
    rng = np.random.default_rng([seed, epoch])
    drawn = [_drawn(rows, count, steps, rng) for rows, count in pairs]
    return np.concatenate(drawn, axis=1)


class SemiPaired(keras.utils.PyDataset):
    """Semi-paired batches of arrays, such as cached features, for `fit`.

    Example:
    >>> there = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    >>> inputs = {"title": np.zeros((6, 3)), "title_present": there}
    >>> batches = mmkeras.data.SemiPaired(inputs, "title", batch_size=4, share=0.5)
    >>> len(batches), int(batches[0]["title_present"].sum())
    (2, 2)

    Args:
        inputs: dict, name -> array `(rows, ...)`.
        having: name of a modality, or an array as of `semi_paired`.
        batch_size: Integer.
        share: Float between 0 and 1, of a batch's rows that have it.
        labels: optional array, or dict of arrays, `(rows, ...)`.
        sample_weight: optional array `(rows,)`.
        seed: Integer; every epoch has an order of its own.

    Raises:
        ValueError: as `semi_paired`; a modality without `<name>_present`.
    """

    def __init__(
        self,
        inputs,
        having,
        batch_size,
        share=0.5,
        labels=None,
        sample_weight=None,
        seed=0,
    ):
        super().__init__()
        if isinstance(having, str):
            having = _presence(inputs, having)
        self._parts = [x for x in (inputs, labels, sample_weight) if x is not None]
        if labels is None and sample_weight is not None:
            raise ValueError("`sample_weight` wants `labels`. Received: labels=None.")
        self._draw = (having, batch_size, share, seed)
        self.epoch = 0
        self.rows = semi_paired(*self._draw, epoch=0)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, step):
        rows = self.rows[step]
        found = keras.tree.map_structure(lambda x: np.asarray(x)[rows], self._parts)
        return tuple(found) if len(found) > 1 else found[0]

    def on_epoch_end(self):
        self.epoch += 1
        self.rows = semi_paired(*self._draw, epoch=self.epoch)


def _presence(inputs, name):
    key = f"{name}_present"
    if key not in inputs:
        raise ValueError(
            f"`having` wants a modality of `inputs`, '{key}' beside it. Received: "
            f"'{name}'. Valid names: "
            f"{[x[:-8] for x in sorted(inputs) if x.endswith('_present')]}"
        )
    return inputs[key]


def _drawn(rows, count, steps, rng):
    """`(steps, count)` of rows: permutation after permutation, none twice in a step."""
    drawn, left = [], rng.permutation(rows)
    for _ in range(steps):
        step, left = left[:count], left[count:]
        if len(step) < count:
            again = rng.permutation(rows)
            new = ~np.isin(again, step)
            places = np.flatnonzero(new)[: count - len(step)]
            step = np.concatenate([step, again[places]])
            left = np.delete(again, places)
        drawn.append(step)
    return np.stack(drawn)
