"""Sentences about modalities say what the numbers say."""

import numpy as np
import pytest

from mmkeras.analysis import ModalityReport
from mmkeras.analysis.bootstrap import Draws
from mmkeras.analysis.emap import Emap
from mmkeras.analysis.pages import verdicts

SUBSETS = ((), ("a",), ("b",), ("a", "b"))


def report(values, metric="accuracy", spread=0.01, added=None):
    """Scores of none, a, b and both, known to `spread` (independent draws)."""
    table = {x: {metric: v} for x, v in zip(SUBSETS, values, strict=True)}
    rng = np.random.default_rng(0)
    noise = {
        x: v + spread * rng.normal(size=400)
        for x, v in zip(SUBSETS, values, strict=True)
    }
    emap = lost = None
    if added is not None:
        emap = Emap({metric: added}, {metric: values[-1]}, 50, None)
        lost = {metric: values[-1] - added + spread * rng.normal(size=400)}
    draws = Draws({metric: noise}, lost or {}, 0.95) if spread else None
    kind = "single" if metric == "accuracy" else "number"
    present = dict.fromkeys(SUBSETS, 50)
    return ModalityReport(
        ("a", "b"),
        kind,
        ("x", "y"),
        (metric,),
        table,
        50,
        present,
        emap=emap,
        draws=draws,
    )


def test_a_modality_that_is_needed_and_one_that_tells_the_same():
    a, b = verdicts.modalities(report((0.5, 0.8, 0.7, 0.805)))
    assert a.startswith("a earns its place: without it accuracy falls by 0.105 (0.0")
    assert b.startswith("b could be left out beside the others: without it accuracy")
    assert "Alone it is worth 0.200" in b
    # Shapley by hand: a (0.3 + 0.105) / 2, b (0.2 + 0.005) / 2
    assert "(Shapley): 0.203 of 0.305." in a or "(Shapley): 0.202 of 0.305." in a
    assert "(Shapley): 0.102 of 0.305." in b or "(Shapley): 0.103 of 0.305." in b


def test_harm_and_nothing():
    a, b = verdicts.modalities(report((0.5, 0.8, 0.5, 0.7)))
    assert b.startswith("b does harm on these rows: without it accuracy rises by 0.100")
    a, b = verdicts.modalities(report((0.5, 0.8, 0.5, 0.8)))
    assert b.startswith("b adds nothing that these rows show: without it")
    a, b = verdicts.modalities(report((0.5, 0.8, 0.5, 0.79), spread=0.02))
    said = "b adds nothing that these rows show: without it accuracy rises by 0.010 ("
    assert b.startswith(f"{said}-") and b.endswith("), which may be chance.")


def test_lower_is_better_and_no_intervals():
    a, b = verdicts.modalities(report((9.0, 4.0, 9.0, 5.0), "mae", spread=0))
    assert a.startswith("a earns its place: without it MAE rises by 4.000; alone")
    assert b.startswith("b does harm on these rows: without it MAE falls by 1.000.")


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (0.6, "are read together: that is worth 0.205 (0.1"),
        (0.803, "Nothing shows that the modalities need to be read together"),
        (0.9, "does harm on these rows: -0.095"),
    ],
)
def test_interaction(added, words):
    found = report((0.5, 0.8, 0.7, 0.805), added=added)
    assert words in verdicts.interaction(found)
