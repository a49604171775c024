"""How much of a model's score needs interactions between modalities: EMAP.

Reference:
    Hessel and Lee 2020, Does my multimodal model learn cross-modal interactions?
    arXiv:2010.06572.
"""

import dataclasses

import keras
import numpy as np

# two modalities are worked out exactly up to so many pairs of rows
_PAIRS = 1_000_000
_PARTNERS = 100
# rows and bytes in one run of the trunk
_BATCH = 1024
_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class Emap:
    """The scores of the additive part of a model.

    Args:
        scores: dict, metric -> score of the additive part on the rows.
        whole: dict, metric -> score of the model on the same rows.
        rows: how many rows.
        partners: how many partners a row was averaged over; None: all, exactly.
    """

    scores: dict
    whole: dict
    rows: int
    partners: int | None


class Sample:
    """Keeps the features of all rows, or of some at random, as batches come.

    Args:
        limit: Integer, how many rows are kept at most; None: all.
        seed: Integer.
    """

    def __init__(self, limit=None, seed=0):
        self.limit = limit
        self._rng = np.random.default_rng(seed)
        self._kept, self._lots, self._seen = [], [], 0

    def add(self, features, presence):
        """Takes a batch, as `Trunk.features` gives it."""
        lots = self._rng.random(len(next(iter(presence.values()))))
        index = self._seen + np.arange(len(lots))
        self._seen += len(lots)
        self._kept.append((features, presence, index))
        self._lots.append(lots)
        if self.limit is not None and sum(map(len, self._lots)) > 2 * self.limit:
            self._cut()

    def rows(self):
        """Features and presence of the rows kept, and their places in the data."""
        self._cut()
        return self._kept[0]

    def _cut(self):
        lots = np.concatenate(self._lots)
        # the smallest lots, in the order of the data
        chosen = np.sort(np.argsort(lots, kind="stable")[: self.limit])

        def join(*parts):
            return np.concatenate(parts)[chosen]

        self._kept = [keras.tree.map_structure(join, *self._kept)]
        self._lots = [lots[chosen]]


def projection(cut, features, presence, samples=None, seed=0):
    """The closest sum over modalities to a model's outputs: its additive part.

    p(x) = sum_m E[f | x_m] - (M - 1) E[f], where the modalities other than x_m are
    those of rows drawn independently of each other; a row's feature and its presence
    move together. A model whose outputs are f = sum_m g_m(x_m) is its own projection.

    Two modalities are paired in all rows x rows ways up to 1,000,000 pairs, which is
    exact. Otherwise each E[f | x_m] is an average over `samples` partners, the same
    for all rows, and the averages are shifted to one mean, so that a sum over
    modalities still comes back as it is.

    Args:
        cut: `subsets.Trunk`, or what has its `names` and `answer`.
        features: dict, modality -> feature of all rows, as `Trunk.features` gives.
        presence: dict, modality -> array `(rows,)`.
        samples: Integer, partners of each row; default: all rows where that is exact,
            else 100. From two modalities and as many partners as rows it is exact.
        seed: Integer, of the partners.

    Returns:
        Array `(rows, outputs)` of float64, and the number of partners; None: exact.

    Raises:
        ValueError: `samples` is not 1 or more.
    """
    if samples is not None and samples < 1:
        raise ValueError(
            f"`emap_samples` wants 1 or more partners. Received: {samples}"
        )
    grid = _Grid(cut, features, presence)
    if len(cut.names) == 1:
        return grid.outputs(np.arange(grid.rows)[None]), None
    if len(cut.names) == 2 and _exact(grid.rows, samples):
        return _all_pairs(grid), None
    samples = samples or _PARTNERS
    rng = np.random.default_rng(seed)
    # E[f] over Latin squares: each row gives each of its features equally often
    whole = -(-samples // grid.rows) * grid.rows
    square = [_shuffled(rng, grid.rows, whole) for _ in cut.names]
    found = grid.outputs(np.array(square)).mean(0)
    for place in range(len(cut.names)):
        partners = [_shuffled(rng, grid.rows, samples) for _ in cut.names]
        part = _means(grid, place, np.array(partners))
        found = found + part - part.mean(0)
    return found, samples


def _exact(rows, samples):
    return rows**2 <= _PAIRS if samples is None else samples >= rows


def _all_pairs(grid):
    """E[f | x_1] + E[f | x_2] - E[f], all from one square of outputs."""
    every = np.arange(grid.rows)
    first, second = [], 0.0
    for own in grid.blocks():
        of_rows, of_mates = 0.0, []
        for outputs in grid.tiles(own, 0, np.array([every, every])):
            of_rows = of_rows + outputs.sum(0)
            of_mates.append(outputs.sum(1))
        first.append(of_rows)
        second = second + np.concatenate(of_mates)
    first = np.concatenate(first)
    return (first + second - first.mean(0)) / grid.rows


def _means(grid, place, partners):
    """E[f | x_place] of every row, over the partners' other modalities."""
    found = []
    for own in grid.blocks():
        found.append(sum(x.sum(0) for x in grid.tiles(own, place, partners)))
    return np.concatenate(found) / partners.shape[1]


def _shuffled(rng, rows, count):
    """`count` rows, each as often as the others, give or take one."""
    rounds = -(-count // rows)
    return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[:count]


class _Grid:
    """The outputs of rows put together from the modalities of several rows."""

    def __init__(self, cut, features, presence):
        self.cut, self.features, self.presence = cut, features, presence
        self.rows = len(presence[cut.names[0]])
        leaves = keras.tree.flatten(features)
        each = max(1, sum(x.nbytes for x in leaves) // self.rows)
        self.batch = int(np.clip(_BYTES // each, 1, _BATCH))

    def outputs(self, index):
        """Outputs `(count, outputs)`; index `(modalities, count)`: each one's row."""
        found = []
        for start in range(0, index.shape[1], self.batch):
            chosen = dict(
                zip(self.cut.names, index[:, start : start + self.batch], strict=True)
            )
            features = {
                name: keras.tree.map_structure(lambda x, i=i: x[i], self.features[name])
                for name, i in chosen.items()
            }
            presence = {name: self.presence[name][i] for name, i in chosen.items()}
            found.append(self.cut.answer(features, presence))
        return np.concatenate(found).astype("float64")

    def blocks(self):
        """The rows, as index arrays short enough for one run."""
        every = np.arange(self.rows)
        return [every[i : i + self.batch] for i in range(0, self.rows, self.batch)]

    def tiles(self, own, place, partners):
        """Yields outputs `(some partners, rows, outputs)` of the rows `own`.

        Modality number `place` is the row's, the others are the partner's: `partners`
        is `(modalities, partners)`.
        """
        high = max(1, self.batch // len(own))
        for top in range(0, partners.shape[1], high):
            index = np.repeat(partners[:, top : top + high], len(own), axis=1)
            index[place] = np.tile(own, index.shape[1] // len(own))
            outputs = self.outputs(index)
            yield outputs.reshape(-1, len(own), outputs.shape[-1])
