"""Shards hold what the table holds, and give what `from_table` gives."""

import json
import shutil

import numpy as np
import pandas
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.sharding import manifest, places
from tests.data.rows import CLASSES

FACTS = mm.tabular.Columns(
    numeric={"price": (1.5, 2.0), "count": (0.0, 1.0)},
    categorical={"colour": ("red", "blue")},
)


def full(frame):
    """The ten rows with more columns, and holes."""
    frame = frame.copy()
    frame["price"] = [0.1, np.nan, 1 / 3, 1e-8, 5.0, 6.0, np.nan, 2.5, 1e7, 0.7]
    frame["count"] = range(2**40, 2**40 + 10)
    frame["colour"] = ["red", None, "blue", "red", "", "blue", None, "red", None, ""]
    frame["weight"] = [0.5, 1.0] * 5
    frame["split"] = ["train", "val", "train", "train", "val"] * 2
    frame["tags"] = [["a", "b"], [], ["c"]] * 3 + [["a"]]
    frame.loc[2, "photo"], frame.loc[3, "clip"], frame.loc[4, "title"] = None, "", None
    return frame


@pytest.fixture
def table(frame):
    return full(frame)


@pytest.fixture
def model(contracts):
    return {**contracts, "facts": FACTS}


def equal(given, wanted):
    given, wanted = list(given), list(wanted)
    assert len(given) == len(wanted)
    for x, y in zip(given, wanted, strict=True):
        tf.nest.assert_same_structure(x, y)
        for a, b in zip(tf.nest.flatten(x), tf.nest.flatten(y), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_elements_are_those_of_the_table(tmp_path, table, model, batch_size):
    mm.data.write_shards(table, tmp_path / "shards", rows_per_shard=3)
    reading = {
        "label": "label",
        "classes": CLASSES,
        "sample_weight": "weight",
        "class_weight": "balanced",
        "batch_size": batch_size,
    }
    rows = mm.data.from_shards(tmp_path / "shards", model, **reading)
    wanted = mm.data.from_table(table, model, **reading)
    assert len(rows) == len(wanted)
    equal(rows, wanted)
    present = np.hstack([x["photo_present"] for x, *_ in rows])
    np.testing.assert_array_equal(present, [1, 1, 0, 1, 1, 1, 1, 1, 1, 1])


def test_bytes_and_paths_give_the_same(tmp_path, folder, table, contracts):
    given = table.copy()
    for column in ("photo", "clip"):
        paths = table[column].fillna("")
        given[column] = [(folder / x).read_bytes() if x else None for x in paths]
    for name, source in (("paths", table), ("bytes", given)):
        mm.data.write_shards(source, f"file://{tmp_path}/{name}", rows_per_shard=4)
    one, two = (
        mm.data.from_shards(tmp_path / x, contracts, "label", classes=CLASSES)
        for x in ("paths", "bytes")
    )
    equal(one, two)
    url = mm.data.from_shards(
        f"file://{tmp_path}/paths", contracts, "label", classes=CLASSES
    )
    equal(one, url)


def test_another_program_reads_the_records(tmp_path, folder, table):
    """With nothing but TensorFlow: the files' bytes, strings, numbers, row numbers."""
    found = mm.data.write_shards(table, tmp_path / "shards", rows_per_shard=4)
    names = [str(tmp_path / "shards" / x["file"]) for x in found["shards"]]
    assert [x["rows"] for x in found["shards"]] == [4, 4, 2]
    features = {
        "mmkeras/row": tf.io.FixedLenFeature((), tf.int64),
        "photo": tf.io.FixedLenFeature((), tf.string, b""),
        "clip": tf.io.FixedLenFeature((), tf.string, b""),
        "title": tf.io.FixedLenFeature((), tf.string, b""),
        "label": tf.io.FixedLenFeature((), tf.string),
        "price": tf.io.FixedLenFeature((), tf.float32, -1.0),
        "count": tf.io.FixedLenFeature((), tf.int64),
        "tags": tf.io.VarLenFeature(tf.string),
    }
    rows = [
        tf.io.parse_single_example(x, features) for x in tf.data.TFRecordDataset(names)
    ]
    assert len(rows) == 10
    for i, row in enumerate(rows):
        assert int(row["mmkeras/row"]) == i
        for column in ("photo", "clip"):
            path = table[column].fillna("")[i]
            wanted = (folder / path).read_bytes() if path else b""
            assert row[column].numpy() == wanted
        assert row["title"].numpy() == table["title"].fillna("")[i].encode()
        assert row["label"].numpy().decode() == table["label"][i]
        price = table["price"].fillna(-1.0)[i]
        assert row["price"].numpy() == np.float32(price)
        assert int(row["count"]) == table["count"][i]
        tags = [x.decode() for x in tf.sparse.to_dense(row["tags"]).numpy()]
        assert tags == table["tags"][i]


def test_manifest(tmp_path, folder, table):
    found = mm.data.write_shards(
        table, tmp_path / "shards", split="split", shard_bytes=1
    )
    assert found == json.loads((tmp_path / "shards/shards.json").read_text())
    assert [x["part"] for x in found["shards"]] == ["train"] * 6 + ["val"] * 4
    assert {x["rows"] for x in found["shards"]} == {1}
    kinds = {x: about["kind"] for x, about in found["columns"].items()}
    assert [x for x in kinds if kinds[x] == "file"] == ["photo", "clip"]
    assert kinds["price"] == kinds["count"] == "number" and kinds["tags"] == "other"
    assert found["columns"]["label"]["classes"] == CLASSES


def test_parts_read_their_own_shards(tmp_path, table, model):
    out = tmp_path / "shards"
    found = mm.data.write_shards(table, out, split="split", rows_per_shard=2)
    reading = {"label": ["count"], "columns": {"title": "colour"}}
    equal(
        mm.data.from_shards(out, model, **reading),
        mm.data.from_table(table, model, **reading),
    )
    for x in found["shards"]:
        if x["part"] == "val":
            (out / x["file"]).unlink()
    train = mm.data.split(table, "split")["train"]
    equal(
        mm.data.from_shards(out, model, part="train", **reading),
        mm.data.from_table(train, model, **reading),
    )
    with pytest.raises(ValueError, match="2 of 2 shards are damaged: .*not there"):
        mm.data.from_shards(out, model, part="val")
    with pytest.raises(ValueError, match=r"`part` .* Valid: \['train', 'val'\]"):
        mm.data.from_shards(out, model, part="tune")


def test_only_the_rows_of_the_worker_are_read(tmp_path, table, contracts, monkeypatch):
    mm.data.write_shards(table.assign(photo=table["photo"][0]), tmp_path / "shards")
    count = []
    read = places.Place.read
    monkeypatch.setattr(places.Place, "read", lambda x: count.append(0) or read(x))
    rows = mm.data.from_shards(
        tmp_path / "shards",
        {"photo": contracts["photo"]},
        batch_size=4,
        worker=(1, 2),
        drop_remainder=True,
    )
    found = [x["photo_present"].tolist() for x in rows.as_numpy_iterator()]
    assert found == [[0, 0, 1, 1]] * 2 and len(count) == 4


def test_stopped_writing_goes_on(tmp_path, table):
    out, whole = tmp_path / "broken", tmp_path / "whole"
    mm.data.write_shards(table, whole, rows_per_shard=2)
    done = []

    def stop(rows):
        done.append(rows)
        if sum(done) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mm.data.write_shards(table, out, rows_per_shard=2, progress=stop)
    written = sorted(x.name for x in out.iterdir())
    assert written == [f"shard-0000{i}.{x}" for i in "01" for x in ("json", "tfrecord")]
    with pytest.raises(ValueError, match="writing was stopped: run the same command"):
        mm.data.from_shards(out, {"facts": FACTS})
    times = {x: (out / x).stat().st_mtime_ns for x in written}
    with pytest.raises(ValueError, match="those of another table"):
        mm.data.write_shards(table[::-1], out, rows_per_shard=2)
    with pytest.raises(ValueError, match="those of another table"):
        mm.data.write_shards(table, out, rows_per_shard=3)
    done.clear()
    mm.data.write_shards(table, out, rows_per_shard=2, progress=done.append)
    assert done == [2, 2, *[1] * 6]
    assert times == {x: (out / x).stat().st_mtime_ns for x in written}
    for path in whole.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()
    assert len(list(out.iterdir())) == len(list(whole.iterdir())) == 11


def test_a_shard_that_cannot_be_written(tmp_path, table):
    (tmp_path / "shard-00001.tfrecord").mkdir()  # in its way
    with pytest.raises(OSError, match="00001.tfrecord' cannot be written: .* go on"):
        mm.data.write_shards(table, tmp_path, rows_per_shard=4, root=tmp_path)
    assert (tmp_path / "shard-00000.json").exists()
    assert not (tmp_path / "shards.json").exists()


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)


def test_a_damaged_shard_is_named_with_its_row(tmp_path, table, contracts):
    out = tmp_path / "shards"
    mm.data.write_shards(table, out, rows_per_shard=4)
    shard = manifest.read(str(out))["shards"][1]
    _, lines = manifest.index(str(out), shard, ["photo"])
    damage(out / shard.file, lines["photo"]["at"][2] + 20)
    photo = {"photo": contracts["photo"]}
    message = (
        r"`from_shards` cannot read row 6, column 'photo', path '6.png' \(row 2 of "
        r"shard-00001.tfrecord\): shard '.*-00001.tfrecord' is damaged at its row 2"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(mm.data.from_shards(out, photo))
    bad = []
    rows = mm.data.from_shards(out, photo, on_bad_row="absent", bad_rows=bad)
    present = [float(x["photo_present"]) for x in rows]
    assert present == [1, 1, 0, 1, 1, 1, 0, 1, 1, 1] and [x.row for x in bad] == [6]

    (out / shard.file).write_bytes((out / shard.file).read_bytes()[:-9])
    with pytest.raises(ValueError, match="1 of 3 shards are damaged: .*00001.tfrecord"):
        mm.data.from_shards(out, photo)
    mm.data.write_shards(table, out, rows_per_shard=4)  # writes that one alone
    equal(mm.data.from_shards(out, photo), mm.data.from_table(table, photo))


def test_bad_files(tmp_path, folder, table, contracts):
    out = tmp_path / "shards"
    (folder / "5.png").unlink()
    (folder / "6.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="`write_shards` found 1 cell"):
        mm.data.write_shards(table, out)
    bad = []
    mm.data.write_shards(table, out, on_bad_row="absent", bad_rows=bad)
    assert [(x.row, x.column, x.reason) for x in bad] == [(5, "photo", "no such file")]
    photo = {"photo": contracts["photo"]}
    found, wanted = [], []
    equal(
        mm.data.from_shards(out, photo, on_bad_row="absent", bad_rows=found),
        mm.data.from_table(table, photo, on_bad_row="absent", bad_rows=wanted),
    )
    assert [x.row for x in found] == [6] and {x.row for x in wanted} == {5, 6}


def test_which_columns_are_files(tmp_path, folder, table, contracts):
    with pytest.raises(ValueError, match="Column 'title' looks like files in 1 of 9"):
        mm.data.write_shards(
            table.assign(title=["0.png", *table["title"][1:]]), tmp_path / "shards"
        )
    mm.data.write_shards(table, tmp_path / "shards", files=["clip"])
    with pytest.raises(ValueError, match="'photo' wants files; column 'photo' was"):
        mm.data.from_shards(tmp_path / "shards", contracts)
    with pytest.raises(ValueError, match="no column 'sound' for `files`"):
        mm.data.write_shards(table, tmp_path / "other", files=["sound"])


def test_shards_of_other_files_are_not_taken_for_these(tmp_path, folder, table):
    relative = pandas.DataFrame({"photo": ["0.png", "1.png"]})
    mm.data.write_shards(relative, tmp_path / "small", root=folder)
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(ValueError, match="those of another table"):
        mm.data.write_shards(relative, tmp_path / "small", root=tmp_path / "copy")
    mm.data.write_shards(table, tmp_path / "shards")
    photo = folder / "0.png"
    photo.write_bytes((folder / "1.png").read_bytes())
    with pytest.raises(ValueError, match="those of another table"):
        mm.data.write_shards(table, tmp_path / "shards")


@pytest.mark.parametrize("dtype", [bool, "boolean", object])
def test_columns_of_true_and_false(tmp_path, dtype):
    rows = pandas.DataFrame({"ok": pandas.Series([True, False, True], dtype=dtype)})
    rows["share"] = np.array([0.1, np.nan, 1 / 3], "float32")
    mm.data.write_shards(rows, tmp_path / "shards")
    contract = {"x": mm.tabular.Columns(numeric={"share": (0, 1)}, categorical={})}
    wanted = list(mm.data.from_table(rows, contract, "ok").as_numpy_iterator())
    found = mm.data.from_shards(tmp_path / "shards", contract, "ok")
    for (x, y), (a, b) in zip(wanted, found.as_numpy_iterator(), strict=True):
        assert y == b
        np.testing.assert_array_equal(x["x"], a["x"])


def test_blocks_are_read_once(tmp_path, table, contracts, monkeypatch):
    """From another machine: each block once in a pass, whatever the order."""
    monkeypatch.setattr(places, "_BLOCK", 64)
    url = f"file://{tmp_path}/shards"
    mm.data.write_shards(table, url, rows_per_shard=5)
    fetched = []
    fetch = places.Files._fetch

    def counted(files, shard, number):
        fetched.append((shard, number))
        return fetch(files, shard, number)

    monkeypatch.setattr(places.Files, "_fetch", counted)
    photo = {"photo": contracts["photo"]}
    rows = mm.data.from_shards(url, photo, shuffle=True, batch_size=5)
    assert sum(len(x["photo"]) for x in rows) == 10
    assert fetched and len(fetched) == len(set(fetched))


def test_a_service_decodes_the_same(tmp_path, table, model):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.removeprefix("grpc://")
    workers = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
        for _ in range(2)
    ]
    assert len(workers) == 2
    out = tmp_path / "shards"
    mm.data.write_shards(table, out, rows_per_shard=3, split="split")
    reading = {"label": ["count"], "sample_weight": "weight", "batch_size": 4}
    rows = mm.data.from_shards(
        out, model, part="train", shuffle=True, service=dispatcher.target, **reading
    )
    wanted = mm.data.from_table(
        mm.data.split(table, "split")["train"], model, **reading
    )
    assert len(rows) == 2
    wanted = list(wanted.unbatch())

    def title(element):
        return element[0]["title"].numpy().tolist()

    given = list(rows.unbatch())  # in an order of the service's own
    equal(sorted(given, key=title), sorted(wanted, key=title))
    with pytest.raises(ValueError, match="`service` wants `batch_size`"):
        mm.data.from_shards(out, model, service=dispatcher.target)
