"""`mmkeras shard`: what it says, and how it goes on."""

import json

import keras
import numpy as np
import pandas
import pytest

from mmkeras import cli, data


@pytest.fixture
def table(tmp_path):
    for i in range(6):
        picture = np.full((2, 2, 3), i, "uint8")
        keras.utils.save_img(tmp_path / f"{i}.png", picture, scale=False)
    rows = pandas.DataFrame(
        {
            "photo": [f"{i}.png" for i in range(6)],
            "title": [f"no. {i}" for i in range(6)],
            "price": np.arange(6) / 4,
            "split": ["train", "train", "val"] * 2,
        }
    )
    rows.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def run(capsys, *arguments):
    status = cli.main(["shard", *map(str, arguments)])
    return status, capsys.readouterr()


def test_shard(table, tmp_path, capsys):
    out = tmp_path / "shards"
    arguments = [table, "--out", out, "--split", "split", "--rows", 3]
    status, said = run(capsys, *arguments)
    assert status == 0, said.err
    for text in ("files: photo", "strings: title, split", "numbers: price"):
        assert text in said.out
    assert "train: 4 rows, val: 2 rows" in said.out
    assert "Writing shards: 6 rows" in said.err and "rows/s" in said.err
    found = json.loads((out / "shards.json").read_text())
    assert found["table"] == str(table)
    assert [x["rows"] for x in found["shards"]] == [3, 1, 2]
    status, said = run(capsys, *arguments, "--files", "title", "--on-bad-row", "absent")
    assert status == 2 and "those of another table" in said.err


def test_interrupted(table, tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "write_shards", stop)
    status, said = run(capsys, table, "--out", tmp_path / "shards")
    assert status == 130
    assert "run the same command again to go on" in said.err


def test_bad_files_are_listed(table, tmp_path, capsys):
    (tmp_path / "3.png").unlink()
    out = tmp_path / "shards"
    status, said = run(capsys, table, "--out", out)
    assert status == 2 and "row 3, column 'photo'" in said.err
    status, said = run(capsys, table, "--out", out, "--on-bad-row", "absent")
    assert status == 0
    assert "1 cells could not be read" in said.out and "no such file" in said.out
