"""Tables and files that are not local, on TensorFlow's file system in memory."""

import numpy as np
import pandas
import pytest
import tensorflow as tf

import mmkeras as mm

gfile = tf.io.gfile
SAYS = r"\['file://', 'gs://', 'ram://'\]. No file system is registered for 's3://'"


def put(path, content):
    if gfile.exists(path):  # in memory, writing it again would write behind its end
        gfile.remove(path)
    with gfile.GFile(path, "wb") as file:
        file.write(content)


@pytest.fixture(params=["ram://bucket/", "ram://"])
def remote(folder, request):
    """The folder's files in memory; the second has no bucket before them."""
    for file in folder.iterdir():
        put(f"{request.param}{file.name}", file.read_bytes())
    return request.param


def equal(found, wanted):
    found, wanted = (list(x.as_numpy_iterator()) for x in (found, wanted))
    assert len(found) == len(wanted) > 0
    for a, b in zip(found, wanted, strict=True):
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])


def test_a_remote_table_is_the_local_one(remote, folder, contracts):
    local = mm.data.read_table(folder / "table.csv")
    local.to_parquet(folder / "table.parquet")
    local.to_json(folder / "table.jsonl", orient="records", lines=True)
    for name in ("table.csv", "table.parquet", "table.jsonl"):
        put(f"{remote}{name}", (folder / name).read_bytes())
        found = mm.data.read_table(f"{remote}{name}")
        pandas.testing.assert_frame_equal(found, local, check_dtype=False)
        rows = mm.data.from_table(f"{remote}{name}", contracts, batch_size=4)
        equal(rows, mm.data.from_table(local, contracts, batch_size=4))
    with pytest.raises(ValueError, match="a file that is there.*none.csv"):
        mm.data.read_table(f"{remote}none.csv")


def test_remote_files_of_a_local_table(remote, frame, contracts):
    wanted = mm.data.from_table(frame, contracts)
    named = frame.assign(photo=remote + frame["photo"], clip=remote + frame["clip"])
    equal(mm.data.from_table(named, contracts), wanted)
    equal(mm.data.from_table(frame, contracts, root=remote), wanted)
    named.loc[2, "photo"] = f"{remote}none.png"
    bad = []
    rows = mm.data.from_table(named, contracts, on_bad_row="absent", bad_rows=bad)
    assert [float(x["photo_present"]) for x in rows][:4] == [1, 1, 0, 1]
    assert [x.row for x in bad] == [2]


def test_remote_shards(remote, frame, contracts):
    mm.data.write_shards(frame, f"{remote}shards", rows_per_shard=4)
    rows = mm.data.from_shards(f"{remote}shards", contracts)
    equal(rows, mm.data.from_table(frame, contracts))
    assert not [x for x in gfile.listdir(f"{remote}shards") if x.endswith(".tmp")]
    gfile.rmtree(f"{remote}shards")


def test_an_unknown_scheme_stops_before_the_first_row(frame, contracts, tmp_path):
    with pytest.raises(ValueError, match=f"`table` wants .*{SAYS}.*'s3://b/a.csv'"):
        mm.data.read_table("s3://b/a.csv")
    photo = {"photo": contracts["photo"]}
    frame.loc[3, "photo"] = "s3://b/3.png"
    message = f"row 3, column 'photo', path 's3://b/3.png': wanted .*{SAYS}"
    for policy in ("raise", "absent"):
        with pytest.raises(ValueError, match=message):
            mm.data.from_table(frame, photo, on_bad_row=policy, bad_rows=[])
        with pytest.raises(ValueError, match="`write_shards` cannot read row 3"):
            mm.data.write_shards(frame, tmp_path / "shards", on_bad_row=policy)
        with pytest.raises(ValueError, match=r"row 0.*'s3://b/0.png'.*'s3://'"):
            mm.data.from_table(frame, photo, root="s3://b", on_bad_row=policy)
    http = frame.assign(photo="https://a.org/1.png")
    with pytest.raises(ValueError, match="registered for 'https://'. Download"):
        mm.data.from_table(http, photo, on_bad_row="absent")
    with pytest.raises(ValueError, match=f"`folder` wants .*{SAYS}"):
        mm.data.write_shards(frame, "s3://b")
    with pytest.raises(ValueError, match=f"`folder` wants .*{SAYS}"):
        mm.data.from_shards("s3://b", photo)
