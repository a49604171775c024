"""Relative and effective robustness of a model beside baselines.

Reference: Taori et al. 2020, "Measuring robustness to natural distribution shifts",
arXiv:2007.00644.
"""

import dataclasses

import numpy as np

from mmkeras.scores import LOWER_IS_BETTER


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `RobustnessReport.against` gives.

    A single baseline, or several of one clean score, have no slope: then the line has
    slope 1 and goes through their mean, so that a model is expected to lose as many
    logits as they do. Errors (mae, rmse) and scores outside 0 to 1 are fitted without
    the logit. Differences count upwards: above 0 is better, of errors too.

    Args:
        metric: its name.
        baselines: tuple of names.
        slope: how the line's slope was found: "least squares", or "1: one clean score".
        table: dict, (modality, corruption, level) -> dict: "score", "expected",
            "effective" and, for each baseline, "relative to <name>".
    """

    metric: str
    baselines: tuple
    slope: str
    table: dict

    def effective(self, modality=None, corruption=None):
        """Mean effective robustness over the levels above 0 of all that match."""
        found = [
            x["effective"]
            for key, x in self.table.items()
            if modality in (None, key[0]) and corruption in (None, key[1])
        ]
        if not found:
            raise ValueError(
                f"`modality` and `corruption` want one of {sorted(self._curves())}. "
                f"Received: {(modality, corruption)}"
            )
        return float(np.mean(found))

    def to_frame(self):
        """DataFrame, a row per modality, corruption and level."""
        import pandas

        names = ["modality", "corruption", "level"]
        rows = [
            {**dict(zip(names, key, strict=True)), **x} for key, x in self.table.items()
        ]
        return pandas.DataFrame(rows).set_index(names)

    def __str__(self):
        columns = [x for x in next(iter(self.table.values())) if x != "expected"]
        lines = [["modality", "corruption", *columns]]
        for curve in self._curves():
            rows = [x for key, x in self.table.items() if key[:2] == curve]
            means = [np.mean([x[column] for x in rows]) for column in columns]
            lines.append([*curve, f"{means[0]:.3f}", *(f"{x:+.3f}" for x in means[1:])])
        title = (
            f"{self.metric}, mean over the levels above 0; expected from "
            f"{', '.join(self.baselines)} (slope: {self.slope})"
        )
        return f"{title}\n{aligned(lines, 2)}"

    def _curves(self):
        return list(dict.fromkeys(key[:2] for key in self.table))


def compare(report, baselines, metric):
    """`Comparison` of a report with baselines: dict, name -> report."""
    _check(report, baselines, metric)
    clean = np.array([x.clean(metric) for x in baselines.values()])
    table = {}
    sign = -1 if metric in LOWER_IS_BETTER else 1
    scale = _scale([report, *baselines.values()], metric)
    slope = "least squares" if np.ptp(scale.to(clean)) > 1e-9 else "1: one clean score"
    for key in report.table:
        if not key[2]:
            continue
        score = report.table[key][metric]
        shifted = np.array([_score(x, key, metric) for x in baselines.values()])
        expected = _expected(scale, clean, shifted, report.clean(metric))
        relative = {
            f"relative to {name}": float(sign * (score - x))
            for name, x in zip(baselines, shifted, strict=True)
        }
        table[key] = {
            "score": score,
            "expected": expected,
            "effective": sign * (score - expected),
            **relative,
        }
    return Comparison(metric, tuple(baselines), slope, table)


def aligned(lines, left):
    """Lines of cells as text, the first `left` columns to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            x.ljust(width) if i < left else x.rjust(width)
            for i, (x, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


class _Logit:
    """Shares as logits, held off 0 and 1 by half a row."""

    def __init__(self, rows):
        self.edge = 0.5 / rows

    def to(self, x):
        x = np.clip(x, self.edge, 1 - self.edge)
        return np.log(x / (1 - x))

    def back(self, x):
        return 1 / (1 + np.exp(-x))


class _Plain:
    """Scores as they are."""

    def to(self, x):
        return x

    def back(self, x):
        return x


def _scale(reports, metric):
    values = [x[metric] for report in reports for x in report.table.values()]
    bounded = metric not in LOWER_IS_BETTER and 0 <= min(values) and max(values) <= 1
    return _Logit(reports[0].rows) if bounded else _Plain()


def _expected(scale, clean, shifted, own):
    """What the baselines' line says of a model of clean score `own`."""
    x, y = scale.to(clean), scale.to(shifted)
    slope = np.polyfit(x, y, 1)[0] if np.ptp(x) > 1e-9 else 1.0
    return float(scale.back(y.mean() + slope * (scale.to(own) - x.mean())))


def _score(report, key, metric):
    if key[0] not in report.modalities:
        return report.clean(metric)
    return report.table[key][metric]


def _check(report, baselines, metric):
    if not baselines:
        raise ValueError("`baselines` wants at least one. Received: none.")
    for name, other in baselines.items():
        if other.rows != report.rows or metric not in other.metrics:
            raise ValueError(
                f"`baselines` want '{metric}' on the same {report.rows} rows. "
                f"Received: '{name}' with {other.metrics} on {other.rows} rows"
            )
        lacking = [
            key
            for key in report.table
            if key[0] in other.modalities and key not in other.table
        ]
        if lacking:
            raise ValueError(
                f"`baselines` want the corruptions and levels of the report. "
                f"Received: '{name}' without {lacking[:5]}"
            )
