"""The recipe on which rows to label next runs on generated rows."""

import json

import pytest

from examples import measured
from examples.stamps import annotation


def test_labels_needed_lie_on_the_line_between_rounds():
    curve = [20.0, 40.0, 80.0, 70.0]
    assert annotation.reached(curve, 10, 60.0, 99) == 25.0
    assert annotation.reached(curve, 10, 20.0, 99) == 10
    assert annotation.reached(curve, 10, 81.0, 99) == 99


@pytest.mark.slow
def test_a_smoke_run(tmp_path):
    arguments = ["--smoke", "--out", str(tmp_path)]
    done = measured.main(
        annotation.measure,
        annotation.EXPECTED,
        annotation.__doc__,
        annotation.__file__,
        arguments,
    )
    assert done == 0
    rows = json.loads((tmp_path / "stamps.annotation.json").read_text())["rows"]
    found = {x["name"]: x["mean"] for x in rows}
    for method in annotation._METHODS:
        assert 8 <= found[f"labels needed, {method}"] <= 48
