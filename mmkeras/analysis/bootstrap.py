"""Intervals by the bootstrap: how far would a score move with other rows?

Rows are drawn again with replacement, as often as there are rows, and everything is
worked out anew. A draw is a column of weights, how often each row was drawn, so that
the scores of all draws are a few products of matrices. The model does not run again.

Reference:
    Efron 1979, Bootstrap methods: another look at the jackknife. Percentile intervals.
"""

import dataclasses

import numpy as np

from mmkeras import scores

# weights are made for so many rows x draws at a time: 32 MB
_CELLS = 4_000_000


@dataclasses.dataclass(frozen=True)
class Draws:
    """The scores of every bootstrap draw.

    Args:
        table: dict, metric -> dict, subset -> array `(draws,)`.
        interaction: dict, metric -> array `(draws,)`; empty without EMAP.
        confidence: Float, the share of the draws inside an interval.
    """

    table: dict
    interaction: dict
    confidence: float

    def interval(self, values):
        """The percentile interval `(low, high)` of an array `(draws,)`.

        Draws without a value (no row of some class, say) do not count.
        """
        values = values[np.isfinite(values)]
        if not len(values):
            return float("nan"), float("nan")
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail])
        return float(low), float(high)


def weights(rows, draws=1000, groups=None, seed=0):
    """How often each row is drawn, in blocks `(rows, some draws)` of float64.

    Example:
    >>> (block,) = mm.analysis.bootstrap.weights(3, draws=500)
    >>> block.shape, np.unique(block.sum(0))
    ((3, 500), array([3.]))

    Args:
        rows: Integer.
        draws: Integer.
        groups: optional array `(rows,)`: rows of one value are drawn together (the
            frames of a film, the purchases of a customer), which are no independent
            evidence; one without (None, NaN) is alone. A draw then has as many groups
            as there are.
        seed: Integer.

    Raises:
        ValueError: `groups` does not name a group for each row.
    """
    member = np.arange(rows)
    if groups is not None:
        import pandas

        groups = np.asarray(groups)
        if groups.shape != (rows,):
            raise ValueError(
                f"`groups` wants one value for each of the {rows} rows, in their "
                f"order. Received: shape {groups.shape}"
            )
        member, known = pandas.factorize(groups)
        # an empty cell ties its row to nothing, as in `data.split`
        alone = member < 0
        member[alone] = len(known) + np.arange(alone.sum())
    count = member.max() + 1
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // max(rows, 1))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        # a draw a row, so that the blocks do not change what is drawn
        drawn = rng.multinomial(count, np.full(count, 1 / count), size)
        yield drawn.T.astype("float64")[member]


def drawn(metric, labels, outputs, block):
    """A metric of every draw, array `(draws,)`.

    Args:
        metric: a function `(labels, outputs) -> float`; those of `scores.SCORES` are
            worked out for all draws at once, others are called for each draw.
        labels: array `(rows, ...)`.
        outputs: array `(rows, outputs)`.
        block: weights `(rows, draws)`.
    """
    if metric in _WEIGHTED:
        return _WEIGHTED[metric](labels, outputs, block)
    found = []
    for column in block.T:
        rows = np.repeat(np.arange(len(column)), column.astype(int))
        found.append(float(metric(labels[rows], outputs[rows])))
    return np.array(found)


def _accuracy(labels, outputs, block):
    return _mean(outputs.argmax(-1) == labels, block)


def _mae(labels, outputs, block):
    return _mean(np.abs(scores.errors(labels, outputs)).mean(1), block)


def _rmse(labels, outputs, block):
    return np.sqrt(_mean((scores.errors(labels, outputs) ** 2).mean(1), block))


def _macro_f1(labels, outputs, block):
    if labels.ndim == 1:
        classes = np.arange(outputs.shape[-1])[:, None]
        truth, guess = labels == classes, outputs.argmax(-1) == classes
    else:
        truth, guess = labels.T > 0, outputs.T > 0
    hits = (truth & guess).astype("float64") @ block
    under = truth.astype("float64") @ block + guess.astype("float64") @ block
    # a class that no row of the draw has or is given: as in `scores.macro_f1`
    counts = (under > 0) | (labels.ndim == 2)
    return _average(2 * hits / np.where(under > 0, under, 1), counts)


def _auc_roc(labels, outputs, block):
    if labels.ndim == 1:
        labels = np.eye(outputs.shape[-1])[labels]
        outputs = scores.softmax(outputs)
    pairs = [_area(labels[:, i] > 0, x, block) for i, x in enumerate(outputs.T)]
    areas, defined = map(np.array, zip(*pairs, strict=True))
    return _average(areas, defined)


def _area(positive, outputs, block):
    """Areas under the curve `(draws,)`, and which of them there are."""
    order = np.argsort(outputs[~positive], kind="stable")
    negatives, above = outputs[~positive][order], block[positive]
    below = np.zeros((len(negatives) + 1, block.shape[1]))
    np.cumsum(block[~positive][order], axis=0, out=below[1:])
    total = above.sum(0) * below[-1]
    won = np.zeros(block.shape[1])
    for side in ("left", "right"):  # ties count half
        beaten = np.searchsorted(negatives, outputs[positive], side)
        won += np.einsum("rd,rd->d", above, below[beaten]) / 2
    return won / np.where(total > 0, total, 1), total > 0


def _mean(values, block):
    total = block.sum(0)
    return _over(values.astype("float64") @ block, total)


def _average(values, counts):
    """Means over the classes `(classes, draws)` that count in a draw."""
    return _over((values * counts).sum(0), counts.sum(0))


def _over(over, under):
    return np.where(under > 0, over / np.where(under > 0, under, 1), np.nan)


_WEIGHTED = {
    scores.accuracy: _accuracy,
    scores.macro_f1: _macro_f1,
    scores.auc_roc: _auc_roc,
    scores.mae: _mae,
    scores.rmse: _rmse,
}
