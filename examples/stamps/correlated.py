"""Linear CCA with ridges, tuned on the validation rows: a control of retrieval.py."""

import itertools

import numpy as np

import mmkeras as mm

RIDGES = (0.3, 1.0, 3.0, 10.0)
UNITS = (50, 100, 200)


def best(rows, a, b, more=None):
    """The report on the test rows of the CCA that finds most validation rows.

    Args:
        rows: dict, split -> inputs of the towers.
        a: name of a modality.
        b: name of another.
        more: optional dict, modality -> array, further rows to fit on.
    """
    train = _paired(rows["train"], a, b)
    if more is not None:
        train = {x: np.concatenate([y, more[x]]) for x, y in train.items()}
    middle = {x: y.mean(0) for x, y in train.items()}
    whitened = {x: _whitening(train[x] - middle[x]) for x in (a, b)}
    found = []
    for ridges in itertools.product(RIDGES, RIDGES):
        u, s, v = _directions(
            train, middle, whitened, dict(zip((a, b), ridges, strict=True))
        )
        for units in UNITS:
            maps = {a: u[:, :units] * s[:units], b: v[:, :units] * s[:units]}
            found.append((_score(rows["val"], middle, maps), maps))
    _, maps = max(found, key=lambda x: x[0])
    return _report(rows["test"], middle, maps)


def _paired(rows, a, b):
    both = (rows[f"{a}_present"] * rows[f"{b}_present"]) > 0
    return {x: rows[x][both].astype("float64") for x in (a, b)}


def _whitening(x):
    _, s, v = np.linalg.svd(x, full_matrices=False)
    return v.T, s**2 / len(x)


def _directions(train, middle, whitened, ridges):
    """Canonical directions and correlations."""
    maps = {}
    for name, (v, variance) in whitened.items():
        maps[name] = v / np.sqrt(variance + ridges[name] * variance.mean())
    a, b = ((train[x] - middle[x]) @ maps[x] for x in maps)
    u, s, v = np.linalg.svd(a.T @ b / len(a), full_matrices=False)
    a, b = maps.values()
    return a @ u, s, b @ v.T


def _report(rows, middle, maps):
    found = {}
    for name, w in maps.items():
        there = rows[f"{name}_present"][:, None] > 0
        found[name] = np.where(there, (rows[name] - middle[name]) @ w, 0)
    return mm.analysis.retrieval(found)


def _score(rows, middle, maps):
    return np.mean([x["mrr"] for x in _report(rows, middle, maps).table.values()])
