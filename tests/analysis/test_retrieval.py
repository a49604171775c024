"""Retrieval metrics against ranks counted row by row."""

import numpy as np
import pytest

import mmkeras as mm
from tests import paired


def drawn(rows=60, units=5, noise=0.7):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, units))
    names = ("clip", "photo", "title")
    return {x: hidden + noise * rng.normal(size=hidden.shape) for x in names}


def by_hand(queries, targets):
    """Ranks, one row after the other, from sorting its cosines."""
    ranks = []
    for i, query in enumerate(queries):
        cosines = [
            query @ x / np.linalg.norm(query) / np.linalg.norm(x) for x in targets
        ]
        ranks.append(1 + list(np.argsort(cosines)[::-1]).index(i))
    return np.array(ranks)


def test_ranks_of_every_ordered_pair():
    data = drawn()
    found = mm.analysis.retrieval(data, ks=(1, 3))
    assert len(found.table) == 6
    for (query, target), row in found.table.items():
        ranks = by_hand(data[query], data[target])
        assert row["recall@1"] == pytest.approx(np.mean(ranks == 1))
        assert row["recall@3"] == pytest.approx(np.mean(ranks <= 3))
        assert row["median_rank"] == np.median(ranks)
        assert row["mrr"] == pytest.approx(np.mean(1 / ranks))
    assert 0.1 < found.score("photo", "title") < 0.9


def test_rows_without_both_are_left_out():
    data = drawn()
    data["photo"][:10] = 0
    data["title"][5:20] = 0
    found = mm.analysis.retrieval(data)
    assert found.rows["photo", "title"] == 40
    assert found.rows["clip", "photo"] == 50
    ranks = by_hand(data["photo"][20:], data["title"][20:])
    assert found.score("photo", "title", "mrr") == pytest.approx(np.mean(1 / ranks))


def test_ties_are_taken_in_random_order():
    """Averaged over shuffles of rows that are told apart by nothing."""
    data = {x: y.astype("float32") for x, y in drawn(24).items() if x != "clip"}
    data["title"] = np.repeat(data["title"][::3], 3, axis=0)
    found = mm.analysis.retrieval(data, ks=(1, 2))
    rng = np.random.default_rng(0)
    drawn_ranks = []
    for _ in range(400):
        nudged = data["title"] + rng.normal(size=data["title"].shape) * 1e-5
        drawn_ranks.append(by_hand(data["photo"], nudged))
    ranks = np.array(drawn_ranks)
    # 400 draws of 24 ranks: a standard error below 0.005
    for k in (1, 2):
        got = found.score("photo", "title", f"recall@{k}")
        assert got == pytest.approx(np.mean(ranks <= k), abs=0.02)
    got = found.score("photo", "title", "mrr")
    assert got == pytest.approx(np.mean(1 / ranks), abs=0.02)


def test_what_is_all_alike_gives_chance():
    found = mm.analysis.retrieval({"a": np.ones((20, 3)), "b": np.ones((20, 3))})
    chance = found.chance["a", "b"]
    assert found.table["a", "b"] == pytest.approx(chance)
    assert chance["recall@5"] == pytest.approx(0.25)
    assert chance["median_rank"] == 10.5
    assert chance["mrr"] == pytest.approx(sum(1 / i for i in range(1, 21)) / 20)


def test_a_model_on_batches_and_on_arrays():
    model = mm.two_tower(paired.encoders(), 4)
    rows = paired.rows(30)
    rows["left_present"][:4] = 0
    whole = mm.analysis.retrieval(model, rows)
    assert whole.rows["left", "right"] == 26
    batches = [({k: x[i : i + 10] for k, x in rows.items()}, 0) for i in (0, 10, 20)]
    assert mm.analysis.retrieval(model, batches) == whole
    embeddings = {k: np.asarray(x) for k, x in model(rows).items()}
    found = mm.analysis.retrieval(embeddings)
    for pair, row in whole.table.items():
        assert found.table[pair] == pytest.approx(row)


def test_shown():
    found = mm.analysis.retrieval(drawn(), ks=(1, 5))
    frame = found.to_frame()
    assert frame.loc[("photo", "clip"), "recall@5"] == found.score(
        "photo", "clip", "recall@5"
    )
    assert frame.loc[("photo", "clip"), "recall@5_chance"] == pytest.approx(5 / 60)
    lines = str(found).splitlines()
    assert len(lines) == 13
    assert lines[1].startswith("clip -> photo") and lines[2].startswith("  by chance")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("error", "args"),
    [
        ("two modalities", ({"a": np.ones((3, 2))},)),
        ("one shape", ({"a": np.ones((3, 2)), "b": np.ones((4, 2))},)),
        ("finite", ({"a": np.ones((3, 2)), "b": np.full((3, 2), np.nan)},)),
        ("none of 3", ({"a": np.ones((3, 2)), "b": np.zeros((3, 2))},)),
        ("`ks` wants", ({"a": np.ones((3, 2)), "b": np.ones((3, 2))}, None, (0,))),
    ],
)
def test_what_is_refused(error, args):
    with pytest.raises(ValueError, match=error):
        mm.analysis.retrieval(*args)
