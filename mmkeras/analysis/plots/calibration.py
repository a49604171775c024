"""Plot of a `CalibrationReport`, legible in black and white."""

import numpy as np

from mmkeras.analysis.plots.style import COLOURS, new_figure, save


def reliability(report, path):
    """Draws how often came true what was said with each probability.

    Bars are the share that came true, the hatched part the gap to the mean probability
    in the bin: it hangs down from the diagonal where the model is too sure, and stands
    above it where it is not sure enough. Below, the share of rows in each bin.

    Args:
        report: `mmkeras.analysis.CalibrationReport`.
        path: the PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    frame = report.to_frame().query("rows > 0")
    figure = new_figure(5.2, 6.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    place = {"x": frame["low"], "width": frame["high"] - frame["low"], "align": "edge"}
    style = {**place, "edgecolor": "black"}
    above.bar(
        height=frame["observed"],
        color=COLOURS[5],
        label="came true",
        **style,
    )
    above.bar(
        height=-frame["gap"],
        bottom=frame["observed"],
        color="none",
        hatch="////",
        label="gap to what was said",
        **style,
    )
    above.plot([0, 1], [0, 1], "--", color="black", label="perfect")
    above.set_ylim(0, 1)
    above.set_xlim(0, 1)
    above.set_ylabel("share that came true")
    above.set_title(_title(report))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    below.bar(height=frame["share"], color="0.6", **style)
    several = report.kind == "multi"
    below.set_ylabel("share of labels" if several else "share of rows")
    below.set_xlabel(f"probability of {'each label' if several else 'the winner'}")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(np.linspace(0, 1, 6))
    save(figure, path)


def _title(report):
    head = f"Expected calibration error {report.ece:.3f}"
    if report.temperature not in (None, 1.0):
        head += f" at temperature {report.temperature:.3g}"
    return head
