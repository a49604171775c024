"""The order of the rows in a pass over shards: a pure function of seed and epoch."""

import numpy as np

#: Shards whose rows take turns.
_OPEN = 8


def shard_order(shards, seed, epoch, buffer, batch_size=None, workers=1):
    """Row numbers of one shuffled pass that reads shards from begin to end.

    The shards come in a drawn order, the rows of each eight of them by turns, and each
    `buffer` rows that come so are shuffled. Several workers share the row of rows: the
    first takes the first part and so on, so that only the shards at the seams are read
    by two; the parts are then laid side by side in each batch.

    Example:
    >>> mm.data.shard_order(np.array([0, 0, 1, 1]), seed=0, epoch=0, buffer=1)
    array([0, 2, 1, 3])

    Args:
        shards: integer array `(rows,)`, the shard of each row; rows of a shard in the
            order of the table.
        seed: Integer.
        epoch: Integer, passes before this one.
        buffer: Integer, rows that are shuffled together.
        batch_size: Integer, of all workers together; where there are several.
        workers: Integer.

    Returns:
        int64 array `(rows,)`.
    """
    generator = np.random.default_rng([seed, epoch])
    names, shards = np.unique(shards, return_inverse=True)
    turn = generator.permutation(len(names))[shards]
    rows = np.lexsort((turn, _within(shards), turn // _OPEN))
    if workers == 1:
        return _mixed(rows, buffer, generator)
    full = len(rows) // batch_size * batch_size
    owner = np.arange(full) % batch_size * workers // batch_size
    found = np.empty_like(rows)
    for i, mine in enumerate(np.split(rows[:full], workers)):
        found[:full][owner == i] = _mixed(mine, buffer, generator)
    found[full:] = _mixed(rows[full:], buffer, generator)
    return found


def _within(shards):
    """The place of each row among those of its shard."""
    by_shard = np.argsort(shards, kind="stable")
    _, first, counts = np.unique(
        shards[by_shard], return_index=True, return_counts=True
    )
    within = np.empty(len(shards), "int64")
    within[by_shard] = np.arange(len(shards)) - np.repeat(first, counts)
    return within


def _mixed(rows, buffer, generator):
    parts = [
        generator.permutation(rows[i : i + buffer]) for i in range(0, len(rows), buffer)
    ]
    return np.concatenate([rows[:0], *parts])
