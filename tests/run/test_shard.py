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
    told = f"1 cells could not be read and are missing in the shards: all are in {out}/"
    assert told in said.out and "no such file" not in said.out


def test_all_bad_files_are_kept(table, tmp_path, capsys):
    """Thirteen of 26, also where the shards are there already; then they are mended."""
    rows = pandas.read_csv(table)
    rows = pandas.concat([rows] * 4 + [rows[:2]], ignore_index=True)
    rows["photo"] = [f"{i}.png" if i % 2 else "0.png" for i in range(26)]
    rows.to_csv(table, index=False)
    for i in range(1, 26, 2):
        (tmp_path / f"{i}.png").write_bytes(b"")
    out = tmp_path / "shards"
    for _ in range(2):
        status, said = run(capsys, table, "--out", out, "--on-bad-row", "absent")
        assert status == 0 and f"all are in {out}/bad_rows.csv" in said.out
        found = pandas.read_csv(out / "bad_rows.csv")
        assert list(found) == ["row", "column", "path", "reason"]
        assert found["row"].tolist() == list(range(1, 26, 2))
        assert found["path"].tolist() == [f"'{tmp_path}/{i}.png'" for i in found["row"]]
        assert set(found["reason"]) == {"the file is empty"}
        assert set(found["column"]) == {"photo"}
    rows.iloc[::2].to_csv(table, index=False)
    for file in out.glob("shard*"):
        file.unlink()
    status, said = run(capsys, table, "--out", out)
    assert status == 0 and "could not be read" not in said.out
    assert not (out / "bad_rows.csv").exists()
