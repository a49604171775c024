"""Draws what an output comes from: maps over pictures and sounds, bars for words.

What speaks for the output has solid outlines, what speaks against it dashed ones and
hatched bars: colour only repeats that.
"""

import numpy as np

from mmkeras.analysis.plots.style import COLOURS, new_figure, save

_FOR, _AGAINST = COLOURS[1], COLOURS[0]
#: Outlines, as shares of the largest value.
_LEVELS = (0.15, 0.35, 0.6, 1.001)
#: Standard deviation of the smoothing, as a share of the shorter side.
_SMOOTH = 0.02
_HEIGHTS = {"image": 3.2, "audio": 2.6}
_BARS = 0.27


def row_attribution(result, path, row=0, cam=None):
    """Draws one row: bars of the modalities, then each modality with its map.

    Pictures and sounds: left the input, right its map (pixels summed over colours and
    smoothed by 2 % of the side, only here). Words and columns: a bar each.

    Args:
        result: `Attribution`.
        path: the PNG file to write.
        row: Integer.
        cam: optional `GradCam` of the same rows, drawn beside its modality.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no such row.
    """
    if not 0 <= row < len(result.target):
        raise ValueError(
            f"`row` wants 0 to {len(result.target) - 1}. Received: row={row}"
        )
    heights = [0.7 + _BARS * len(result.modalities)]
    heights += [_height(result, name, row) for name in result.modalities]
    figure = new_figure(8.5, sum(heights) + 0.5)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights)
    _modalities(result, row, np.atleast_1d(parts)[0].add_subplot())
    for name, part in zip(result.modalities, parts[1:], strict=True):
        part.suptitle(_title(result, name, row), fontsize=10, fontweight="bold")
        _modality(result, name, row, part, cam)
    figure.suptitle(_head(result, row), fontsize=11)
    save(figure, path)


def _head(result, row):
    name = result.classes[result.target[row]]
    return (
        f"'{name}': output {result.output[row]:.2f}, at the baselines "
        f"{result.baseline_output[row]:.2f}; complete to {result.error[row]:.1%}"
    )


def _title(result, name, row):
    if not result.present[name][row]:
        return f"{name}: absent"
    return f"{name} {result.maps[name][row].sum():+.2f}"


def _height(result, name, row):
    kind = _drawn_as(result, name)
    if kind in _HEIGHTS:
        return _HEIGHTS[kind] if result.present[name][row] else 0.5
    return 0.9 + _BARS * len(_entries(result, name, row))


def _drawn_as(result, name):
    """A map on two axes ("image" or "audio"), or "bars"."""
    kind, axes = result.kinds[name], result.maps[name].ndim
    if (kind == "image" and axes == 4) or (kind == "audio" and axes == 3):
        return kind
    return "bars"


def _entries(result, name, row):
    """Pairs (label, value) of what is drawn as bars, the largest 40 of more."""
    if not result.present[name][row]:
        return []
    if result.kinds[name] == "text":
        found = result.words(row, name)
    else:
        values = result.maps[name][row].ravel()
        labels = result.columns.get(name) or range(len(values))
        found = [(str(x), float(y)) for x, y in zip(labels, values, strict=True)]
    if len(found) <= 40:
        return found
    kept = sorted(np.argsort([-abs(y) for _, y in found])[:40])
    return [found[i] for i in kept]


def _modalities(result, row, axes):
    totals = {name: float(x[row]) for name, x in result.totals().items()}
    labels = [
        name if result.present[name][row] else f"{name} (absent)" for name in totals
    ]
    _bars(axes, labels, list(totals.values()))
    axes.set_title("added to the output by each modality", fontsize=10)


def _bars(axes, labels, values):
    """Bars in reading order: plain for, hatched against."""
    places = np.arange(len(values))
    values = np.array(values)
    styles = ((values >= 0, _FOR, None), (values < 0, _AGAINST, "////"))
    for chosen, colour, hatch in styles:
        drawn = axes.barh(
            places[chosen],
            values[chosen],
            height=0.7,
            color="white" if hatch else colour,
            edgecolor=colour if hatch else "black",
            hatch=hatch,
        )
        texts = [f"{x:+.2f}" for x in values[chosen]]
        axes.bar_label(drawn, texts, padding=3, fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, [str(x).replace("$", r"\$") for x in labels], fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.spines[["top", "right"]].set_visible(False)


def _modality(result, name, row, part, cam):
    kind = _drawn_as(result, name)
    if not result.present[name][row]:
        return
    if kind == "bars":
        labels, values = zip(*_entries(result, name, row) or [("", 0.0)], strict=True)
        _bars(part.add_subplot(), labels, values)
        return
    value, found = result.values[name][row], result.maps[name][row]
    beside = cam is not None and cam.modality == name and cam.maps.ndim == 3
    panels = part.subplots(1, 3 if beside else 2)
    under = value if kind == "image" else value.T
    _under(panels[0], under, kind, False)
    panels[0].set_title("input", fontsize=9)
    _under(panels[1], under, kind, True)
    _outlines(panels[1], found.sum(-1) if kind == "image" else found.T)
    panels[1].set_title("for: solid, against: dashed", fontsize=9)
    if beside:
        _under(panels[2], under, kind, True)
        _outlines(panels[2], cam.maps[row], smooth=False)
        panels[2].set_title(f"Grad-CAM ({cam.layer})", fontsize=9)


def _under(axes, value, kind, pale):
    """The picture, or the spectrogram; pale and grey where a map lies over it."""
    if kind == "image":
        shown = np.clip(value / 255, 0, 1)
        if pale:
            grey = shown @ np.array([0.299, 0.587, 0.114])
            shown = 0.55 + 0.45 * grey
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    low, high = value.min(), max(value.max(), value.min() + 1e-6)
    shown = (value - low) / (high - low)
    shown = 1 - (0.35 if pale else 1.0) * shown
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, origin="lower", aspect="auto")
    axes.set_xlabel("frame", fontsize=8)
    axes.set_ylabel("mel band", fontsize=8)
    axes.tick_params(labelsize=8)


def _outlines(axes, found, smooth=True):
    """Areas for and against, from 15 % of the largest value on."""
    from scipy.ndimage import gaussian_filter

    found = np.asarray(found, "float64")
    if smooth:
        found = gaussian_filter(found, _SMOOTH * min(found.shape))
    largest = np.abs(found).max()
    if min(found.shape) < 2 or not largest:
        return
    for sign, colour, dash in ((1, _FOR, "solid"), (-1, _AGAINST, "dashed")):
        share = sign * found / largest
        if share.max() <= _LEVELS[0]:
            continue
        for level, alpha in zip(_LEVELS, (0.25, 0.35, 0.5), strict=False):
            if share.max() > level:
                axes.contourf(share, [level, 1.001], colors=[colour], alpha=alpha)
        levels = [x for x in _LEVELS if x < share.max()]
        axes.contour(share, levels, colors="black", linestyles=dash, linewidths=0.9)
