"""The plot of an `EmbeddingMap`; see `plots` for what all plots keep to."""

from collections import Counter

import numpy as np

from mmkeras.analysis.plots.style import COLOURS, new_figure, save

# told apart by their shape alone
_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d", "8", "H")
_OTHERS = "others"


def embedding_map(found, path):
    """Draws the map: a marker and a colour for each class, hollow where it is wrong.

    Of more than 15 classes the rarest are small grey dots. Numbers are shades of grey.

    Args:
        found: `EmbeddingMap`.
        path: the PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(7.2, 5.2)
    axes = figure.add_subplot()
    if found.kind == "number":
        _numbers(figure, axes, found)
    else:
        _classes(figure, axes, found)
    axes.set_title(str(found), fontsize=11)
    if found.explained is None:
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        axes.set_xlabel(f"first axis, {found.explained[0]:.0%} of the variance")
        axes.set_ylabel(f"second axis, {found.explained[1]:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def _classes(figure, axes, found):
    counts = Counter(found.true)
    names, size = sorted(counts), 34 if len(found.points) < 300 else 14
    if len(names) > len(_SHAPES):
        common = [x for x, _ in counts.most_common(len(_SHAPES))]
        names = [x for x in names if x in common]
        _dots(axes, found.points[~np.isin(found.true.astype(str), names)])
    for i, name in enumerate(names):
        own = found.true == name
        colour = COLOURS[i % len(COLOURS)]
        right = own & (found.predicted == found.true)
        style = {"marker": _SHAPES[i], "s": size, "linewidths": 1.1}
        label = name or "(none)"
        x = found.points
        axes.scatter(
            *x[right].T, facecolors=colour, edgecolors="black", label=label, **style
        )
        wrong = own & ~right
        axes.scatter(*x[wrong].T, facecolors="white", edgecolors=colour, **style)
    title = "true class; hollow: taken for another"
    figure.legend(
        loc="outside lower center", ncols=4, frameon=False, title=title, fontsize=8
    )


def _dots(axes, points):
    axes.scatter(*points.T, color="0.7", s=6, label=_OTHERS)


def _numbers(figure, axes, found):
    values = found.true.astype("float64")
    drawn = axes.scatter(*found.points.T, c=values, cmap="Greys", edgecolors="black")
    figure.colorbar(drawn).set_label("true value")
