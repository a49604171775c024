"""Files that stand in the table as base64 give what their paths give."""

import base64
import json

import numpy as np
import pytest

import mmkeras as mm
from mmkeras.data.base64_cells import is_base64


def as_base64(path, uri=""):
    return uri + base64.b64encode(path.read_bytes()).decode()


@pytest.fixture
def encoded(frame):
    """The table with its files inside; every other one as a data URI, lines broken."""
    root = frame.attrs["root"]
    from pathlib import Path

    frame = frame.copy()
    for column, kind in (("photo", "image/png"), ("clip", "audio/wav")):
        cells = [
            as_base64(Path(root, x), f"data:{kind};base64," if i % 2 else "")
            for i, x in enumerate(frame[column])
        ]
        cells[2] = "\n".join(cells[2][i : i + 76] for i in range(0, len(cells[2]), 76))
        frame[column] = cells
    return frame


def rows(table, contracts, **options):
    return list(mm.data.from_table(table, contracts, **options).as_numpy_iterator())


def same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])


def test_base64_is_the_file(frame, encoded, contracts, tmp_path):
    wanted = rows(frame, contracts)
    same(rows(encoded, contracts), wanted)
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(map(json.dumps, encoded.to_dict("records"))))
    same(rows(lines, contracts), wanted)
    found = mm.data.write_shards(encoded, tmp_path / "shards")
    assert found["columns"]["photo"]["kind"] == "file"
    read = mm.data.from_shards(tmp_path / "shards", contracts)
    same(read.as_numpy_iterator(), wanted)


def test_what_is_no_base64_is_named(encoded, contracts):
    photo = {"photo": contracts["photo"]}
    encoded.loc[3, "photo"] = "data:image/png;base64,iVBO=w0KGgo"
    encoded.loc[4, "photo"] = "data:image/png;base64,AAAA"  # base64 of no picture
    with pytest.raises(ValueError, match="row 3, column 'photo'.*no base64"):
        mm.data.from_table(encoded, photo)
    bad = []
    found = rows(encoded, photo, on_bad_row="absent", bad_rows=bad)
    assert [x["photo_present"] for x in found][3:5] == [0, 0]
    assert {x.row for x in bad} == {3, 4}


def test_paths_are_no_base64(tmp_path):
    for path in (
        "/9j/photo.jpg",
        "SUQz.mp3",
        "a" * 90,
        "/9j/" + "long/" * 30 + "1.jpg",
    ):
        assert not is_base64(path)
