"""What all corruptions share: the meaning of level 0, and their random numbers."""

import functools
import zlib

import numpy as np


def corruption(function):
    """Makes a function `(value, level, rng, ...)` a corruption.

    At level 0 it gives the very value that it was given, whatever the function does:
    zero noise is the identity, bit for bit.

    Raises:
        ValueError: `level` is not in [0, 1].
    """

    @functools.wraps(function)
    def corrupted(value, level, rng=None, **kwargs):
        if not 0 <= level <= 1:  # NaN too
            raise ValueError(f"`level` wants a number in [0, 1]. Received: {level}")
        if level == 0:
            return value
        return function(value, level, rng, **kwargs)

    return corrupted


def generator(seed, modality, corruption, row):
    """The random numbers of one row: the same at every level and batch size.

    Args:
        seed: Integer.
        modality: name.
        corruption: name.
        row: Integer, the row's place in the dataset.
    """
    words = [zlib.crc32(x.encode()) for x in (modality, corruption)]
    return np.random.default_rng([seed, *words, row])


def lacking(rate, seed, modality, rows):
    """Which rows lose a modality: those lost at a rate are among those at a higher.

    Example:
    >>> from mmkeras.analysis.noise.level import lacking
    >>> lacking(0.5, 0, "photo", range(6))
    array([ True, False,  True,  True, False, False])

    Args:
        rate: Float in [0, 1], probability p that a row loses it.
        seed: Integer.
        modality: name.
        rows: places of the rows in the dataset.

    Returns:
        Boolean array `(rows,)`.
    """
    draws = [generator(seed, modality, "missing", row).random() for row in rows]
    return np.array(draws) < rate
