"""What each modality adds, from a score for every subset of them. Exact, no sampling.

A table of 4 modalities has 16 scores, and all below are sums of them. Each function
takes a dict, subset (tuple of names) -> value, where higher is better; values are
numbers or arrays (a value a class, a value a bootstrap draw), all of one shape.
"""

import itertools
import math

from mmkeras.analysis.subsets import subsets


def values(table):
    """The Shapley value of each modality: what it adds, averaged over all orders.

    phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! (v(S + m) - v(S)). They add
    up to v(all) - v(none); one that changes no score has 0, two that are alike the
    same.

    Example:
    >>> table = {(): 0.2, ("photo",): 0.5, ("title",): 0.4, ("photo", "title"): 0.9}
    >>> {name: round(x, 3) for name, x in mm.analysis.shapley.values(table).items()}
    {'photo': 0.4, 'title': 0.3}

    Args:
        table: dict, subset of the names -> number or array; every subset is there, its
            names in the order of the largest.

    Returns:
        dict, modality -> number or array.

    Raises:
        ValueError: a subset is not in the table.

    Reference:
        Shapley 1953, A value for n-person games.
    """
    names = _names(table)
    found = {}
    for name in names:
        terms = [
            _share(len(rest), len(names)) * (table[_join(names, rest, name)] - low)
            for rest, low in table.items()
            if name not in rest
        ]
        found[name] = sum(terms)
    return found


def unique(table):
    """What only this modality gives: v(all) - v(all without it)."""
    names = _names(table)
    return {
        name: table[names] - table[tuple(x for x in names if x != name)]
        for name in names
    }


def solo(table):
    """What this modality gives alone: v({m}) - v(none)."""
    return {name: table[name,] - table[()] for name in _names(table)}


def pairs(table):
    """How much more two modalities give together than apart: Shapley interaction.

    I_ab = sum over S without a and b of |S|! (M - |S| - 2)! / (M - 1)!
    (v(S + a + b) - v(S + a) - v(S + b) + v(S)). Below 0: they share, each tells in part
    what the other does. Above 0: they need each other. 0: each adds the same whether
    or not the other is shown.

    Example:
    >>> xor = {(): 0.5, ("a",): 0.5, ("b",): 0.5, ("a", "b"): 1.0}
    >>> copies = {(): 0.5, ("a",): 1.0, ("b",): 1.0, ("a", "b"): 1.0}
    >>> mm.analysis.shapley.pairs(xor), mm.analysis.shapley.pairs(copies)
    ({('a', 'b'): 0.5}, {('a', 'b'): -0.5})

    Args:
        table: as in `values`.

    Returns:
        dict, pair of names -> number or array.

    Reference:
        Grabisch and Roubens 1999, An axiomatic approach to the concept of interaction.
    """
    names = _names(table)
    found = {}
    for pair in itertools.combinations(names, 2):
        one, other = pair
        terms = [
            _share(len(rest), len(names) - 1)
            * (
                table[_join(names, rest, *pair)]
                - table[_join(names, rest, one)]
                - table[_join(names, rest, other)]
                + low
            )
            for rest, low in table.items()
            if not set(pair) & set(rest)
        ]
        found[pair] = sum(terms)
    return found


def _names(table):
    """The names of the modalities: the largest subset, once all others are there."""
    names = max(table, key=len, default=())
    missing = [x for x in subsets(names) if x not in table]
    if missing:
        raise ValueError(f"`table` wants every subset. Received: none for {missing}")
    return names


def _share(before, count):
    """The share of the orders in which just these `before` of `count` come first."""
    return 1 / (count * math.comb(count - 1, before))


def _join(names, rest, *more):
    return tuple(x for x in names if x in rest or x in more)
