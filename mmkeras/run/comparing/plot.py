"""The plot of a comparison: a dot with its interval for each method."""

from mmkeras.analysis.plots.style import COLOURS, MARKERS, new_figure, save
from mmkeras.run.comparing.methods import SIMPLE
from mmkeras.run.comparing.table import words


def draw(comparison, path):
    """Draws scores and their 95 % intervals; simple methods apart by marker.

    Args:
        comparison: `table.Comparison`.
        path: the PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    rows = comparison.rows
    figure = new_figure(8.0, 1.6 + 0.36 * len(rows))
    axes = figure.add_subplot()
    groups = (("simple", True, "o", "white"), ("fusion", False, MARKERS[1], None))
    for i, (label, simple, marker, face) in enumerate(groups):
        places = [n for n, x in enumerate(rows) if (x.tier in SIMPLE) == simple]
        if not places:
            continue
        values = [rows[n].score for n in places]
        # a resampled mean may lie beside the mean: no arm is shorter than none
        low = [max(0.0, rows[n].score - rows[n].interval[0]) for n in places]
        high = [max(0.0, rows[n].interval[1] - rows[n].score) for n in places]
        axes.errorbar(
            values,
            places,
            xerr=[low, high],
            fmt=marker,
            color=COLOURS[i],
            markerfacecolor=face or COLOURS[i],
            markersize=7,
            capsize=4,
            label=label,
        )
    base = next(x for x in rows if x.name == comparison.baseline)
    axes.axvline(base.score, color="0.4", linestyle=":", label="best simple method")
    axes.set_yticks(range(len(rows)), [x.name for x in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.88")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    metric = comparison.metrics[0]
    share = " in %" if metric in ("accuracy", "macro_f1", "auc_roc") else ""
    less = "" if share else ", lower is better"
    axes.set_xlabel(f"{words(metric)}{share}{less}, with its 95 % interval")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    save(figure, path)
