"""Plots: whole PNG files with what they should show, and errors that help."""

import builtins
import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from mmkeras.analysis import ModalityReport, plots
from mmkeras.analysis.bootstrap import Draws
from mmkeras.analysis.emap import Emap
from mmkeras.analysis.plots import basic
from mmkeras.analysis.plots import shapley as shapley_plot

NAMES = ("clip", "photo", "title")


@pytest.fixture
def report():
    every = [x for n in range(4) for x in itertools.combinations(NAMES, n)]
    values = np.linspace(0.12, 0.72, 8)
    table = {
        x: {"accuracy": value, "mae": 2 * value}
        for x, value in zip(every, values, strict=True)
    }
    present = dict.fromkeys(every, 90)
    return ModalityReport(
        NAMES, "single", ("a", "b"), ("accuracy", "mae"), table, 90, present
    )


def picture(path):
    """Grey levels of the PNG at `path`; only that file may lie in its folder."""
    assert [x.name for x in path.parent.iterdir()] == [path.name]
    return tf.io.decode_png(path.read_bytes(), channels=1).numpy()[..., 0]


def texts(monkeypatch, module=basic):
    """The words of the figure that the module saves next, in a list."""
    found = []
    save = basic.save

    def spy(figure, path):
        from matplotlib.text import Text

        save(figure, path)
        found.extend(x.get_text() for x in figure.findobj(Text))

    monkeypatch.setattr(module, "save", spy)
    return found


def test_learning_curves(tmp_path, monkeypatch):
    words = texts(monkeypatch)
    path = tmp_path / "new" / "curves.png"
    history = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, 1.4, 1.3], "accuracy": [0.1]}
    plots.learning_curves(history, path)
    assert (picture(path) < 100).mean() > 0.002
    assert {"loss", "accuracy", "training", "validation", "epoch"} <= set(words)
    with pytest.raises(ValueError, match=r"at least one curve. Received: \[\]"):
        plots.learning_curves({}, path)


def test_confusion_matrix(tmp_path, monkeypatch):
    words = texts(monkeypatch)
    path = tmp_path / "confusion.png"
    plots.confusion_matrix([[8, 1], [0, 3]], ["cat", "dog"], path)
    assert (picture(path) < 20).mean() > 0.05  # the full cells are black
    assert {"8", "1", "3", "cat", "dog", "11 of 12 rows right"} <= set(words)
    assert "0" not in words  # what never happened stays blank
    with pytest.raises(ValueError, match=r"shape \(2, 2\).* Received: shape \(3, 3\)"):
        plots.confusion_matrix(np.eye(3), ["cat", "dog"], path)


def test_subset_scores(tmp_path, monkeypatch, report):
    words = texts(monkeypatch)
    path = tmp_path / "scores.png"
    best = {("title", "clip"): 0.91}  # any order, not all of them
    plots.subset_scores(report, path, best=best)
    assert (picture(path) < 250).mean() > 0.05
    assert {"none", "clip + title", "0.910", "0.120", "best possible"} <= set(words)
    assert not any("nan" in x for x in words)
    words.clear()
    plots.subset_scores(report, path, metric="mae")
    assert "MAE by modalities shown (90 rows, lower is better)" in words


def test_a_failing_plot_leaves_the_old_file(tmp_path, monkeypatch, report):
    path = tmp_path / "scores.png"
    path.write_text("old")

    def broken(*args):
        raise OSError("disk full")

    monkeypatch.setattr("mmkeras.aside.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        plots.subset_scores(report, path)
    assert path.read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["scores.png"]


def test_no_global_state_of_matplotlib(tmp_path, report):
    from matplotlib import pyplot

    plots.subset_scores(report, tmp_path / "scores.png")
    plots.confusion_matrix([[1, 0], [0, 1]], "ab", tmp_path / "confusion.png")
    assert pyplot.get_fignums() == []


def test_matplotlib_is_an_extra(tmp_path, monkeypatch, report):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install mmkeras\[cli\]"):
        plots.subset_scores(report, tmp_path / "scores.png")


def test_contributions(tmp_path, monkeypatch, report):
    words = texts(monkeypatch, shapley_plot)
    path = tmp_path / "shapley.png"
    shapley_plot.contributions(report, path)
    assert (picture(path) < 250).mean() > 0.05
    gain = report.shapley()["photo"]
    assert {"photo", f"{gain:.3f}", "gain in accuracy, 90 rows"} <= set(words)
    assert "accuracy with none 0.120, with all 0.720" in words
    words.clear()
    drawn = {
        metric: {
            x: row[metric] + np.linspace(-0.01, 0.01, 9) * (len(x) + 1)
            for x, row in report.table.items()
        }
        for metric in report.metrics
    }
    lost = {x: np.zeros(9) for x in report.metrics}
    report = dataclasses.replace(
        report,
        draws=Draws(drawn, lost, 0.9),
        emap=Emap(report.table[()], report.table[NAMES], 90, None),
    )
    shapley_plot.contributions(report, path, "mae")
    assert "fall of the MAE, 90 rows; lines: 90 % intervals" in words
    assert "MAE with none 0.240, with all 1.440 (of it interaction -1.200)" in words
