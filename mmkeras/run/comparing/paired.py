"""Paired comparisons: is one method ahead of another, on the same rows or folds?

In numpy and the standard library: scipy is only what the tests check it against, but
for the t distribution, which comes with scikit-learn (`mmkeras[cli]`).
"""

import math

import numpy as np

from mmkeras import scores

#: Resamples of the rows; fewer for scores that are no mean over the rows.
DRAWS = 2000
_SLOW_DRAWS = 200
_MEANS = ("accuracy", "mae")


def mcnemar(right, other):
    """Exact McNemar test: do two methods err on equally many rows?

    p = min(1, 2 P(X <= min(b, c))) for X ~ Binomial(b + c, 1/2), with b rows that only
    the first has right and c rows that only the second has.

    Example:
    >>> right, other = np.array([1, 1, 1, 1, 1]), np.array([1, 0, 0, 0, 0])
    >>> mmkeras.run.comparing.paired.mcnemar(right, other)
    0.125

    Args:
        right: array `(rows,)` of 0 and 1: which rows the first method has right.
        other: the same of the second method.

    Returns:
        Float: two-sided p; 1 where they never differ.

    Reference:
        - [Dietterich, 1998](https://doi.org/10.1162/089976698300017197), section 3.1;
          its chi-square in place of the exact binomial.
    """
    right, other = np.asarray(right, bool), np.asarray(other, bool)
    first, second = int((right & ~other).sum()), int((other & ~right).sum())
    count = first + second
    tail = sum(math.comb(count, i) for i in range(min(first, second) + 1))
    # integers until the end: 2 ** -1100 is 0 as a float
    return min(1.0, 2 * tail / 2**count)


def corrected_t(differences, train, test):
    """Corrected resampled t-test over the folds of a cross-validation.

    t = mean(d) / sqrt((1 / J + test / train) var(d)) with J - 1 degrees of freedom:
    folds share training rows, so the plain 1 / J is too sure.

    Example:
    >>> test = mmkeras.run.comparing.paired.corrected_t
    >>> mean, low, high, p = test([1.0, 2.0, 3.0], 60, 30)
    >>> round(mean, 3), round(p, 3)
    (2.0, 0.16)

    Args:
        differences: one number a fold.
        train: number of rows that a fold trains on.
        test: number of rows that a fold tests on.

    Returns:
        Mean, ends of the 95 % interval, two-sided p that the mean is 0.

    Reference:
        - [Nadeau and Bengio, 2003](https://doi.org/10.1023/A:1024068626366)
    """
    from scipy import stats

    d = np.asarray(differences, float)
    mean, freedom = float(d.mean()), len(d) - 1
    error = math.sqrt((1 / len(d) + test / train) * d.var(ddof=1))
    if error == 0:
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    reach = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return mean, mean - reach, mean + reach, p


class Bootstrap:
    """Scores on resampled rows and seeds; the same resamples for every method.

    Two methods differ by `draws(a) - draws(b)`: pairs, since draw i is of the same rows
    in both. A method of several seeds is their mean, over seeds drawn anew each time.

    Args:
        labels: as `mmkeras.scores` takes them.
        metric: name of a score there.
        seed: Integer.
        groups: optional array `(rows,)`: rows with the same value are drawn together.
    """

    def __init__(self, labels, metric, seed=0, groups=None):
        self.labels, self.metric = np.asarray(labels), metric
        self._generator = np.random.default_rng(seed)
        count = DRAWS if metric in _MEANS else _SLOW_DRAWS
        members = None if groups is None else _members(groups)
        units = len(self.labels if members is None else members)
        self.rows = self._generator.integers(0, units, (count, units))
        if members is not None:
            self.rows = [np.concatenate([members[i] for i in x]) for x in self.rows]

    def draws(self, outputs):
        """Scores `(draws,)` of a method: list of outputs, one array a seed."""
        found = np.stack([self._of_seed(x) for x in outputs], axis=1)
        count, seeds = found.shape
        chosen = np.random.default_rng(seeds).integers(0, seeds, (count, seeds))
        return np.take_along_axis(found, chosen, axis=1).mean(1)

    def _of_seed(self, outputs):
        if self.metric in _MEANS:
            each = by_row(self.labels, outputs, self.metric)
            return np.array([each[i].mean() for i in self.rows])
        score = scores.SCORES[self.metric]
        return np.array([score(self.labels[i], outputs[i]) for i in self.rows])


def _members(groups):
    """The rows of each group; a missing one is a group of its own."""
    import pandas

    places, names = pandas.factorize(np.asarray(groups))
    alone = [np.array([i]) for i in np.flatnonzero(places < 0)]
    return [np.flatnonzero(places == i) for i in range(len(names))] + alone


def by_row(labels, outputs, metric):
    """What "accuracy" or "mae" is the mean of, `(rows,)`."""
    if metric == "accuracy":
        return (outputs.argmax(-1) == labels).astype(float)
    error = np.abs(np.asarray(labels, float).reshape(outputs.shape) - outputs)
    return error.reshape(len(labels), -1).mean(1)


def interval(draws):
    """The middle 95 % of draws."""
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def share_beyond(draws):
    """Two-sided bootstrap p that a difference is 0: twice the smaller tail.

    Draws without a score (no row of some class) do not count; NaN where none has one.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return float("nan")
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))
