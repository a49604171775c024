"""The recipes of several tasks and of a graph: a short run gives all numbers."""

import json

import pytest

from examples.stamps import graph, multitask


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [multitask, graph])
def test_smoke(recipe, tmp_path):
    given = recipe.measure, recipe.EXPECTED, recipe.__doc__, recipe.__file__
    arguments = ["--smoke", "--out", str(tmp_path)]
    assert recipe.measured.main(*given, arguments) == 0
    name = recipe.measured.name(recipe.__file__)
    record = json.loads((tmp_path / f"{name}.json").read_text("utf8"))
    assert {x["name"] for x in record["rows"]} == set(recipe.EXPECTED)
