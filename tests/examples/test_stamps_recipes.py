"""The recipes of retrieval, unequal data and a long tail run on generated rows."""

import json

import pytest

from examples import measured
from examples.stamps import long_tail, retrieval, unequal


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [retrieval, unequal, long_tail])
def test_the_recipe_runs(recipe, tmp_path):
    given = [recipe.measure, recipe.EXPECTED, recipe.__doc__, recipe.__file__]
    flags = ["--smoke", "--out", str(tmp_path), "--cache", str(tmp_path)]
    assert measured.main(*given, flags) == 0
    name = measured.name(recipe.__file__)
    rows = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["rows"]
    assert {x["name"] for x in rows} == set(recipe.EXPECTED)
