import numpy as np
import pandas
import pytest

import mmkeras as mm


def table(count=200, seed=0):
    rng = np.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "id": np.arange(count),
            "label": rng.choice(["a", "b", "c"], count, p=[0.7, 0.2, 0.1]),
            "who": rng.integers(0, 40, count),
        },
        index=[f"r{i}" for i in range(count)],
    )


@pytest.mark.parametrize("stratify", [None, "label"])
@pytest.mark.parametrize("group", [None, "who"])
def test_every_row_is_in_one_part(stratify, group):
    rows = table()
    rows.attrs["root"] = "somewhere"
    parts = mm.data.split(rows, stratify=stratify, group=group, seed=3)
    assert list(parts) == ["train", "val", "test"]
    joined = pandas.concat(list(parts.values()))
    assert sorted(joined["id"]) == list(range(200))
    for part in parts.values():
        assert part["id"].is_monotonic_increasing
        assert part.attrs["root"] == "somewhere"
        pandas.testing.assert_frame_equal(part, rows.loc[part.index])
    again = mm.data.split(rows, stratify=stratify, group=group, seed=3)
    other = mm.data.split(rows, stratify=stratify, group=group, seed=4)
    assert again["test"].equals(parts["test"])
    assert not other["test"].equals(parts["test"])
    if group:
        names = [set(x["who"]) for x in parts.values()]
        assert sum(map(len, names)) == rows["who"].nunique()


def test_shares():
    rows = table()
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    plain = mm.data.split(rows)
    assert [len(x) for x in plain.values()] == [140, 30, 30]
    even = mm.data.split(rows, shares, stratify="label")
    grouped = mm.data.split(rows, shares, stratify="label", group="who")
    for name, count in rows["label"].value_counts().items():
        for part, share in shares.items():
            got = (even[part]["label"] == name).sum()
            assert abs(got - share * count) <= 1
            got = (grouped[part]["label"] == name).sum()
            assert abs(got - share * count) <= 5  # the size of a group


def test_by_column():
    rows = table(6).assign(split=["train", "test", "train", "val", "val", "train"])
    parts = mm.data.split(rows, "split")
    assert {k: list(x["id"]) for k, x in parts.items()} == {
        "train": [0, 2, 5],
        "test": [1],
        "val": [3, 4],
    }
    rows.loc["r4", "split"] = None
    with pytest.raises(ValueError, match=r"none in row 4 \(index 'r4'\)"):
        mm.data.split(rows, "split")


def test_rows_without_group_stand_alone():
    for empty in (None, "", [None, "", float("nan"), ""] * 12 + ["", None]):
        rows = table(50).assign(who=empty)
        parts = mm.data.split(rows, {"a": 0.5, "b": 0.5}, group="who")
        assert [len(x) for x in parts.values()] == [25, 25]


def test_errors():
    rows = table(20)
    with pytest.raises(ValueError, match="sum to 1"):
        mm.data.split(rows, {"train": 0.5, "test": 0.6})
    with pytest.raises(ValueError, match="sum to 1"):
        mm.data.split(rows, {"train": 1.0, "test": 0.0})
    with pytest.raises(ValueError, match="no column 'labels'.*Near names: .'label'"):
        mm.data.split(rows, stratify="labels")
    with pytest.raises(ValueError, match=r"too few rows.*'test'\] would be empty"):
        mm.data.split(rows[:2])
    with pytest.raises(ValueError, match="too few groups"):
        mm.data.split(rows.assign(who=1), group="who")
