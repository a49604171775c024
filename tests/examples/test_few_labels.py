"""The recipes of distillation and pretraining run on generated rows."""

import json

import numpy as np
import pytest

from examples import measured
from examples.stamps import distillation, few_labels, pretraining


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [distillation, pretraining])
def test_the_recipe_runs(recipe, tmp_path):
    given = ["--smoke", "--out", str(tmp_path), "--cache", str(tmp_path)]
    assert (
        measured.main(
            recipe.measure, recipe.EXPECTED, recipe.__doc__, recipe.__file__, given
        )
        == 0
    )
    name = measured.name(recipe.__file__)
    rows = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
    assert {x["name"] for x in rows} == set(recipe.EXPECTED)
    assert all(0 <= x["mean"] <= 100 for x in rows)


@pytest.mark.slow
def test_no_row_is_on_two_sides(tmp_path):
    options = type("Options", (), {"smoke": True, "out": tmp_path, "cache": tmp_path})
    stamps = few_labels.Stamps(options)
    rows = stamps.rows(seed=0, count=2)
    seen = np.union1d(rows.labelled, rows.unlabelled)
    held = np.union1d(rows.val, rows.test)
    groups = stamps.table.group.to_numpy()
    assert not set(groups[seen]) & set(groups[held])
    assert not np.intersect1d(rows.labelled, rows.unlabelled).size
    assert np.bincount(rows.y[rows.labelled]).tolist() == [2] * len(rows.classes)
    assert (rows.y[held] >= 0).all()
    # scaled by what training may see
    np.testing.assert_allclose(rows.x["photo"][seen].mean(axis=0), 0, atol=1e-5)
