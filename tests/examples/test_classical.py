"""The recipe from classical to deep runs on generated rows."""

import json

import pytest

from examples import measured
from examples.stamps import classical


@pytest.mark.slow
def test_a_smoke_run(tmp_path):
    arguments = ["--smoke", "--out", str(tmp_path)]
    done = measured.main(
        classical.measure,
        classical.EXPECTED,
        classical.__doc__,
        classical.__file__,
        arguments,
    )
    assert done == 0
    rows = json.loads((tmp_path / "stamps.classical.json").read_text())["rows"]
    assert [x["name"] for x in rows] and all(0 <= x["mean"] <= 100 for x in rows)
