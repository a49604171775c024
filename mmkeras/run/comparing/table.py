"""The table of a comparison: scores with intervals, paired tests, costs, a sentence."""

import dataclasses
import io
from typing import NamedTuple

import numpy as np

from mmkeras import scores
from mmkeras.run.comparing import paired
from mmkeras.run.comparing.methods import SIMPLE
from mmkeras.run.comparing.words import sentence

_PERCENT = ("accuracy", "macro_f1", "auc_roc")
_LOWER_IS_BETTER = ("mae", "rmse")
_WORDS = {"macro_f1": "macro-F1", "auc_roc": "AUC-ROC", "mae": "MAE", "rmse": "RMSE"}


class Gap(NamedTuple):
    """A paired difference, above 0 where the first is better, and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One method's line.

    Args:
        name: of the method.
        tier: one of `methods.TIERS`.
        modalities: tuple of names.
        scores: dict, metric -> mean over seeds and folds; shares in percent.
        score: the first of them.
        better: the same, larger is better.
        interval: its 95 % interval, (low, high).
        deviation: standard deviation over the seeds, of the first metric; None for one.
        against: `Gap` to the best simple method.
        gap: `Gap` of the best method to this one.
        p: of `against`; None for that method itself.
        seconds: CPU seconds of one fit, mean.
        parameters: how many train.
        latency: ms for one row, encoders in, median; or None.
    """

    name: str
    tier: str
    modalities: tuple
    scores: dict
    score: float
    better: float
    interval: tuple
    deviation: float | None
    against: Gap
    gap: Gap
    p: float | None
    seconds: float
    parameters: int
    latency: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` gives.

    Args:
        rows: tuple of `Row`, in the order of `methods.methods`.
        metrics: names; the first is the one that is tested.
        baseline: name of the simple method with the best score.
        notes: tuple of strings: what interval, test and costs are.
    """

    rows: tuple
    metrics: tuple
    baseline: str
    notes: tuple

    @property
    def sentence(self):
        """Which method to ship, and why."""
        metric = self.metrics[0]
        unit = " points" if metric in _PERCENT else ""
        return sentence(list(self.rows), words(metric), unit)

    def to_frame(self):
        """DataFrame, a row per method."""
        import pandas

        first = self.metrics[0]
        rows = []
        for x in self.rows:
            row = {"method": x.name, **x.scores}
            row |= {f"{first}_low": x.interval[0], f"{first}_high": x.interval[1]}
            row |= {f"{first}_sd_over_seeds": x.deviation, "difference": x.against.mean}
            row |= {"difference_low": x.against.low, "difference_high": x.against.high}
            row |= {"p": x.p, "fit_cpu_seconds": x.seconds}
            row |= {"trained_parameters": x.parameters, "latency_ms": x.latency}
            rows.append(row)
        return pandas.DataFrame(rows).set_index("method")

    def cells(self):
        """The table's head and lines, as strings."""
        first, *others = self.metrics
        unit = " %" if first in _PERCENT else ""
        head = ["method", f"{words(first)}{unit}", "95 % interval"]
        head += [f"{words(x)}{' %' if x in _PERCENT else ''}" for x in others]
        head += ["against baseline", "p", "fit CPU s", "trained", "ms a row"]
        lines = [head]
        for x in self.rows:
            line = [x.name, _number(x.score), " to ".join(map(_number, x.interval))]
            line += [_number(x.scores[metric]) for metric in others]
            if x.p is None:
                line += ["baseline", ""]
            else:
                ends = f"{_signed(x.against.low)} to {_signed(x.against.high)}"
                line += [f"{_signed(x.against.mean)} ({ends})", _chance(x.p)]
            latency = "" if x.latency is None else f"{x.latency:.1f}"
            line += [f"{x.seconds:.1f}", f"{x.parameters:,}", latency]
            lines.append(line)
        return lines

    def __str__(self):
        lines = self.cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = io.StringIO()
        for first, *others in lines:
            padded = [x.rjust(w) for x, w in zip(others, widths[1:], strict=True)]
            text.write("  ".join([first.ljust(widths[0]), *padded]).rstrip() + "\n")
        return "\n".join([text.getvalue(), *self.notes, "", self.sentence])

    def to_markdown(self):
        """Table, notes and sentence as Markdown."""
        head, *lines = self.cells()
        rule = ["---"] + ["---:"] * (len(head) - 1)
        table = [f"| {' | '.join(x)} |" for x in (head, rule, *lines)]
        notes = [f"- {x}" for x in self.notes]
        return "\n".join([self.sentence, "", *table, "", *notes, ""])


def words(metric):
    return _WORDS.get(metric, metric)


class Runs(NamedTuple):
    """A method and what its runs gave.

    Args:
        method: `methods.Method`.
        outputs: list of folds, each a list of arrays, one a seed: the test outputs.
        seconds: mean CPU seconds.
        parameters: Integer.
        latency: ms, or None.
    """

    method: object
    outputs: list
    seconds: float
    parameters: int
    latency: float | None


def comparison(runs, labels, sizes, kind, notes=(), groups=None):
    """The table of finished runs.

    Args:
        runs: list of `Runs`.
        labels: list of folds, the labels of each one's test rows.
        sizes: mean numbers of training and of test rows.
        kind: "single", "multi" or "number".
        notes: further notes.
        groups: optional array, of one split, whose equal values tell the test rows
            that belong together.
    """
    metrics = scores.OF_KIND[kind][:2]
    found = {x.method.name: _scores(x, labels, metrics) for x in runs}  # by fold, seed
    # test rows of one class have no area under the curve: nothing to rank by
    undefined = [
        x for x in metrics if any(np.isnan(v[x]).any() for v in found.values())
    ]
    metrics = (*(x for x in metrics if x not in undefined), *undefined)
    metric = metrics[0]
    factor = 100.0 if metric in _PERCENT else 1.0
    sign = -factor if metric in _LOWER_IS_BETTER else factor
    better = {name: sign * x[metric].mean() for name, x in found.items()}
    simple = [x.method.name for x in runs if x.method.tier in SIMPLE]
    baseline = max(simple, key=better.get)
    best = max(better, key=better.get)  # ties: the simpler one, which comes first
    if len(labels) > 1:
        measure = _OverFolds({k: x[metric] for k, x in found.items()}, sizes)
    else:
        measure = _OverRows(runs, labels[0], metric, groups)
    rows = []
    for x in runs:
        name, own = x.method.name, found[x.method.name]
        means = {k: _factor(k) * float(v.mean()) for k, v in own.items()}
        low, high = sorted(factor * v for v in measure.interval(name))
        gap, p = measure.difference(name, baseline, sign)
        spread = own[metric].mean(0)
        row = Row(
            name=name,
            tier=x.method.tier,
            modalities=x.method.modalities,
            scores=means,
            score=means[metric],
            better=better[name],
            interval=(low, high),
            deviation=factor * float(spread.std(ddof=1)) if len(spread) > 1 else None,
            against=gap,
            gap=measure.difference(best, name, sign)[0],
            p=None if name == baseline else p,
            seconds=x.seconds,
            parameters=x.parameters,
            latency=x.latency,
        )
        rows.append(row)
    what = "the simple method (no fusion) with the best score, which favours it"
    notes = (f"Baseline: {baseline}, {what}.", measure.note, *notes)
    return Comparison(tuple(rows), metrics, baseline, notes)


class _OverRows:
    """Intervals and tests over the test rows of one split."""

    def __init__(self, runs, labels, metric, groups=None):
        boot = paired.Bootstrap(labels, metric, groups=groups)
        self._outputs = {x.method.name: x.outputs[0] for x in runs}
        self._draws = {k: boot.draws(x) for k, x in self._outputs.items()}
        self._labels, self._metric = labels, metric
        # McNemar's test takes each row for itself
        self._counts = metric == "accuracy" and groups is None
        test = "bootstrap of the paired difference"
        if self._counts:
            test = "exact McNemar test, the median over the seeds"
        rows = f"{len(labels)} test rows"
        if groups is not None:
            rows += f", {len(set(map(str, groups)))} groups of them,"
        self.note = (
            f"Intervals: bootstrap over the {rows} and the seeds, 95 %; differences "
            f"are paired by row. p: {test}; not corrected for the number of methods."
        )

    def interval(self, name):
        return paired.interval(self._draws[name])

    def difference(self, name, other, sign):
        draws = sign * (self._draws[name] - self._draws[other])
        mean = sign * (self._mean(name) - self._mean(other))
        if name == other:
            return Gap(0.0, 0.0, 0.0), None
        gap = Gap(mean, *paired.interval(draws))
        return gap, self._p(name, other) if self._counts else paired.share_beyond(draws)

    def _mean(self, name):
        score = scores.SCORES[self._metric]
        return float(np.mean([score(self._labels, x) for x in self._outputs[name]]))

    def _p(self, name, other):
        first, second = self._outputs[name], self._outputs[other]
        found = []
        for i in range(max(len(first), len(second))):
            pair = first[i % len(first)], second[i % len(second)]
            right = [x.argmax(-1) == self._labels for x in pair]
            found.append(paired.mcnemar(*right))
        return float(np.median(found))


class _OverFolds:
    """Intervals and tests over the folds of a cross-validation."""

    def __init__(self, found, sizes):
        self._folds = {name: x.mean(1) for name, x in found.items()}
        self._sizes = sizes
        count = len(next(iter(self._folds.values())))
        self.note = (
            f"Intervals and p: t-test over {count} folds (the mean of the seeds in "
            f"each), corrected for the training rows that folds share (Nadeau and "
            f"Bengio, 2003); not corrected for the number of methods."
        )

    def interval(self, name):
        return paired.corrected_t(self._folds[name], *self._sizes)[1:3]

    def difference(self, name, other, sign):
        if name == other:
            return Gap(0.0, 0.0, 0.0), None
        d = sign * (self._folds[name] - self._folds[other])
        mean, low, high, p = paired.corrected_t(d, *self._sizes)
        return Gap(mean, low, high), p


def _scores(runs, labels, metrics):
    """Dict, metric -> array `(folds, seeds)`."""
    return {
        metric: np.array(
            [
                [scores.SCORES[metric](y, x) for x in outputs]
                for y, outputs in zip(labels, runs.outputs, strict=True)
            ]
        )
        for metric in metrics
    }


def _factor(metric):
    return 100.0 if metric in _PERCENT else 1.0


def _number(x):
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.3g}"


def _chance(p):
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def _signed(x):
    return f"{x:+.1f}" if abs(x) >= 1 or x == 0 else f"{x:+.2g}"
