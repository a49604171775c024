"""A folder is written whole or not at all."""

import pytest

from mmkeras.export.folder import size, whole_folder


def write(path, text="new", **kwargs):
    with whole_folder(path, **kwargs) as folder:
        (folder / "sub").mkdir()
        (folder / "sub/file").write_text(text)
        (folder / "saved_model.pb").write_text("graph")
        assert not path.exists() or list(path.iterdir()) != list(folder.iterdir())


def test_writes_with_parents(tmp_path):
    write(tmp_path / "a/b/1")
    assert (tmp_path / "a/b/1/sub/file").read_text() == "new"
    assert [x.name for x in (tmp_path / "a/b").iterdir()] == ["1"]
    assert size(tmp_path) == len("new") + len("graph")


def test_others_may_read_it(tmp_path):
    write(tmp_path / "1")
    assert (tmp_path / "1").stat().st_mode & 0o055 == 0o055


def test_failure_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a/b/1") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_refuses_what_is_there(tmp_path):
    write(tmp_path / "1", "old")
    with pytest.raises(ValueError, match=r"not empty.*overwrite=True"):
        write(tmp_path / "1")
    assert (tmp_path / "1/sub/file").read_text() == "old"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file or a link"):
        write(tmp_path / "file", overwrite=True)


def test_empty_folder_is_free(tmp_path):
    (tmp_path / "1").mkdir()
    write(tmp_path / "1")
    assert [x.name for x in tmp_path.iterdir()] == ["1"]


def test_overwrites_a_saved_model_alone(tmp_path):
    write(tmp_path / "1", "old")
    write(tmp_path / "1", "new", overwrite=True)
    assert (tmp_path / "1/sub/file").read_text() == "new"
    assert [x.name for x in tmp_path.iterdir()] == ["1"]
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    with pytest.raises(ValueError, match="no saved_model.pb"):
        write(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home/letter").read_text() == "dear"


def test_failed_overwrite_keeps_the_old(tmp_path):
    write(tmp_path / "1", "old")
    with pytest.raises(OSError), whole_folder(tmp_path / "1", True):
        raise OSError("disk full")
    assert (tmp_path / "1/sub/file").read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["1"]


def test_who_comes_second_does_not_win(tmp_path):
    with (
        pytest.raises(ValueError, match="not empty"),
        whole_folder(tmp_path / "1") as folder,
    ):
        (folder / "mine").write_text("second")
        write(tmp_path / "1", "first")
    assert (tmp_path / "1/sub/file").read_text() == "first"
