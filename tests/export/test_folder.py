"""A folder, or a file and its companions, is written whole or not at all."""

import os

import pytest

from mmkeras.export.folder import size, whole_files, whole_folder


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


def test_what_killed_processes_left_goes_at_the_next_replacement(tmp_path):
    write(tmp_path / "1", "old")
    for name in (".1.old-1234", ".1.writing-1234", ".11.old-1234"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text("x")
    write(tmp_path / "1", "new", overwrite=True)
    # what is being written may be another process's, at work
    left = {"1", ".1.writing-1234", ".11.old-1234"}
    assert {x.name for x in tmp_path.iterdir()} == left


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


NAMES = ("a.txt.json", "a.txt.words")


def put(folder, text, names=NAMES, **kwargs):
    with whole_files(folder / "a.txt", **kwargs) as temporary:
        for name in ("a.txt", *names):
            (temporary / name).write_text(text)


def held(folder):
    return {x.name: x.read_text() for x in folder.iterdir()}


def failing(monkeypatch, name):
    """A disk on which nothing can be called `name`."""
    true = os.replace

    def replace(source, target):
        if os.path.basename(target) == name:
            monkeypatch.setattr(os, "replace", true)
            raise OSError("disk full")
        return true(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("name", ["a.txt", *NAMES])
def test_a_file_that_cannot_be_put_leaves_nothing(name, tmp_path, monkeypatch):
    failing(monkeypatch, name)
    with pytest.raises(OSError, match="disk full"):
        put(tmp_path, "new")
    assert held(tmp_path) == {}


@pytest.mark.parametrize("name", ["a.txt", *NAMES])
def test_a_file_that_cannot_be_replaced_stays(name, tmp_path, monkeypatch):
    put(tmp_path, "old", [NAMES[0], "a.txt.gone"])
    (tmp_path / "mine").write_text("mine")
    before = held(tmp_path)
    failing(monkeypatch, name)
    with pytest.raises(OSError, match="disk full"):
        put(tmp_path, "new", overwrite=True, stale=["a.txt.gone"])
    assert held(tmp_path) == before


def test_stale_companions_go(tmp_path):
    put(tmp_path, "old", [*NAMES, "mine"])
    put(tmp_path, "new", NAMES[:1], overwrite=True, stale=[*NAMES, "nowhere"])
    assert held(tmp_path) == {"a.txt": "new", NAMES[0]: "new", "mine": "old"}


def test_a_companion_that_is_taken_is_noticed_first(tmp_path):
    (tmp_path / NAMES[1]).write_text("mine")
    with (
        pytest.raises(ValueError, match="a.txt.words, which is"),
        whole_files(tmp_path / "a.txt", companions=NAMES),
    ):
        raise AssertionError("the long work")
    assert held(tmp_path) == {NAMES[1]: "mine"}
    put(tmp_path, "new", overwrite=True, companions=NAMES)
    assert held(tmp_path) == dict.fromkeys(["a.txt", *NAMES], "new")
