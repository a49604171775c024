"""The order of a pass over shards: seeds, workers, and passes that go on."""

from pathlib import Path

import numpy as np
import pandas
import pytest

import mmkeras as mm


def labels(rows):
    return [y.tolist() for _, y in rows.as_numpy_iterator()]


@pytest.fixture
def many(tmp_path):
    """Shards of 100 rows without files, by sevens."""
    rows = pandas.DataFrame({"price": np.arange(100.0), "n": np.arange(100)})
    mm.data.write_shards(rows, tmp_path / "many", rows_per_shard=7)
    return str(tmp_path / "many")


PRICE = {"price": mm.tabular.Columns(numeric={"price": (0.0, 1.0)})}


def test_each_row_once_in_another_order_each_pass(many):
    def passes(seed, buffer=16):
        rows = mm.data.from_shards(
            many, PRICE, "n", shuffle=True, seed=seed, buffer=buffer, batch_size=8
        )
        assert len(rows) == 13
        return [sum(labels(rows), []) for _ in range(2)]

    one, again, other = passes(1), passes(1), passes(2)
    assert one == again
    for found in (*one, *other):
        assert sorted(found) == list(range(100))
    assert one[0] != one[1] and one[0] != other[0]
    shards = np.arange(100) // 7
    assert one[1] == mm.data.shard_order(shards, 1, 1, 16).tolist()


def test_buffer_of_no_rows(many):
    with pytest.raises(ValueError, match="`buffer` wants 1 row or more"):
        mm.data.from_shards(many, PRICE, buffer=0)


def test_a_pass_takes_shards_one_after_the_other():
    """400 shards of 10 rows: 64 rows in a row touch few of them, not all."""
    shards = np.repeat(np.arange(400), 10)
    order = mm.data.shard_order(shards, 0, 0, 64)
    windows = [set(shards[order[i : i + 64]]) for i in range(0, 4000, 64)]
    assert max(map(len, windows)) <= 16
    assert np.mean([len(x) for x in windows]) > 6  # and not one alone
    seen = [[i for i, x in enumerate(windows) if j in x] for j in range(400)]
    assert max(x[-1] - x[0] for x in seen) <= 2


def test_workers_share_the_rows(many):
    """What TensorFlow takes of each worker's batches is disjoint and all there is."""
    batch, count = 12, 3

    def batches(index):
        worker = mm.distribute.Worker(index, count)
        rows = mm.data.from_shards(
            many, PRICE, "n", shuffle=True, batch_size=batch, worker=worker
        )
        return labels(rows)[:8]

    shards = np.arange(100) // 7
    order = mm.data.shard_order(shards, 0, 0, 4096, batch, count)
    assert sorted(order) == list(range(100))
    kept = []
    for index in range(count):
        for step, found in enumerate(batches(index)):
            mine = slice(4 * index, 4 * index + 4)
            wanted = order[batch * step : batch * step + batch]
            assert found[mine] == wanted[mine].tolist()
            kept += found[mine]
        owned = order[:96].reshape(8, count, 4)[:, index]
        assert len(set(shards[owned.ravel()])) <= 14
    assert len(set(kept)) == 96


def test_workers_have_shards_of_their_own():
    shards = np.repeat(np.arange(64), 10)
    order = mm.data.shard_order(shards, 0, 0, 100, batch_size=16, workers=2)
    sides = order.reshape(-1, 2, 8)
    one, two = (set(shards[sides[:, i].ravel()]) for i in range(2))
    assert len(one) == len(two) == 32 and not one & two


def test_resume_goes_on_in_the_same_order(many, tmp_path):
    resume = mm.Resume(tmp_path / "state")
    reading = {"label": "n", "shuffle": True, "batch_size": 8, "seed": 3}
    whole = mm.data.from_shards(many, PRICE, **reading)
    first, second = labels(whole), labels(whole)
    resume.epoch, resume.skipped_steps = 1, 5
    rest = labels(mm.data.from_shards(many, PRICE, resume=resume, **reading))
    assert rest[5:] == second[5:] != first[5:]
    assert not any(map(any, rest[:5]))


def test_a_folder_of_shards_is_no_table(many):
    with pytest.raises(ValueError, match="mmkeras.data.from_shards"):
        mm.data.read_table(many)
    with pytest.raises(ValueError, match="without a shards.json"):
        mm.data.from_shards(Path(many).parent, PRICE)
