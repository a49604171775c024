"""Plots of training, of mistakes, and of the score of every subset of modalities."""

import numpy as np

from mmkeras.analysis.plots.style import COLOURS, MARKERS, in_words, new_figure, save
from mmkeras.analysis.subsets import label
from mmkeras.scores import LOWER_IS_BETTER


def learning_curves(history, path):
    """Draws the loss and the metrics over the epochs, training beside validation.

    Args:
        history: dict, name -> list of floats, one an epoch, as in `History.history`;
            `val_<name>` is drawn in the same panel as `<name>`.
        path: the PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `history` is empty.
    """
    names = [x for x in history if not x.startswith("val_") and x != "learning_rate"]
    if not names:
        raise ValueError(
            f"`history` wants at least one curve. Received: {sorted(history)}"
        )
    columns = min(len(names), 2)
    lines = -(-len(names) // columns)
    figure = new_figure(5.2 * columns, 3.6 * lines)
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(lines, columns, place)
        curves = ((name, "training", "-"), (f"val_{name}", "validation", "--"))
        for i, (key, words, dash) in enumerate(curves):
            if key in history:
                _curve(axes, history[key], words, dash, i)
        axes.set_xlabel("epoch")
        axes.set_title(in_words(name))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    save(figure, path)


def confusion_matrix(matrix, class_names, path):
    """Draws how often each class was taken for each other.

    Grey tells the share of the true class's rows, the numbers are counts.

    Args:
        matrix: counts `(classes, classes)`, rows true, columns predicted.
        class_names: list of strings.
        path: the PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the matrix is not square, or the names do not fit it.
    """
    matrix, count = np.asarray(matrix), len(class_names)
    if matrix.shape != (count, count):
        raise ValueError(
            f"`matrix` wants shape ({count}, {count}), a row and a column for each of "
            f"`class_names`. Received: shape {matrix.shape}"
        )
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    longest = max(map(len, class_names))
    side = min(2.5 + 0.5 * count + 0.06 * longest, 24)
    figure = new_figure(side + 1, side)
    axes = figure.add_subplot()
    picture = axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    size = 9 if count <= 20 else 6
    if count <= 40:  # more would be dust
        for (i, j), value in np.ndenumerate(matrix):
            colour = "white" if share[i, j] > 0.5 else "black"
            if value:
                axes.text(
                    j, i, value, ha="center", va="center", color=colour, fontsize=size
                )
    axes.set_xticks(range(count), class_names, rotation=90, fontsize=size)
    axes.set_yticks(range(count), class_names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{np.trace(matrix)} of {matrix.sum()} rows right")
    bar = figure.colorbar(picture, fraction=0.046, pad=0.04)
    bar.set_label("share of the true class")
    save(figure, path)


def subset_scores(report, path, best=None, metric=None):
    """Draws the score of every subset of the modalities.

    Args:
        report: `ModalityReport`.
        path: the PNG file to write.
        best: optional dict, subset (names in any order) -> the best possible score,
            drawn beside the achieved one.
        metric: name; default: the report's first.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: unknown metric.
    """
    metric = metric or report.metrics[0]
    rows = list(report.table)
    achieved = [report.score(x, metric) for x in rows]
    limits = {frozenset(key): value for key, value in (best or {}).items()}
    places = np.arange(len(rows))
    height = 0.38 if best else 0.6
    figure = new_figure(7.5, 1.4 + (0.55 if best else 0.4) * len(rows))
    axes = figure.add_subplot()
    shift = height / 2 if best else 0.0
    style = {"height": height, "edgecolor": "black"}
    drawn = axes.barh(
        places - shift, achieved, color=COLOURS[0], label="achieved", **style
    )
    axes.bar_label(drawn, fmt="%.3f", padding=3, fontsize=9)
    if best:
        possible = [limits.get(frozenset(x), np.nan) for x in rows]
        drawn = axes.barh(
            places + shift,
            possible,
            color="white",
            hatch="///",
            label="best possible",
            **style,
        )
        texts = ["" if np.isnan(x) else f"{x:.3f}" for x in possible]
        axes.bar_label(drawn, labels=texts, padding=3, fontsize=9)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    axes.set_yticks(places, [label(x) for x in rows])
    axes.invert_yaxis()  # none on top, all at the bottom
    axes.margins(x=0.12)
    note = ", lower is better" if metric in LOWER_IS_BETTER else ""
    axes.set_title(f"{in_words(metric)} by modalities shown ({report.rows} rows{note})")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def _curve(axes, values, words, dash, i):
    every = max(1, len(values) // 12)
    axes.plot(
        range(1, len(values) + 1),
        values,
        dash,
        color=COLOURS[i],
        marker=MARKERS[i],
        markevery=every,
        markersize=5,
        label=words,
    )
    axes.grid(color="0.88")
