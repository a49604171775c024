"""Triples of a knowledge graph: (head, relation, tail) as names and as numbers."""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Triples:
    """A knowledge graph: what is linked to what, and how.

    Example:
    >>> graph = mmkeras.graph.Triples.of([("frog", "lives-in", "water")])
    >>> graph.entities, graph.relations, graph.ids.tolist()
    (('frog', 'water'), ('lives-in',), [[0, 0, 1]])

    Args:
        entities: tuple of names; an id is a place in it.
        relations: tuple of names.
        ids: int32 array `(triples, 3)`: head, relation, tail.
    """

    entities: tuple
    relations: tuple
    ids: np.ndarray

    @classmethod
    def of(cls, rows):
        """The graph of an iterable of (head, relation, tail), repeats once.

        Args:
            rows: tuples of three strings, or a DataFrame with the columns "head",
                "relation" and "tail".

        Raises:
            ValueError: no triples, or one that is not of three names.
        """
        if hasattr(rows, "columns"):
            rows = rows[["head", "relation", "tail"]].itertuples(index=False)
        found = {tuple(row) for row in rows}
        wrong = [x for x in found if len(x) != 3 or not all(map(_is_name, x))]
        if wrong or not found:
            raise ValueError(
                f"`rows` wants triples of names (head, relation, tail), at least one. "
                f"Received: {wrong[0] if wrong else 'none'}"
            )
        found = sorted(found)
        entities = sorted({x for head, _, tail in found for x in (head, tail)})
        relations = sorted({relation for _, relation, _ in found})
        place = {name: i for i, name in enumerate(entities)}
        kind = {name: i for i, name in enumerate(relations)}
        ids = [(place[h], kind[r], place[t]) for h, r, t in found]
        return cls(tuple(entities), tuple(relations), np.array(ids, "int32"))

    def split(self, share, seed=0):
        """Two graphs of the same names: (the rest, a share held out).

        An entity's or relation's last triple stays: what is held out can be answered.

        Args:
            share: Float in (0, 1), of the triples.
            seed: Integer.
        """
        entities = np.bincount(self.ids[:, [0, 2]].ravel(), minlength=self.size)
        relations = np.bincount(self.ids[:, 1], minlength=len(self.relations))
        held = np.zeros(len(self.ids), bool)
        for row in np.random.default_rng(seed).permutation(len(self.ids)):
            head, relation, tail = self.ids[row]
            pair = [head, tail]
            enough = entities[pair].min() > 1 + (head == tail)
            if held.sum() < share * len(held) and enough and relations[relation] > 1:
                np.subtract.at(entities, pair, 1)
                relations[relation] -= 1
                held[row] = True
        kept, out = self.ids[~held], self.ids[held]
        return dataclasses.replace(self, ids=kept), dataclasses.replace(self, ids=out)

    @property
    def size(self):
        """How many entities there are."""
        return len(self.entities)

    @functools.cached_property
    def known(self):
        """All triples as a set of tuples of ids."""
        return set(map(tuple, self.ids.tolist()))


def _is_name(value):
    return isinstance(value, str) and bool(value)
