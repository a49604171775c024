"""A plot of what each modality adds; see `plots` for what all plots keep to."""

import numpy as np

from mmkeras.analysis.plots.style import COLOURS, in_words, new_figure, save
from mmkeras.scores import LOWER_IS_BETTER

# column of `ModalityReport.parts`: colour, hatch, words
_BARS = {
    "shapley": (COLOURS[5], "", "Shapley value: averaged over all orders"),
    "unique": ("white", "///", "unique: lost without it"),
    "solo": ("0.75", "...", "solo: gained by it alone"),
}


def contributions(report, path, metric=None):
    """Draws what each modality adds to a score: Shapley value, unique part, solo part.

    Bars to the right help. With a bootstrap in the report they carry its intervals;
    with EMAP the title says what the interaction is worth.

    Args:
        report: `ModalityReport`.
        path: the PNG file to write.
        metric: name; default: the report's first.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: unknown metric.
    """
    metric = metric or report.metrics[0]
    parts = report.parts(metric)
    places, height = np.arange(len(parts)), 0.26
    figure = new_figure(7.5, 1.9 + 0.95 * len(parts))
    axes = figure.add_subplot()
    for i, (name, (colour, hatch, words)) in enumerate(_BARS.items()):
        level = places + (i - 1) * height
        values = parts[name].to_numpy()
        style = {"color": colour, "hatch": hatch, "edgecolor": "black"}
        axes.barh(level, values, height, label=words, **style)
        ends = values
        if report.draws is not None:
            low, high = (parts[f"{name}_{x}"].to_numpy() for x in ("low", "high"))
            spread = {"color": "black", "linewidth": 1.2, "zorder": 3}
            axes.hlines(level, low, high, **spread)
            for end in (low, high):
                axes.vlines(end, level - 0.07, level + 0.07, **spread)
            ends = np.where(values < 0, np.fmin(low, values), np.fmax(high, values))
        _numbers(axes, level, values, ends)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, list(parts.index))
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_title(_title(report, metric), fontsize=11)
    axes.set_xlabel(_axis(report, metric))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    save(figure, path)


def _numbers(axes, level, values, ends):
    """Each value beside the end of its bar, clear of the interval."""
    for y, value, end in zip(level, values, ends, strict=True):
        side = -1 if value < 0 else 1
        axes.annotate(
            f"{value:.3f}",
            (end, y),
            (4 * side, 0),
            textcoords="offset points",
            ha="right" if value < 0 else "left",
            va="center",
            fontsize=9,
        )


def _title(report, metric):
    whole, none = report.score(metric=metric), report.score([], metric)
    text = f"{in_words(metric)} with none {none:.3f}, with all {whole:.3f}"
    if report.emap is not None:
        text += f" (of it interaction {report.interaction(metric):.3f})"
    return text


def _axis(report, metric):
    gain = "fall of the" if metric in LOWER_IS_BETTER else "gain in"
    text = f"{gain} {in_words(metric)}, {report.rows} rows"
    if report.draws is not None:
        text += f"; lines: {100 * report.draws.confidence:.4g} % intervals"
    return text
