"""A folder, or a file and its companions, that appear whole or not at all."""

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from mmkeras.aside import to_disk


@contextlib.contextmanager
def whole_folder(path, overwrite=False):
    """Gives a temporary folder beside `path` and renames it to `path` at the end.

    When the block raises, the temporary folder and the parents that were made for it
    go away and `path` is as it was. A process that is killed leaves at most a hidden
    `.<name>.writing-...` folder, which TF Serving does not look at.

    Args:
        path: the folder to make, on this machine.
        overwrite: replace a SavedModel that lies at `path`.

    Raises:
        ValueError: `path` is taken by something that must not be replaced.
    """
    path = Path(os.path.abspath(path))
    _check_free(path, overwrite)
    with _temporary(path) as temporary:
        yield temporary
        _sync(temporary)
        _check_free(path, overwrite)  # somebody may have been quicker
        _swap(temporary, path)


@contextlib.contextmanager
def whole_files(path, overwrite=False):
    """Gives a temporary folder, and at the end puts its files beside `path`.

    The file called as `path` comes last: where it stands, its companions do. When the
    block raises, nothing is left behind.

    Args:
        path: the main file to make, on this machine.
        overwrite: replace files that lie there already.

    Raises:
        ValueError: a file of that name is there, and `overwrite` is False.
    """
    path = Path(os.path.abspath(path))
    _check_no_file(path, overwrite)
    with _temporary(path) as temporary:
        yield temporary
        _sync(temporary)
        names = sorted(x.name for x in temporary.iterdir())
        for name in names:
            _check_no_file(path.parent / name, overwrite)
        for name in sorted(names, key=path.name.__eq__):
            os.replace(temporary / name, path.parent / name)
        to_disk(path.parent)
        temporary.rmdir()


@contextlib.contextmanager
def _temporary(path):
    """A hidden folder beside `path`; where the block raises it goes, with new parents.

    The block moves it, or takes it away.
    """
    made = _make_parents(path.parent)
    # not tempfile: its folders are closed to other users, such as a model server
    temporary = path.parent / f".{path.name}.writing-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # not empty: no longer ours alone
                parent.rmdir()
        raise


def size(path):
    """Bytes of all files under a folder, or of one file."""
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    return sum(x.stat().st_size for x in path.rglob("*") if x.is_file())


def _check_free(path, overwrite):
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise ValueError(
            f"`path` wants a folder to be made. Received: {path}, which is a file or a "
            f"link. Give another path."
        )
    if not any(path.iterdir()):
        return
    if not overwrite:
        raise ValueError(
            f"`path` wants a folder that is not there yet. Received: {path}, which is "
            f"not empty. Give a new version number, or `overwrite=True`."
        )
    if not (path / "saved_model.pb").exists():
        raise ValueError(
            f"`overwrite=True` replaces a SavedModel only. Received: {path}, which "
            f"holds no saved_model.pb. Give another path, or empty it yourself."
        )


def _check_no_file(path, overwrite):
    if os.path.lexists(path) and (path.is_dir() or not overwrite):
        raise ValueError(
            f"`path` wants a file that is not there yet. Received: {path}, which is. "
            f"Give another path{'' if path.is_dir() else ', or `overwrite=True`'}."
        )


def _make_parents(parent):
    """Makes missing parents; returns those made, innermost first."""
    made = [x for x in (parent, *parent.parents) if not x.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    return made


def _swap(temporary, path):
    old = path.parent / f".{path.name}.old-{uuid.uuid4().hex[:8]}"
    if path.exists():
        path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    if old.exists():
        shutil.rmtree(old)
    to_disk(path.parent)


def _sync(folder):
    """Puts a folder's files on the disk, so that a rename means they are there."""
    for item in sorted(folder.rglob("*")):
        to_disk(item)
    to_disk(folder)
