"""Files that stand in the table as base64 give what their paths give."""

import base64
import json

import numpy as np
import pandas
import pytest
import soundfile
from PIL import Image

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
        "//" + "tmp/" * 20,
        "//server/share/" + "long/" * 60 + "1.mp3",
    ):
        assert not is_base64(path)


def mpeg_head(version, layer, rate, sampling, rest):
    """The first four bytes of a frame, put together from its fields' bits."""
    bits = f"{'1' * 11}{version:02b}{layer:02b}1{rate:04b}{sampling:02b}{rest:010b}"
    return int(bits, 2).to_bytes(4)


def test_sounds_without_a_tag_are_base64():
    """MPEG 1, 2 and 2.5, layers 3 and 2, all bit rates; not what no frame has."""

    def is_sound(*fields):
        content = mpeg_head(*fields, 0b0011000100) + bytes(range(256)) * 2
        return is_base64(base64.b64encode(content).decode())

    for version in (0, 2, 3):
        for layer in (1, 2, 3):
            for rate in range(15):
                assert all(is_sound(version, layer, rate, x) for x in (0, 1, 2))
    wrong = [(1, 1, 5, 0), (3, 0, 5, 0), (3, 1, 15, 0), (3, 1, 5, 3)]
    assert not any(is_sound(*x) for x in wrong)


def test_mp3_and_bmp_in_the_table(contracts, tmp_path):
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 0.1, 8000).astype("float32")
    soundfile.write(tmp_path / "1.mp3", wave, 8000)
    sound = (tmp_path / "1.mp3").read_bytes()
    start = sound.index(b"\xff\xe3")  # the first frame: MPEG 2.5, as 8 kHz wants
    (tmp_path / "1.mp3").write_bytes(sound[start:])
    picture = rng.integers(0, 256, (4, 4, 3), "uint8")
    Image.fromarray(picture).save(tmp_path / "1.bmp")
    files = pandas.DataFrame({"photo": ["1.bmp"], "clip": ["1.mp3"]})
    cells = {k: [as_base64(tmp_path / x[0])] for k, x in files.items()}
    assert cells["clip"][0].startswith("/+") and cells["photo"][0].startswith("Qk")
    both = {key: contracts[key] for key in ("photo", "clip")}
    wanted = rows(files, both, root=tmp_path)
    same(rows(pandas.DataFrame(cells), both), wanted)
    np.testing.assert_array_equal(wanted[0]["photo"], picture)


def test_a_long_cell_is_told_by_its_begin(contracts):
    cell = base64.b64encode(b"unheard of" * 2000).decode()
    table = pandas.DataFrame({"photo": [cell], "label": [cell]})
    photo = {"photo": contracts["photo"]}
    with pytest.raises(ValueError, match=r"longer than a path.*data:;base64,") as error:
        mm.data.from_table(table, photo)
    assert f"{cell[:70]}" in str(error.value)
    assert "(26,6" in str(error.value) and len(str(error.value)) < 600
    bad = []
    rows(table, photo, on_bad_row="absent", bad_rows=bad)
    assert len(str(bad[0])) < 400
    names = ["ant", "bee"]
    with pytest.raises(ValueError, match="wants one of the classes") as error:
        mm.data.from_table(table.assign(photo=""), photo, "label", classes=names)
    assert len(str(error.value)) < 400
