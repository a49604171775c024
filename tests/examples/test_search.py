"""The recipe of search: a run of a few steps gives every number and its pages."""

import json

import pytest

from examples.stamps import search


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    arguments = ["--smoke", "--out", str(tmp_path)]
    run = search.measured.main
    assert (
        run(search.measure, search.EXPECTED, search.__doc__, search.__file__, arguments)
        == 0
    )
    record = json.loads((tmp_path / "stamps.search.json").read_text())
    assert {x["name"] for x in record["rows"]} == set(search.EXPECTED)
    made = {x.name for x in (tmp_path / "search").iterdir()}
    assert made == {"words.html", "words.png", "sounds.html", "sounds.png"}
