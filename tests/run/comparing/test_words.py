"""What the sentence of a comparison says, on tables made up for it."""

import pytest

from mmkeras.run.comparing.table import Gap, Row
from mmkeras.run.comparing.words import sentence


def row(name, tier, score, against=(0, 0, 0), gap=(0, 0, 0), **changes):
    """A line with the gaps to the baseline and of the best to it."""
    values = {
        "name": name,
        "tier": tier,
        "modalities": ("photo", "title"),
        "scores": {"accuracy": score},
        "score": score,
        "better": score,
        "interval": (score - 4, score + 4),
        "deviation": None,
        "against": Gap(*against),
        "gap": Gap(*gap),
        "p": None,
        "seconds": 1.0,
        "parameters": 1000,
        "latency": 10.0,
    }
    return Row(**{**values, **changes})


def say(*rows):
    return sentence(list(rows), "accuracy", " points")


def test_fusion_clearly_ahead():
    text = say(
        row("title alone", "single", 70.0, gap=(20, 12, 28)),
        row("logistic regression", "linear", 80.0, gap=(10, 4, 16)),
        row("concat", "concat", 84.0, (4, 1, 7), gap=(6, 2, 10)),
        row("gated", "fusion", 90.0, (10, 4, 16), latency=12.0, parameters=5000),
    )
    assert text.startswith("Ship gated (90 % accuracy, 12 ms a row, 5,000 trained")
    assert "nothing simpler is within its noise" in text
    assert (
        "fusion beats every single modality and linear model: gated scores +10 points "
        "(95 % interval +4 to +16) against the best of them, logistic regression "
        "(10 ms a row, 1,000 trained parameters)"
    ) in text


def test_the_simplest_fusion_within_the_noise_of_the_best():
    text = say(
        row("logistic regression", "linear", 80.0, gap=(10, 4, 16)),
        row("concat", "concat", 89.0, (9, 3, 15), gap=(1, -2, 4)),
        row("low_rank", "fusion", 89.5, (9.5, 3, 16), gap=(0.5, -2, 3), parameters=9),
        row("gated", "fusion", 90.0, (10, 4, 16)),
    )
    assert text.startswith("Ship concat (89 % accuracy")
    assert "gated scores +1 points (95 % interval -2 to +4) against it" in text
    assert "fusion beats every single modality" in text


def test_of_two_fusions_the_one_with_fewer_weights():
    text = say(
        row("logistic regression", "linear", 80.0, gap=(10, 4, 16)),
        row("low_rank", "fusion", 89.5, (9.5, 3, 16), gap=(0.5, -2, 3), parameters=9),
        row("gated", "fusion", 90.0, (10, 4, 16)),
    )
    assert text.startswith("Ship low_rank")


def test_fusion_within_the_noise():
    text = say(
        row("title alone", "single", 70.0, gap=(20, 12, 28), modalities=("title",)),
        row("logistic regression", "linear", 85.0, gap=(1.5, -2, 5)),
        row("gated", "fusion", 86.5, (1.5, -2, 5), parameters=5000, latency=20.0),
    )
    assert text.startswith("Ship logistic regression (85 % accuracy")
    assert (
        "the simplest within the noise of the best: gated scores +1.5 points (95 % "
        "interval -2 to +5) against it, for 20 ms a row, 5,000 trained parameters"
    ) in text
    assert "fusion does not beat the best single modality or linear model" in text


def test_fusion_behind():
    text = say(
        row("title alone", "single", 88.0, modalities=("title",)),
        row("logistic regression", "linear", 87.0, (-1, -3, -0.5), (1, 0.5, 3)),
        row("gated", "fusion", 80.0, (-8, -12, -4), (8, 4, 12)),
    )
    assert text.startswith("Ship title alone (88 % accuracy")
    assert "fusion is worse than the best single modality or linear model" in text
    assert "gated scores -8 points (95 % interval -12 to -4) against title" in text


def test_fewer_modalities_are_simpler():
    text = say(
        row("title alone", "single", 60.0, gap=(25, 20, 30)),
        row("logistic regression", "linear", 85.0, modalities=("a", "b", "c")),
        row("no a", "linear", 84.0, (-1, -2, 1), (1, -1, 2), modalities=("b", "c")),
        row("gated", "fusion", 80.0, (-5, -9, -1), (5, 1, 9)),
    )
    assert text.startswith("Ship no a")


def test_a_wide_interval_is_no_reason_to_ship_a_worse_simple_method():
    """The best simple method is beaten: none that is worse can be within the noise."""
    text = say(
        row("title alone", "single", 60.0, (-20, -30, -10), (30, -1, 61)),
        row("logistic regression", "linear", 80.0, gap=(10, 4, 16)),
        row("gated", "fusion", 90.0, (10, 4, 16)),
    )
    assert text.startswith("Ship gated")


@pytest.mark.parametrize("metric, unit, shown", [("MAE", "", "(2 MAE,")])
def test_an_error_has_no_percent(metric, unit, shown):
    text = sentence(
        [
            row("title alone", "single", 2.0, better=-2.0, latency=None),
            row("gated", "fusion", 3.0, (-1, -2, -0.5), (1, 0.5, 2), better=-3.0),
        ],
        metric,
        unit,
    )
    assert shown in text and "points" not in text and "ms a row" not in text


def test_one_modality_has_nothing_to_fuse():
    text = say(row("title alone", "single", 70.0))
    assert text.endswith("; there is nothing to fuse.")
    assert text.count(". ") == 0  # one sentence
