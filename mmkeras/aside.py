"""Files that appear whole or not at all: written aside, then renamed."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def aside(path):
    """Gives a temporary path beside `path`; renames it when the block succeeds.

    Example:
    >>> import pathlib, tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with mmkeras.aside.aside(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_disk(path):
    """Puts a file, or a folder's list of files, on the disk before it returns."""
    path = Path(path)
    if os.name != "posix" and path.is_dir():  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
