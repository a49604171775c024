import pandas
import pytest

import mmkeras as mm


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_only_empty_cells_are_missing(tmp_path):
    table = mm.data.read_table(
        write(
            tmp_path / "a.csv",
            "title,code,year,price,mixed\n"
            "NA,007,1999,1.5,1\nNone,012,,2,x\nnan,,2001,,\n",
        )
    )
    assert table["title"].tolist() == ["NA", "None", "nan"]
    assert table["code"].tolist()[:2] == ["007", "012"]
    assert table["year"].tolist()[::2] == [1999, 2001]
    assert str(table["year"][0]) == "1999"
    assert table["price"].tolist()[:2] == [1.5, 2.0]
    assert table["mixed"].tolist()[:2] == ["1", "x"]
    assert table.isna().sum().tolist() == [0, 1, 1, 1, 1]
    assert table.attrs["root"] == str(tmp_path)


def test_forms(tmp_path):
    want = pandas.DataFrame({"title": ["NA", "é"], "n": [1, 2]})
    write(tmp_path / "a.tsv", "title\tn\nNA\t1\né\t2\n")
    want.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    want.to_json(tmp_path / "a.json", orient="records")
    for name in ("a.tsv", "a.jsonl", "a.json"):
        got = mm.data.read_table(tmp_path / name)
        assert got.to_dict("list") == want.to_dict("list"), name


def test_parquet_with_bytes(tmp_path):
    want = pandas.DataFrame({"photo": [b"\x00\xff", None]})
    want.to_parquet(tmp_path / "a.parquet")
    got = mm.data.read_table(tmp_path / "a.parquet")
    assert got["photo"].tolist() == [b"\x00\xff", None]


def test_a_row_of_parquet_has_its_own_place_in_the_index(tmp_path):
    part = pandas.DataFrame({"n": [1, 2]})
    pandas.concat([part, part]).to_parquet(tmp_path / "a.parquet")
    got = mm.data.read_table(tmp_path / "a.parquet")
    assert got.index.tolist() == [0, 1, 2, 3] and got["n"].tolist() == [1, 2, 1, 2]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="a file that is there.*gone.csv"):
        mm.data.read_table(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match="ends in one of.*'.csv'.*a.xls"):
        mm.data.read_table("a.xls")
    with pytest.raises(ValueError, match=r"b.csv' cannot be read as .csv: No columns"):
        mm.data.read_table(write(tmp_path / "b.csv", ""))
    with pytest.raises(ValueError, match="has no rows"):
        mm.data.read_table(write(tmp_path / "c.csv", "a,b\n"))
    with pytest.raises(ValueError, match=r"d.csv' cannot be read.*line 3"):
        mm.data.read_table(write(tmp_path / "d.csv", "a,b\n1,2\n1,2,3\n"))
    (tmp_path / "e.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    with pytest.raises(ValueError, match="e.csv' cannot be read"):
        mm.data.read_table(tmp_path / "e.csv")
    with pytest.raises(ValueError, match="f.jsonl' cannot be read as .jsonl"):
        mm.data.read_table(write(tmp_path / "f.jsonl", '{"a": 1\n'))
    with pytest.raises(ValueError, match="h.jsonl' cannot be read.*objects, one a"):
        mm.data.read_table(write(tmp_path / "h.jsonl", "[1, 2]\n"))
    (tmp_path / "g.csv").mkdir()
    with pytest.raises(ValueError, match="g.csv' cannot be read"):
        mm.data.read_table(tmp_path / "g.csv")
