"""Search against numpy, FAISS and hand-worked cases; files whole or refused."""

import os

import numpy as np
import pandas
import pytest

from mmkeras.retrieval import Index, exact

RNG = np.random.default_rng(0)
ROWS, QUERIES = RNG.normal(size=(300, 8)), RNG.normal(size=(7, 8))

BLANK = np.eye(8)[:2] * [[1], [0]]


def by_hand(queries, rows):
    """Cosines in float64 and, for each query, all rows from the nearest on."""
    queries, rows = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, rows)
    )
    cosines = queries @ rows.T
    order = np.argsort(-cosines, axis=1, kind="stable")
    return np.take_along_axis(cosines, order, axis=1), order


def index(**options):
    made = Index(8, **options)
    made.add(ROWS[:100], [{"name": f"n{i}", "size": i} for i in range(100)])
    made.add(ROWS[100:], [{"name": f"n{i}", "size": i} for i in range(100, 300)])
    return made


def test_columns_in_fortrans_order_are_saved_as_they_are(tmp_path):
    made = Index(8)
    made.add(np.asfortranarray(ROWS, "float32"))
    made.save(tmp_path / "a.safetensors")
    again = Index.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.vectors, made.vectors)
    found = made.search(ROWS[:20], 1).positions
    np.testing.assert_array_equal(found[:, 0], range(20))


@pytest.mark.parametrize("blocks", [(1024, 16384), (2, 37)])
@pytest.mark.parametrize("k", [1, 50, 300])
def test_the_nearest_of_all_rows_whatever_the_blocks(blocks, k, monkeypatch):
    monkeypatch.setattr(exact, "QUERIES", blocks[0])
    monkeypatch.setattr(exact, "ROWS", blocks[1])
    found = index().search(QUERIES, k)
    scores, order = by_hand(QUERIES, ROWS)
    np.testing.assert_array_equal(found.positions, order[:, :k])
    np.testing.assert_allclose(found.scores, scores[:, :k], atol=1e-6)


def test_of_equal_rows_the_earlier_comes_first(monkeypatch):
    monkeypatch.setattr(exact, "ROWS", 4)
    made = Index(2)
    made.add(np.tile([[1.0, 0.0]], (10, 1)))
    assert made.search([[1.0, 1.0]], 10).positions.tolist() == [list(range(10))]


def test_faiss_finds_the_same(tmp_path):
    wanted = index().search(QUERIES, 20)
    flat = index(faiss="Flat")
    found = flat.search(QUERIES, 20)
    np.testing.assert_array_equal(found.positions, wanted.positions)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    flat.add(QUERIES)  # the index is built anew
    assert flat.search(QUERIES, 1).positions[:, 0].tolist() == list(range(300, 307))
    flat.save(tmp_path / "i.safetensors")
    loaded = Index.load(tmp_path / "i.safetensors")
    assert loaded.faiss == "Flat"
    again = loaded.search(QUERIES, 20)
    np.testing.assert_array_equal(again.positions, flat.search(QUERIES, 20).positions)


def test_faiss_refused():
    with pytest.raises(ValueError, match="factory string .* Received: 'Nonsense'"):
        index(faiss="Nonsense").search(QUERIES)


def test_faiss_is_an_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"mmkeras\[faiss\]"):
        Index(4, faiss="Flat")
    Index(4)


def test_rows_are_carried_along():
    found = index().search(ROWS[[150, 3]] * 5, k=2)
    frame = found.to_frame(0)
    assert list(frame.columns) == ["cosine", "name", "size"]
    assert (frame.name.iloc[0], frame["size"].iloc[0]) == ("n150", 150)
    assert found.to_frame(1).name.iloc[0] == "n3"
    np.testing.assert_allclose(frame.cosine.iloc[0], 1, atol=1e-6)


def test_saved_and_loaded(tmp_path):
    made = Index(2)
    made.root = "shop"
    table = pandas.DataFrame(
        {"photo": ["a.png", None, "ü.png"], "price": [1.5, np.nan, 3.0], "n": [1, 2, 3]}
    )
    made.add([[1, 0], [0, 1], [1, 1]], table)
    path = tmp_path / "deep" / "i.safetensors"
    made.save(path)
    loaded = Index.load(path)
    assert (loaded.units, loaded.root, len(loaded)) == (2, "shop", 3)
    np.testing.assert_array_equal(loaded.vectors, made.vectors)
    pandas.testing.assert_frame_equal(
        loaded.rows, made.rows, check_dtype=False, check_column_type=False
    )
    assert os.listdir(path.parent) == ["i.safetensors"]
    Index(2).save(path)
    assert len(Index.load(path)) == 0
    bare = Index(2)
    bare.add([[1.0, 2.0]])
    bare.save(path)
    assert len(Index.load(path).search([[1.0, 2.0]]).to_frame()) == 1


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "i.safetensors"
    index().save(path)
    broken = Index(8)
    broken.add(ROWS[:1], [{"photo": b"bytes"}])
    with pytest.raises(TypeError, match="bytes in column 'photo'"):
        broken.save(path)
    assert len(Index.load(path)) == 300
    assert os.listdir(tmp_path) == ["i.safetensors"]


@pytest.mark.parametrize("part", [0.0, 0.01, 0.6, 0.999])
def test_a_file_that_is_cut_is_refused(part, tmp_path):
    path = tmp_path / "i.safetensors"
    index().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match="what `Index.save` wrote"):
        Index.load(path)


def test_another_safetensors_file_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"a safetensors file of \['weights'\]"):
        Index.load(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="what `Index.save` wrote"):
        Index.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("error", "run"),
    [
        ("`units` wants", lambda: Index(0)),
        (r"wants an array \(rows, 8\)", lambda: index().add(np.ones((2, 3)))),
        ("finite", lambda: index().add(np.full((1, 8), np.nan))),
        ("zeros in 1 rows, the first at 1", lambda: index().add(BLANK)),
        ("`rows` wants 2", lambda: index().add(np.ones((2, 8)), ["a"])),
        ("`k` wants", lambda: index().search(QUERIES, 0)),
        ("no rows yet", lambda: Index(8).search(QUERIES)),
        ("`queries` wants", lambda: index().search(QUERIES[0])),
    ],
)
def test_what_is_refused(error, run):
    with pytest.raises(ValueError, match=error):
        run()
