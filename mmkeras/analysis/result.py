"""What `modality_report` gives: scores by subset, and what follows from them."""

import dataclasses

import numpy as np

from mmkeras import scores
from mmkeras.analysis import shapley, summary
from mmkeras.analysis.subsets import label


@dataclasses.dataclass(frozen=True)
class ModalityReport:
    """What `modality_report` gives.

    `score` is a metric with some modalities shown. What follows from the scores counts
    upwards: positive is better, also where a metric is lower for better ("mae",
    "rmse").

    - `shapley`: what a modality adds, averaged over all orders of showing them; sums to
      score(all) - score(none), each modality's fair share of that.
    - `unique`: what is lost without it, score(all) - score(all but it). Near 0: the
      others tell the same, and it could be left out.
    - `solo`: what it gives alone, score(it) - score(none). Solo above unique: part of
      what it tells is shared with others; unique above solo: it needs others.
    - `pairs`: the same for two modalities, averaged over what else is shown: above 0
      they need each other, below 0 they share.
    - `interaction`: score(all) less that of the additive part of the model's outputs
      (EMAP): how much of the score needs the modalities to be read together. Modalities
      may need each other (pairs) without it: two that only add up their evidence also
      cross a threshold together.

    Args:
        modalities: tuple of names, sorted.
        kind: "single", "multi" or "number" (see `mmkeras.heads`).
        classes: tuple of the outputs' names.
        metrics: tuple of names; the first is the one that plots draw.
        table: dict, subset (tuple of names) -> dict, metric -> float.
        rows: how many rows were scored.
        present: dict, subset -> how many of the rows have all of it.
        confusion: counts `(classes, classes)` with all modalities shown, rows are the
            labels, columns the predictions; None unless `kind` is "single".
        by_class: dict, subset -> dict, "precision", "recall", "f1" and "rows" -> array
            `(classes,)`; None for numbers, and where outputs may be no logits.
        emap: `emap.Emap`, the scores of the additive part; None: not asked for.
        draws: `bootstrap.Draws`; None: not asked for.
        calibration: `CalibrationReport` with all modalities shown, at the model's
            temperature; None for numbers, and without a head of `mmkeras.heads`.
    """

    modalities: tuple
    kind: str
    classes: tuple
    metrics: tuple
    table: dict
    rows: int
    present: dict
    confusion: np.ndarray | None = None
    by_class: dict | None = None
    emap: object = None
    draws: object = None
    calibration: object = None

    def score(self, subset=None, metric=None):
        """One score.

        Args:
            subset: names of the modalities shown, in any order; default: all.
            metric: name; default: the first.

        Raises:
            ValueError: unknown modality or metric.
        """
        return self.table[self._subset(subset)][self._metric(metric)]

    def interval(self, subset=None, metric=None):
        """The bootstrap interval `(low, high)` of `score`.

        Raises:
            ValueError: unknown modality or metric, or made without `bootstrap`.
        """
        self._drawn()
        drawn = self.draws.table[self._metric(metric)]
        return self.draws.interval(drawn[self._subset(subset)])

    def shapley(self, metric=None):
        """Dict, modality -> Shapley value; they sum to score(all) - score(none)."""
        return shapley.values(self._gains(metric))

    def shapley_per_class(self, score="recall"):
        """DataFrame, a row per class: a score with none and all, the Shapley values.

        Args:
            score: "recall", "precision" or "f1" of the class.

        Raises:
            ValueError: unknown score, or there are no classes.
        """
        import pandas

        if self.by_class is None:
            raise ValueError(
                f"`shapley_per_class` wants classes, from a head of `mmkeras.heads` "
                f"where several belong to a row. Received: kind={self.kind!r}"
            )
        table = {subset: row.get(score) for subset, row in self.by_class.items()}
        if score not in ("recall", "precision", "f1"):
            raise ValueError(
                f"`score` wants 'recall', 'precision' or 'f1'. Received: {score!r}"
            )
        columns = {
            "rows": self.by_class[()]["rows"],
            "none": table[()],
            **shapley.values(table),
            "all": table[self.modalities],
        }
        return pandas.DataFrame(columns, index=pandas.Index(self.classes, name="class"))

    def parts(self, metric=None):
        """DataFrame, a row per modality: shapley, unique and solo.

        With `bootstrap`, also `<column>_low` and `<column>_high`.
        """
        return self._frame(
            metric,
            {
                "shapley": shapley.values,
                "unique": shapley.unique,
                "solo": shapley.solo,
            },
            "modality",
        )

    def pairs(self, metric=None):
        """DataFrame, a row per pair of modalities: what they add only together.

        With `bootstrap`, also `together_low` and `together_high`.
        """
        return self._frame(metric, {"together": shapley.pairs}, "pair")

    def interaction(self, metric=None):
        """score(all) - score of the additive part (EMAP), positive: it helps.

        Raises:
            ValueError: made without `emap`.
        """
        metric = self._metric(metric)
        if self.emap is None:
            raise ValueError(
                "`interaction` wants a report with EMAP: "
                "`modality_report(..., emap=True)`."
            )
        return _sign(metric) * (self.emap.whole[metric] - self.emap.scores[metric])

    def interaction_interval(self, metric=None):
        """The bootstrap interval `(low, high)` of `interaction`.

        The additive part stays that of the given rows: an interval for other rows of
        the same model and the same marginals.

        Raises:
            ValueError: made without `emap` or `bootstrap`.
        """
        self.interaction(metric)
        self._drawn()
        metric = self._metric(metric)
        return self.draws.interval(_sign(metric) * self.draws.interaction[metric])

    def to_frame(self):
        """DataFrame, a row per subset: the metrics, and the rows that have it all.

        With `bootstrap`, also `<metric>_low` and `<metric>_high`.
        """
        import pandas

        rows = []
        for subset, found in self.table.items():
            row = {"modalities": label(subset)}
            for metric in self.metrics:
                row[metric] = found[metric]
                if self.draws is not None:
                    low, high = self.interval(subset, metric)
                    row |= {f"{metric}_low": low, f"{metric}_high": high}
            rows.append({**row, "rows": self.present[subset]})
        return pandas.DataFrame(rows).set_index("modalities")

    def per_class(self):
        """DataFrame, a row per class: precision, recall, F1 and rows.

        Raises:
            ValueError: the labels are not one class a row.
        """
        import pandas

        if self.confusion is None:
            raise ValueError(
                f"`per_class` wants one class a row. Received: kind={self.kind!r}"
            )
        columns = scores.per_class(self.confusion)
        return pandas.DataFrame(columns, index=pandas.Index(self.classes, name="class"))

    def summary(self, metric=None):
        """The table of scores and, of several modalities, what each one adds."""
        if len(self.modalities) == 1:
            return str(self)
        return f"{self}\n\n{summary.contributions(self, metric)}"

    def __str__(self):
        return summary.scores(self)

    def _subset(self, subset):
        wanted = set(self.modalities if subset is None else subset)
        key = tuple(x for x in self.modalities if x in wanted)
        if len(key) != len(wanted):
            raise ValueError(
                f"`subset` wants names of {self.modalities}. Received: {sorted(wanted)}"
            )
        return key

    def _metric(self, metric):
        metric = metric or self.metrics[0]
        if metric not in self.metrics:
            raise ValueError(
                f"`metric` wants one of {self.metrics}. Received: metric={metric!r}"
            )
        return metric

    def _drawn(self):
        if self.draws is None:
            raise ValueError(
                "An interval wants a report with a bootstrap: "
                "`modality_report(..., bootstrap=1000)`."
            )

    def _gains(self, metric, drawn=False):
        """Subset -> score, or array of drawn scores, where higher is better."""
        metric = self._metric(metric)
        if drawn:
            table = self.draws.table[metric]
        else:
            table = {subset: row[metric] for subset, row in self.table.items()}
        return {subset: _sign(metric) * x for subset, x in table.items()}

    def _frame(self, metric, columns, index):
        import pandas

        found = {}
        for name, function in columns.items():
            found[name] = function(self._gains(metric))
            if self.draws is not None:
                spans = function(self._gains(metric, drawn=True)).items()
                spans = {key: self.draws.interval(x) for key, x in spans}
                found[f"{name}_low"] = {key: x[0] for key, x in spans.items()}
                found[f"{name}_high"] = {key: x[1] for key, x in spans.items()}
        keys = next(iter(found.values()))
        named = [x if isinstance(x, str) else label(x) for x in keys]
        rows = {name: list(x.values()) for name, x in found.items()}
        return pandas.DataFrame(rows, index=pandas.Index(named, name=index))


def _sign(metric):
    return -1 if metric in scores.LOWER_IS_BETTER else 1
