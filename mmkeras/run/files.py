"""The files of a run: written whole, numbered, and where features are kept."""

import json
import os
import re
from pathlib import Path

from mmkeras.aside import aside


def write_text(path, text):
    """Writes a file whole.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    try:
        with aside(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"'{path}' could not be written ({error}). Nothing that was there is "
            f"changed: make room and start again."
        ) from error


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
