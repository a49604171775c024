"""Files that appear whole or not at all: written aside, then renamed."""

import contextlib
import json
import os
import re
from pathlib import Path


@contextlib.contextmanager
def aside(path):
    """Gives a temporary path beside `path`; renames it when the block succeeds.

    Example:
    >>> import pathlib, tempfile
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> with mmkeras.run.files.aside(target) as temporary:
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


def write_text(path, text):
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def next_version(folder):
    """The next version folder for TF Serving: 1, 2, ..."""
    names = [x.name for x in Path(folder).glob("*") if re.fullmatch(r"\d+", x.name)]
    return Path(folder) / str(max(map(int, names), default=0) + 1)


def features_folder(cache):
    """Where the features of frozen encoders are kept, or None for memory.

    Args:
        cache: "auto" for `mmkeras/features` in Keras' own folder (`KERAS_HOME`, else
            `~/.keras`), which all runs share; "none" for memory; else a folder.
    """
    if cache == "none":
        return None
    if cache != "auto":
        return Path(cache)
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "mmkeras" / "features"
