"""What `robustness` gives: curves, areas under them, and beside baselines."""

import dataclasses

import numpy as np

from mmkeras.analysis.robust.effective import aligned, compare


@dataclasses.dataclass(frozen=True)
class RobustnessReport:
    """What `robustness` gives.

    Args:
        modalities: tuple of the model's modalities, sorted.
        metrics: tuple of names; the first is the one that is printed and drawn.
        levels: tuple of floats; the first is 0.
        table: dict, (modality, corruption, level) -> dict, metric -> float.
        rows: how many rows were scored.
        at_one: dict, (modality, corruption) -> what level 1 is, in words.
    """

    modalities: tuple
    metrics: tuple
    levels: tuple
    table: dict
    rows: int
    at_one: dict

    @property
    def curves(self):
        """The (modality, corruption) pairs that were tried, in order."""
        return tuple(self.at_one)

    def clean(self, metric=None):
        """The score without corruption."""
        return self.curve(*self.curves[0], metric)[0]

    def curve(self, modality, corruption, metric=None):
        """The score at each of `levels`, as an array.

        Raises:
            ValueError: a pair that was not tried, or an unknown metric.
        """
        key, metric = (modality, corruption), self._metric(metric)
        if key not in self.at_one:
            raise ValueError(
                f"`modality` and `corruption` want one of {list(self.curves)}. "
                f"Received: {key}"
            )
        return np.array([self.table[*key, x][metric] for x in self.levels])

    def area(self, modality, corruption, metric=None):
        """Area under the curve, as a share of the clean score.

        Mean over the levels by the trapezoid rule, divided by the score at level 0: 1
        where nothing is lost. Above 1 is worse where a lower score is better.
        """
        curve = self.curve(modality, corruption, metric)
        middles, widths = (curve[1:] + curve[:-1]) / 2, np.diff(self.levels)
        mean = np.average(middles, weights=widths)
        return float(mean / curve[0]) if curve[0] else float("nan")

    def against(self, baselines, metric=None):
        """Relative and effective robustness beside baselines on the same rows.

        At each corruption and level, with the score on clean rows c, under the shift s:
        relative robustness is s - s_b of a baseline b; effective robustness is
        s - beta(c), where beta is the straight line through the baselines' logits,
        logit s_b = a + k logit c_b, by least squares. So above 0 the model withstands
        more than models of its clean score do. `effective.Comparison` says what one
        baseline gives, and errors.

        Args:
            baselines: dict, name -> `RobustnessReport`, or a list of them, or one. A
                baseline that lacks a modality is not touched by its corruptions.
            metric: name; default: the first.

        Returns:
            `effective.Comparison`.

        Raises:
            ValueError: no baseline, other rows, or curves that one did not try.

        Reference:
            Taori et al. 2020, arXiv:2007.00644.
        """
        if isinstance(baselines, RobustnessReport):
            baselines = [baselines]
        if not isinstance(baselines, dict):
            baselines = {f"baseline {i}": x for i, x in enumerate(baselines, 1)}
        return compare(self, baselines, self._metric(metric))

    def to_frame(self):
        """DataFrame, a row per modality, corruption and level: the metrics."""
        import pandas

        names = ["modality", "corruption", "level"]
        rows = [{**dict(zip(names, key, strict=True)), **x} for key, x in self._rows()]
        return pandas.DataFrame(rows).set_index(names)

    def areas(self):
        """DataFrame, a row per curve: the area of each metric, and what level 1 is."""
        import pandas

        rows = [
            {
                "modality": key[0],
                "corruption": key[1],
                **{x: self.area(*key, x) for x in self.metrics},
                "level 1": self.at_one[key],
            }
            for key in self.curves
        ]
        return pandas.DataFrame(rows).set_index(["modality", "corruption"])

    def __str__(self):
        metric = self.metrics[0]
        head = ["modality", "corruption", *(f"{x:g}" for x in self.levels), "area"]
        lines = [
            [
                *key,
                *(f"{x:.3f}" for x in self.curve(*key)),
                f"{self.area(*key):.3f}",
            ]
            for key in self.curves
        ]
        title = f"{metric} by level of corruption ({self.rows} rows)"
        return f"{title}\n{aligned([head, *lines], 2)}"

    def _rows(self):
        return ((key, self.table[key]) for key in self.table)

    def _metric(self, metric):
        metric = metric or self.metrics[0]
        if metric not in self.metrics:
            raise ValueError(
                f"`metric` wants one of {self.metrics}. Received: metric={metric!r}"
            )
        return metric
