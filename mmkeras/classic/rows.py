"""The rows that a projection is fitted on, checked."""

import numpy as np


def present(values, presence, name="x"):
    """Features as float64 rows, those that are there.

    Args:
        values: array `(rows, dim)`.
        presence: optional array `(rows,)`; rows with 0 are left out.
        name: what the messages call `values`.

    Raises:
        ValueError: not of rank 2, of another length than `presence`, fewer than two
            rows, or a number that is none.
    """
    values = np.asarray(values, "float64")
    if values.ndim != 2:
        raise ValueError(
            f"`{name}` wants features (rows, dim). Received: shape {values.shape}"
        )
    values = values[there(presence, len(values))]
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise ValueError(
            f"`{name}` wants finite numbers. Received: NaN or infinity in {len(bad)} "
            f"rows, the first is row {bad[0]} of those present. Give `presence`, 0 "
            f"where a row lacks the modality."
        )
    if len(values) < 2:
        raise ValueError(
            f"`{name}` wants two rows or more that are present. Received: {len(values)}"
        )
    return values


def there(presence, count):
    """Boolean array `(count,)`: which rows are there; all, where None."""
    if presence is None:
        return np.ones(count, bool)
    presence = np.asarray(presence)
    if presence.shape != (count,):
        raise ValueError(
            f"`presence` wants a number for each of {count} rows. Received: shape "
            f"{presence.shape}"
        )
    return presence > 0


def signed(kernel):
    """Columns turned so that their largest entry is positive; either way is right."""
    largest = np.abs(kernel).argmax(0)
    signs = np.sign(kernel[largest, np.arange(kernel.shape[1])])
    return kernel * np.where(signs == 0, 1.0, signs)


def whitening(covariance):
    """W `(dim, rank)` with W' C W = 1, over the directions in which C is not 0."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * np.finfo("float64").eps
    return vectors[:, kept] / np.sqrt(values[kept])


def shrunk(covariance, amount):
    """(1 - a) C + a trace(C) / dim * 1: Ledoit and Wolf's form."""
    dim = len(covariance)
    return (1 - amount) * covariance + amount * np.trace(covariance) / dim * np.eye(dim)


def share(name, value):
    """`value`, if it is a number from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` wants a float in [0, 1]. Received: {value!r}")
    return value


def few(units, most, why):
    """Refuses more units than there are directions."""
    if units > most:
        raise ValueError(
            f"`units` wants at most {most}, {why}. Received: units={units}"
        )
