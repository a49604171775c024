"""Shards: whole or not at all, and nobody else's."""

import os
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmkeras.data.hashes import Hashes
from mmkeras.data.shards import Column, Shards, write


def key(i):
    return bytes([i]) * 16


def rows(start, stop):
    x = np.arange(start, stop, dtype="float32")
    return {"feature": np.stack([x, x * x], axis=1), "mask": x > 3}


def fresh(folder, encoder="a", **options):
    return Shards(
        folder / "shards", encoder, Hashes(folder / "manifest.json"), **options
    )


@pytest.fixture
def shards(tmp_path):
    """Ten rows in three shards."""
    made = fresh(tmp_path, rows=4)
    for i in range(0, 10, 2):
        made.add([key(i), key(i + 1)], rows(i, i + 2))
    made.flush()
    return made


def files(folder):
    return sorted((folder / "shards").glob("*.safetensors"))


def test_rows_come_back_in_any_order(shards, tmp_path):
    assert len(files(tmp_path)) == 3
    order = [9, 0, 4, 4, 7]
    for reader in (shards, fresh(tmp_path)):
        columns = reader.columns([key(i) for i in order])
        for name, wanted in rows(0, 10).items():
            found = columns[name].take(np.arange(5))
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted[order])


def test_safetensors_reads_them(shards, tmp_path):
    found = np.concatenate([load_file(x)["feature"] for x in files(tmp_path)])
    np.testing.assert_array_equal(np.sort(found[:, 0]), np.arange(10))


def test_a_row_is_on_disk_only_when_its_shard_is(tmp_path):
    made = fresh(tmp_path, rows=4)
    made.add([key(0)], {k: x[:1] for k, x in rows(0, 1).items()})
    assert key(0) in made and not files(tmp_path)
    assert key(0) not in fresh(tmp_path)
    made.flush()
    assert key(0) in fresh(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 60, 0.6, -1])
def test_a_cut_file_is_computed_again(shards, tmp_path, keep, caplog):
    path = files(tmp_path)[1]
    content = path.read_bytes()
    keep = int(keep * len(content)) if isinstance(keep, float) else keep
    path.write_bytes(content[:keep])
    again = fresh(tmp_path, rows=4)
    missing = [i for i in range(10) if key(i) not in again]
    assert len(missing) in (2, 4)
    for i in missing:
        again.add([key(i)], rows(i, i + 1))
    again.flush()
    assert caplog.text.count("is damaged and removed") == 1
    columns = fresh(tmp_path).columns([key(i) for i in range(10)])
    for name, wanted in rows(0, 10).items():
        np.testing.assert_array_equal(columns[name].take(np.arange(10)), wanted)
    assert len(files(tmp_path)) == 3 and len(caplog.records) == 1


def test_a_flipped_bit_is_noticed(shards, tmp_path):
    time.sleep(2.6)
    fresh(tmp_path).hashes.save()
    path = files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert sum(key(i) in fresh(tmp_path) for i in range(10)) < 10


def test_foreign_files_are_left_out(shards, tmp_path, caplog):
    save_file({"x": np.ones(3)}, tmp_path / "shards" / "model.safetensors")
    (tmp_path / "shards" / "notes.txt").write_text("mine")
    (tmp_path / "shards" / ".tmp-dead").write_bytes(b"half")
    again = fresh(tmp_path)
    assert all(key(i) in again for i in range(10))
    assert "model.safetensors is foreign and left out" in caplog.text
    other = fresh(tmp_path, encoder="b")
    assert not other.parts and "belongs to another encoder" in caplog.text


def test_only_a_dead_runs_temporary_file_goes(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, age in ((".tmp-dead", 7200), (".tmp-live", 10)):
        (folder / name).write_bytes(b"half")
        then = time.time() - age
        os.utime(folder / name, (then, then))
    fresh(tmp_path)
    assert [x.name for x in folder.iterdir()] == [".tmp-live"]


def test_two_writers_never_share_a_temporary_name(tmp_path, monkeypatch):
    seen, replace = [], os.replace

    def nested(temporary, path):
        seen.append(temporary)
        if len(seen) == 1:  # the other process writes the same shard meanwhile
            write(path, b"whole")
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", nested)
    write(tmp_path / "a", b"whole")
    assert len(set(seen)) == 2
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def full(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_two_open_caches_fill_one_folder(tmp_path):
    first, second = fresh(tmp_path), fresh(tmp_path)
    first.add([key(0), key(1)], rows(0, 2))
    second.add([key(1), key(2)], rows(1, 3))
    first.flush()
    second.flush()
    found = fresh(tmp_path).columns([key(i) for i in range(3)])["feature"]
    np.testing.assert_array_equal(found.take(np.arange(3)), rows(0, 3)["feature"])


def test_work_is_written_when_a_minute_has_passed(tmp_path, monkeypatch):
    made = fresh(tmp_path, rows=100)
    made.add([key(0)], rows(0, 1))
    assert not files(tmp_path)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    made.add([key(1)], rows(1, 2))
    assert len(files(tmp_path)) == 1


def test_half_precision(tmp_path):
    import ml_dtypes

    made = fresh(tmp_path)
    values = np.array([[1.5, 2], [3, 4]], ml_dtypes.bfloat16)
    made.add([key(0), key(1)], {"feature": values})
    made.flush()
    found = fresh(tmp_path).columns([key(1)])["feature"].take(np.array([0]))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[1:])


def test_a_column_of_one_array():
    column = Column([np.arange(5)])
    assert len(column) == 5 and column.shape == ()
    np.testing.assert_array_equal(column.take([3, 0]), [3, 0])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 0, "files": {}}'])
def test_a_broken_manifest_only_costs_time(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    (tmp_path / "a").write_bytes(b"x")
    hashes = Hashes(tmp_path / "manifest.json")
    assert hashes.of(tmp_path / "a") == Hashes(tmp_path / "none").of(tmp_path / "a")


def test_the_manifest_spares_reading(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    time.sleep(2.6)
    hashes = Hashes(tmp_path / "manifest.json")
    found = hashes.of(path)
    hashes.save()
    again = Hashes(tmp_path / "manifest.json")
    monkeypatch.setattr("builtins.open", None)
    assert again.of(path) == found
