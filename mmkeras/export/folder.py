"""A folder, or a file and its companions, that appear whole or not at all."""

import contextlib
import glob
import os
import shutil
import uuid
from pathlib import Path

from mmkeras.aside import to_disk


@contextlib.contextmanager
def whole_folder(path, overwrite=False):
    """Gives a temporary folder beside `path` and renames it to `path` at the end.

    When the block raises, the temporary folder and the parents that were made for it
    go away and `path` is as it was. A process that is killed leaves at most hidden
    folders, which TF Serving does not look at: `.<name>.writing-...`, half written, and
    `.<name>.old-...`, what `overwrite` replaces, which the next export to `path` takes
    away. Between the two renames of a replacement, for an instant, there is no `path`.

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
def whole_files(path, overwrite=False, companions=(), stale=()):
    """Gives a temporary folder, and at the end puts its files beside `path`.

    The file called as `path` comes last: where it stands, its companions do. When the
    block or the putting raises, nothing is left behind, and what was there is as it
    was.

    Args:
        path: the main file to make, on this machine.
        overwrite: replace files that lie there already.
        companions: names of the files that come beside it, which must be free too.
        stale: names of files beside it that go when the new ones have come.

    Raises:
        ValueError: a file of that name is there, and `overwrite` is False.
    """
    path = Path(os.path.abspath(path))
    for name in [path.name, *companions]:
        _check_no_file(path.parent / name, overwrite)
    with _temporary(path) as temporary:
        yield temporary
        _sync(temporary)
        names = sorted(x.name for x in temporary.iterdir())
        for name in names:  # somebody may have been quicker
            _check_no_file(path.parent / name, overwrite)
        gone = [x for x in stale if x not in names]
        _put(temporary, path.parent, sorted(names, key=path.name.__eq__), gone)
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary, folder, names, gone):
    """Moves files into a folder and takes others away: all of that, or nothing."""
    old = temporary / f"old-{uuid.uuid4().hex[:8]}"
    old.mkdir()
    for name in [*names, *gone]:
        if os.path.lexists(folder / name):
            shutil.copy2(folder / name, old / name, follow_symlinks=False)
    try:
        for name in names:
            os.replace(temporary / name, folder / name)
        for name in gone:
            (folder / name).unlink(missing_ok=True)
        to_disk(folder)
    except BaseException:
        for name in [*names, *gone]:
            if os.path.lexists(old / name):
                os.replace(old / name, folder / name)
            elif not (temporary / name).exists():
                (folder / name).unlink(missing_ok=True)
        raise


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
    to_disk(path.parent)
    # the one replaced, and what processes that were killed here have left
    for left in path.parent.glob(f"{glob.escape(f'.{path.name}.old-')}*"):
        shutil.rmtree(left, ignore_errors=True)


def _sync(folder):
    """Puts a folder's files on the disk, so that a rename means they are there."""
    for item in sorted(folder.rglob("*")):
        to_disk(item)
    to_disk(folder)
