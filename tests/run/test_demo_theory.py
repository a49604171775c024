"""What the best predictor of the demo set would show, by hand and by another road."""

import itertools

import numpy as np
import pytest

from mmkeras.run import demo_data, demo_theory


def test_the_log_posterior_is_the_best_guess():
    cells = demo_theory.joint()
    assert cells.sum() == pytest.approx(1)
    guess = demo_theory.log_posterior().argmax(-1)
    right = np.take_along_axis(cells, guess[..., None], -1).sum()
    assert right == pytest.approx(demo_data.best_accuracy(demo_data.MODALITIES))


def test_shapley_by_hand():
    """phi_1 of three: (v1 - v) / 3 + (v12 - v2 + v13 - v3) / 6 + (v123 - v23) / 3."""
    best = {frozenset(x): y for x, y in demo_data.best_accuracies().items()}
    found = demo_theory.best_shapley()
    for one in demo_data.MODALITIES:
        two, three = (x for x in demo_data.MODALITIES if x != one)
        v = lambda *x: best[frozenset(x)]  # noqa: B023, E731
        expected = (
            (v(one) - v()) / 3
            + (v(one, two) - v(two) + v(one, three) - v(three)) / 6
            + (v(one, two, three) - v(two, three)) / 3
        )
        assert found[one] == pytest.approx(expected)
    gain = best[frozenset(demo_data.MODALITIES)] - 1 / 8
    assert sum(found.values()) == pytest.approx(gain)


def test_emap_by_hand():
    """Bits are guessed one by one; the weather from the title alone."""
    total = 0.0
    for photo, title, clip in itertools.product((0, 1), repeat=3):
        there = photo + title + clip
        place = 0.95 if photo else 0.8 if title else 0.5
        time = 0.95 if title else 0.8 if clip else 0.5
        weather = 0.7 if title else 0.5
        total += 0.85**there * 0.15 ** (3 - there) * place * time * weather
    assert demo_theory.emap_accuracy() == pytest.approx(total)
