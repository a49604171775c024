"""Content hashes of files, remembered as long as the files do not change."""

import hashlib
import json
import os
import time
from pathlib import Path

from mmkeras.data.shards import write

#: A file this young may change again within one tick of the clock of its file system.
_YOUNG = 2.5
_FORMAT = 1


class Hashes:
    """Hashes of files: path -> what stands for its content.

    A file is read again only if its size, inode, or time of modification or status
    change moved. Programs can set the first of the two times back, not the second. The
    manifest is written last and whole; without it every file is read once more.

    Args:
        manifest: path of a JSON file.
    """

    def __init__(self, manifest):
        self.manifest = Path(manifest)
        self._known = _read(self.manifest)
        self._new = {}

    def of(self, path):
        """Hexadecimal hash of a file's bytes, of 32 characters.

        Raises:
            OSError: the file cannot be read.
        """
        path = os.path.abspath(path)
        stamp = _stamp(path)
        known = self._known.get(path)
        if known and known[0] == stamp:
            return known[1]
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, _blake)
        found = found.hexdigest()
        # a change while it was read, or right after, must be noticed the next time
        if _stamp(path) == stamp and time.time() - max(stamp[2:]) / 1e9 > _YOUNG:
            self._known[path] = self._new[path] = [stamp, found]
        return found

    def locate(self, cell):
        """The key of a cell that is a file, and what to read: its path, or its bytes.

        Args:
            cell: path, URL or bytes.

        Raises:
            OSError: the file cannot be read.
        """
        if isinstance(cell, str) and "://" not in cell:
            return bytes.fromhex(self.of(cell)), cell
        if isinstance(cell, str):
            import tensorflow as tf

            try:
                with tf.io.gfile.GFile(cell, "rb") as file:
                    cell = file.read()
            except tf.errors.OpError as error:
                raise OSError(f"{cell!r} cannot be read: {error.message}") from error
        return cell_key(cell), cell

    def save(self):
        """Writes the manifest, with what other processes wrote meanwhile."""
        if self._new:
            known = {**_read(self.manifest), **self._new}
            content = json.dumps({"format": _FORMAT, "files": known}, indent=0)
            write(self.manifest, content.encode())
            self._new = {}


def _blake():
    return hashlib.blake2b(digest_size=16)


def _stamp(path):
    found = os.stat(path)
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def _read(manifest):
    """The manifest's files; none where it is missing or not ours."""
    try:
        found = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    ours = isinstance(found, dict) and found.get("format") == _FORMAT
    return found["files"] if ours else {}


def cell_key(content):
    """16 bytes that stand for a cell: a file's bytes, or a string."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).digest()
