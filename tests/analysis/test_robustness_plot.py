"""The plot of robustness: a panel per modality, lines told apart without colour."""

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.analysis import RobustnessReport
from mmkeras.analysis.plots import robustness as robustness_plot

PAIRS = (
    *[("photo", x) for x in ("noise", "blur", "jpeg", "occlusion", "missing")],
    *[("title", x) for x in ("typos", "missing")],
)


def made(clean, pairs=PAIRS):
    levels = (0.0, 0.5, 1.0)
    table = {
        (*key, level): {"accuracy": clean - 0.1 * level * i, "mae": level}
        for i, key in enumerate(pairs)
        for level in levels
    }
    at_one = {key: f"much {key[1]}" for key in pairs}
    names = tuple(sorted({x for x, _ in pairs}))
    return RobustnessReport(names, ("accuracy", "mae"), levels, table, 90, at_one)


def figure_of(monkeypatch):
    found = []
    save = robustness_plot.save

    def spy(figure, path):
        found.append(figure)
        save(figure, path)

    monkeypatch.setattr(robustness_plot, "save", spy)
    return found


def test_curves(tmp_path, monkeypatch):
    figures = figure_of(monkeypatch)
    path = tmp_path / "curves.png"
    baselines = {"photo only": made(0.6, PAIRS[:3])}
    robustness_plot.robustness_curves(made(0.9), path, baselines=baselines)
    picture = tf.io.decode_png(path.read_bytes(), channels=1).numpy()
    assert (picture < 250).mean() > 0.02
    photo, title = figures[0].axes
    assert (photo.get_title(), title.get_title()) == ("photo", "title")
    own = [x for x in photo.lines if x.get_marker() != "None"]
    looks = {(x.get_marker(), str(x._dash_pattern)) for x in own}
    assert len(own) == len(looks) == 5
    thin = [x for x in title.lines if x.get_marker() == "None"]
    # no title: its corruptions leave it as it is
    assert all(set(x.get_ydata()) == {0.6} for x in thin) and len(thin) == 2
    np.testing.assert_allclose(own[1].get_ydata(), [0.9, 0.85, 0.8])
    words = [x.get_text() for x in title.get_legend().get_texts()]
    assert words == ["typos (1 = much typos)", "missing (1 = much missing)"]
    assert "thin: photo only" in figures[0].get_suptitle()
    same = [axes.lines[-1] for axes in (photo, title)]
    assert same[0].get_marker() == same[1].get_marker()  # missing looks the same


def test_metrics(tmp_path, monkeypatch):
    figures = figure_of(monkeypatch)
    robustness_plot.robustness_curves(made(0.9), tmp_path / "curves.png", "mae")
    title = figures[0].get_suptitle()
    assert title == "MAE as one modality gets worse (90 rows, lower is better)"
    with pytest.raises(ValueError, match="Received: metric='f1'"):
        robustness_plot.robustness_curves(made(0.9), tmp_path / "curves.png", "f1")
