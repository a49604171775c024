"""`mmkeras predict` and `evaluate` tell of every cell that could not be read."""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras import cli

COUNT, BROKEN = 30, range(1, 30, 2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model of pictures; of 30, twelve do not decode and three are not there."""
    folder = tmp_path_factory.mktemp("shop")
    pixels = mm.image.Pixels((2, 2))
    inputs = mm.modality.tensor_input(pixels, "photo")
    encoder = keras.Model(inputs, keras.layers.Flatten()(pixels(inputs)))
    head = mm.heads.classification(["a", "b"])
    model = mm.multimodal({"photo": encoder}, mm.fusion.Concat(), head.layer)
    model.save(folder / "model.keras")
    for i in range(COUNT):
        picture = np.full((2, 2, 3), i, "uint8")
        keras.utils.save_img(folder / f"{i}.png", picture, scale=False)
    for i in BROKEN:
        (folder / f"{i}.png").write_bytes(b"no picture")
    for i in BROKEN[:3]:
        (folder / f"{i}.png").unlink()
    rows = pandas.DataFrame({"photo": [f"{i}.png" for i in range(COUNT)]})
    rows["label"] = ["a", "b", "b"] * 10
    rows["split"] = ["train"] * 10 + ["test"] * 20
    rows.to_csv(folder / "table.csv", index=False)
    rows.iloc[::2].to_csv(folder / "whole.csv", index=False)
    return folder


def run(capsys, folder, command, table, *more):
    arguments = [folder / "model.keras", folder / table, *more]
    status = cli.main([command, *map(str, arguments)])
    said = capsys.readouterr()
    assert status == 0, said.err
    return said


def test_predict(shop, capsys):
    out, kept = shop / "out.csv", shop / "out.bad_rows.csv"
    options = ["--out", out, "--on-bad-row", "absent", "--batch-size", 4]
    for part, rows in (([], BROKEN), (["--part", "test"], BROKEN[5:])):
        said = run(capsys, shop, "predict", "table.csv", *options, *part)
        told = f"{len(rows)} cells could not be read and were taken as missing: all are"
        assert f"{told} in {kept}" in said.err
        found = pandas.read_csv(kept)
        assert sorted(found["row"]) == list(rows)  # of the table, not of its part
        assert list(found) == ["row", "column", "path", "reason"]
        path = f"'{shop}/{found['row'][0]}.png'"
        assert found["path"][0] == path and set(found["column"]) == {"photo"}
        assert found["reason"].str.len().min() > 5
        names = {"out.csv", "out.bad_rows.csv"}
        assert {x.name for x in shop.glob("*out*")} == names
        assert len(pandas.read_csv(out)) == (20 if part else 30)
    said = run(capsys, shop, "predict", "whole.csv", *options)
    assert "could not be read" not in said.err and not kept.exists()


def test_evaluate(shop, capsys):
    options = ["--label", "label", "--bootstrap", 0, "--on-bad-row", "absent"]
    said = run(capsys, shop, "evaluate", "table.csv", *options)
    heading = "15 cells could not be read and were taken as missing:\n"
    told = said.err.split(heading)[1].splitlines()[:15]
    assert sorted(int(x.split()[1].rstrip(",")) for x in told) == list(BROKEN)
    assert all("column 'photo', path '" in x for x in told)
    said = run(capsys, shop, "evaluate", "whole.csv", *options)
    assert "could not be read" not in said.err
