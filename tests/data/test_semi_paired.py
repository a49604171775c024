"""Semi-paired batches: the share, each row, none twice, an order of seed and epoch."""

import numpy as np
import pandas
import pytest

import mmkeras as mm
from tests import paired

HAVING = np.arange(50) % 7 == 0  # 8 of 50


@pytest.mark.parametrize("share, some", [(0.25, 3), (0.5, 6), (0.9, 11)])
def test_each_batch_has_the_share_and_an_epoch_every_row(share, some):
    rows = mm.data.semi_paired(HAVING, 12, share) if some <= 8 else None
    if rows is None:
        with pytest.raises(ValueError, match="11 rows with the part.*Received: 8"):
            mm.data.semi_paired(HAVING, 12, share)
        return
    assert (HAVING[rows].sum(axis=1) == some).all()
    assert set(rows.ravel()) == set(range(50))
    assert all(len(set(batch)) == 12 for batch in rows)
    # no more steps than the side with most batches wants
    assert len(rows) == max(-(-8 // some), -(-42 // (12 - some)))
    counts = np.bincount(rows.ravel())
    for side in (HAVING, ~HAVING):  # a side's rows come equally often
        assert np.ptp(counts[side]) <= 2


def test_the_order_is_of_seed_and_epoch():
    first = mm.data.semi_paired(HAVING, 10, 0.2, seed=1, epoch=2)
    again = mm.data.semi_paired(HAVING, 10, 0.2, seed=1, epoch=2)
    np.testing.assert_array_equal(first, again)
    for other in ({"seed": 2, "epoch": 2}, {"seed": 1, "epoch": 3}):
        assert not np.array_equal(first, mm.data.semi_paired(HAVING, 10, 0.2, **other))


def test_batches_of_arrays():
    inputs = {"title": np.arange(50.0)[:, None], "title_present": HAVING.astype(float)}
    labels, weights = np.arange(50), np.arange(50) / 50
    batches = mm.data.SemiPaired(
        inputs, "title", 10, 0.3, labels=labels, sample_weight=weights, seed=4
    )
    wanted = [mm.data.semi_paired(HAVING, 10, 0.3, 4, epoch) for epoch in (0, 1)]
    for rows in wanted:
        assert len(batches) == len(rows)
        for i in range(len(batches)):
            x, y, weight = batches[i]
            np.testing.assert_array_equal(x["title"][:, 0], rows[i])
            np.testing.assert_array_equal(y, rows[i])
            np.testing.assert_array_equal(weight, rows[i] / 50)
            assert x["title_present"].sum() == 3
        batches.on_epoch_end()
    alone = mm.data.SemiPaired(inputs, HAVING, 10, 0.3)[0]
    assert sorted(alone) == ["title", "title_present"]


def test_batches_of_a_table():
    rows = paired.rows(20)
    table = pandas.DataFrame(
        {x: [",".join(map(str, row)) for row in rows[x]] for x in paired.WIDTHS}
    )
    table.loc[4:, "left"] = None
    chosen = mm.data.semi_paired(table.left.notna(), 8, 0.25)
    read = mm.data.from_table(
        table, paired.encoders(), batch_size=8, rows=chosen.ravel()
    )
    shown = [batch["left_present"].numpy().sum() for batch in read]
    assert shown == [2.0] * len(chosen)


@pytest.mark.parametrize(
    ("error", "given"),
    [
        ("leaves each side a row", {"share": 0.01}),
        ("leaves each side a row", {"share": 1.0}),
        ("leaves each side a row", {"having": np.ones((4, 2))}),
        ("without the part in a batch. Received: 0", {"having": np.ones(50)}),
    ],
)
def test_what_is_refused(error, given):
    with pytest.raises(ValueError, match=error):
        mm.data.semi_paired(**{"having": HAVING, "batch_size": 10, **given})


def test_wrong_names():
    with pytest.raises(ValueError, match=r"Valid names: \['title'\]"):
        mm.data.SemiPaired({"title_present": HAVING}, "clip", 4)
    with pytest.raises(ValueError, match="`sample_weight` wants `labels`"):
        mm.data.SemiPaired(
            {"title_present": HAVING}, "title", 4, sample_weight=np.ones(50)
        )
