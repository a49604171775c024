"""The plot of a `RobustnessReport`: score over level, a panel per modality."""

import itertools

from mmkeras.analysis import noise
from mmkeras.analysis.plots.style import (
    COLOURS,
    MARKERS,
    in_words,
    new_figure,
    save,
)
from mmkeras.scores import LOWER_IS_BETTER

_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
# missing rows are drawn alike in every panel
_BLACK, _OTHERS = 3, (0, 1, 2, 4, 5)


def robustness_curves(report, path, metric=None, baselines=None):
    """Draws the score over the level of each corruption, a panel per modality.

    Lines differ by marker and dash; a baseline's is thin and bears no marker, its dash
    and colour are those of the corruption.

    Args:
        report: `RobustnessReport`.
        path: the PNG file to write.
        metric: name; default: the report's first.
        baselines: optional dict, name -> `RobustnessReport`, drawn thin.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: unknown metric.
    """
    metric = metric or report.metrics[0]
    report.clean(metric)  # or says which there are
    modalities = list(dict.fromkeys(x for x, _ in report.curves))
    figure = new_figure(4.2 * len(modalities), 4.8)
    panels = figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0]
    for axes, modality in zip(panels, modalities, strict=True):
        own = [x for x in report.curves if x[0] == modality]
        free = itertools.cycle(_OTHERS)
        for key in own:
            i = _BLACK if key[1] == noise.MISSING else next(free)
            style = {"color": COLOURS[i], "linestyle": _DASHES[i]}
            for other in (baselines or {}).values():
                values = _curve(other, key, metric)
                axes.plot(other.levels, values, linewidth=0.8, alpha=0.6, **style)
            axes.plot(
                report.levels,
                report.curve(*key, metric),
                marker=MARKERS[i],
                markersize=6,
                linewidth=1.8,
                label=f"{in_words(key[1])} (1 = {report.at_one[key]})",
                **style,
            )
        axes.set_title(modality)
        axes.set_xlabel("level")
        axes.grid(color="0.88")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    panels[0].set_ylabel(in_words(metric))
    note = ", lower is better" if metric in LOWER_IS_BETTER else ""
    title = f"{in_words(metric)} as one modality gets worse ({report.rows} rows{note})"
    if baselines:
        title += f"; thin: {', '.join(baselines)}"
    figure.suptitle(title)
    save(figure, path)


def _curve(report, key, metric):
    """A baseline's curve; flat where it lacks the modality, none where not tried."""
    if key[0] not in report.modalities:
        return [report.clean(metric)] * len(report.levels)
    if key not in report.at_one:
        return [float("nan")] * len(report.levels)
    return report.curve(*key, metric)
