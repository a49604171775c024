"""From cells to vectors to rows: two towers of colours and words."""

from pathlib import Path

import keras
import numpy as np
import pandas
import pytest
from PIL import Image

import mmkeras as mm
from mmkeras import retrieval
from tests.retrieval import colours


@pytest.fixture(scope="module")
def model():
    return colours.model()


@pytest.fixture
def table():
    shades = [",".join(map(str, x)) for x in colours.COLOURS]
    titles = [f"a {x} square" for x in colours.NAMES]
    return pandas.DataFrame({"shade": shades, "title": titles, "name": colours.NAMES})


def test_words_find_colours_and_colours_words(model, table):
    index = retrieval.Index.from_table(model, table, "shade")
    queries = retrieval.embed(model, "title", ["a blue square", "red", ""])
    found = index.search(queries, 2)
    assert found.to_frame(0).name.iloc[0] == "blue"
    assert found.to_frame(1).name.iloc[0] == "red"
    assert not queries[2].any()  # absent
    index = retrieval.Index(3)
    index.add(retrieval.embed(model, "title", list(table.title)), table)
    queries = retrieval.embed(model, "shade", ["0,9,1"])
    assert index.search(queries, 1).to_frame().title.tolist() == ["a green square"]


def test_pictures_of_files_and_bad_ones(tmp_path):
    model = colours.model("photo")
    for name in colours.NAMES:
        Image.new("RGB", (6, 5), name).save(tmp_path / f"{name}.png")
    table = pandas.DataFrame({"photo": [f"{x}.png" for x in colours.NAMES]})
    table.attrs["root"] = str(tmp_path)
    table.loc[3, "photo"] = "nowhere.png"
    bad = []
    index = retrieval.Index.from_table(
        model, table, "photo", on_bad_row="absent", bad_rows=bad
    )
    assert (len(index), [str(x)[:22] for x in bad]) == (3, ["row 3, column 'photo',"])
    assert index.root == str(tmp_path)
    path = tmp_path / "green.png"
    queries = retrieval.embed(model, "photo", [str(path), path.read_bytes()])
    assert index.search(queries, 1).to_frame(1).photo.tolist() == ["green.png"]
    np.testing.assert_array_equal(queries[0], queries[1])


def test_rows_without_the_modality_are_left_out(model, table):
    table.loc[1, "shade"] = None
    index = retrieval.Index.from_table(model, table, "shade", batch_size=2)
    assert index.rows.name.tolist() == ["red", "blue", "white"]
    found = index.search(index.vectors, 1)
    assert found.positions[:, 0].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="wants rows that have 'shade'"):
        retrieval.Index.from_table(model, table.assign(shade=None), "shade")


class Told:
    def __init__(self):
        self.said = []

    def track(self, items, total, label):
        self.said.append((total, label))
        return items


def test_progress_another_column_and_tensors(model, table):
    told = Told()
    table = table.rename(columns={"shade": "rgb"})
    options = {"column": "rgb", "progress": told}
    index = retrieval.Index.from_table(model, table, "shade", **options)
    assert told.said == [(1, "Embedding 4 of 'shade'")]
    tensors = np.array([[0, 0.1, 2], [0, 0, 0]], "float32")
    found = index.search(retrieval.embed(model, "shade", tensors), 1)
    assert found.positions[0] == 2


def test_a_vector_does_not_depend_on_its_batch(model, table):
    whole = retrieval.embed(model, "shade", table)
    parts = retrieval.embed(model, "shade", table, batch_size=3)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(parts, axis=1), 1, atol=1e-6)


def test_encoders_of_one_space_need_no_two_tower(model):
    alone = {x: mm.tower(model, x) for x in ("shade", "title")}
    wanted = retrieval.embed(model, "title", ["red"])
    np.testing.assert_array_equal(retrieval.embed(alone, "title", ["red"]), wanted)
    one = retrieval.embed(alone["title"], "title", ["red"])
    np.testing.assert_array_equal(one, wanted)
    assert retrieval.embed(alone, "title", []).shape == (0, 3)


def test_what_is_no_text(model):
    with pytest.raises(ValueError, match="row 1, column 'title': wanted a string"):
        retrieval.embed(model, "title", ["red", {"a": 1}])
    bad = []
    found = retrieval.embed(
        model, "title", ["red", {"a": 1}], on_bad_row="absent", bad_rows=bad
    )
    assert not found[1].any() and [x.row for x in bad] == [1]


def test_what_embed_refuses(model):
    with pytest.raises(TypeError, match=r"Write \['red'\]"):
        retrieval.embed(model, "title", "red")
    with pytest.raises(ValueError, match=r"Valid names: \['shade', 'title'\]"):
        retrieval.embed(model, "clip", ["a"])
    with pytest.raises(ValueError, match=r"one of \['title'\]"):
        retrieval.embed({"title": mm.tower(model, "title")}, "photo", ["a"])
    one = colours.words()
    tokens = keras.Model(one.input, keras.layers.Reshape((1, 3))(one.output))
    with pytest.raises(ValueError, match="which gives tokens"):
        retrieval.embed(tokens, "title", ["a"])


@pytest.fixture
def found(tmp_path):
    """Two queries, and the three pictures that each finds."""
    for name in colours.NAMES:
        Image.new("RGB", (6, 5), name).save(tmp_path / f"{name}.png")
    rows = [{"photo": f"{x}.png", "title": f"a {x} one"} for x in colours.NAMES]
    index = retrieval.Index(3)
    index.add(colours.COLOURS, rows)
    return index.search(colours.COLOURS[[2, 0]], 3)


def test_a_page(found, tmp_path):
    columns = {"photo": "image", "title": "text"}
    path = tmp_path / "page.html"
    queries = ["a blue <square>", "red"]
    retrieval.page(path, queries, found, columns, root=str(tmp_path), title="Shop")
    text = path.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 6
    assert "a blue &lt;square&gt;" in text and "<script" not in text
    # the blue picture is the first found for the first query
    assert text.index("a blue one") < text.index("a white one")
    files = [str(tmp_path / "red.png"), (tmp_path / "blue.png").read_bytes()]
    retrieval.page(path, files, found, {"title": "text"}, kind="image")
    assert path.read_text("utf-8").count("data:image/jpeg;base64,") == 2


def test_a_grid(found, tmp_path):
    path = tmp_path / "grid.png"
    right = [[True, False, False], [False, False, True]]
    retrieval.grid(
        path, ["blue", "red"], found, "photo", root=str(tmp_path), right=right
    )
    drawn = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 0, 255)):  # the pictures themselves
        assert (drawn == colour).all(axis=1).sum() > 100


def test_what_is_not_shown(found, tmp_path):
    path = Path(tmp_path / "x.html")
    with pytest.raises(ValueError, match=r"no column \['film'\]"):
        retrieval.page(path, ["a", "b"], found, {"film": "image"})
    with pytest.raises(ValueError, match="a list of 2"):
        retrieval.grid(path, ["one"], found, "photo")
    with pytest.raises(ValueError, match="one of .*'image'"):
        retrieval.page(path, ["a", "b"], found, {"photo": "film"})
    assert not path.exists()
