"""Features on disk: safetensors files that appear whole or not at all.

A folder holds `shard-<hash of the file>.safetensors`, each with the keys of its rows
and their features. A file whose content is not what its name says is left out, so its
rows are computed again. Shards are written aside and renamed; a
killed run keeps all that it finished, and two processes may fill one folder.
"""

import hashlib
import json
import logging
import math
import os
import re
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save

_KEYS = "keys"
_ABOUT = "mmkeras encoder"
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "BF16": ml_dtypes.bfloat16,
}
_MAX_BYTES = 2**27  # of a shard, whatever its rows
_MAX_SECONDS = 60.0  # of work that a kill can cost
_OLD = 3600.0  # seconds after which a temporary file is a dead run's
_log = logging.getLogger("mmkeras")


class Shards:
    """The features of one encoder: key -> arrays, kept in a folder.

    Args:
        folder: path; made if it is not there.
        encoder: string that every shard carries; one with another is refused.
        hashes: `hashes.Hashes`, which remembers files that did not change.
        rows: Integer, rows in a shard.
    """

    def __init__(self, folder, encoder, hashes, rows=1024):
        self.folder, self.hashes = Path(folder), hashes
        # one entry: safetensors writes several in an order of their own each time
        self.about = {_ABOUT: encoder}
        self.rows = rows
        self.parts = []  # dict, tensor -> memory-mapped array, one a shard
        self.places = {}  # key -> (part, row)
        self._pending, self._bytes, self._since = {}, 0, time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith(".tmp-"):
                _remove_old(path)
            elif path.suffix == ".safetensors":
                self._open(path)

    def __contains__(self, key):
        return key in self.places or key in self._pending

    def add(self, keys, arrays):
        """Takes rows; they are on disk when a shard is full, or after `flush`.

        Args:
            keys: list of 16 bytes.
            arrays: dict, tensor -> array `(len(keys), ...)`.
        """
        for i, key in enumerate(keys):
            self._pending[key] = {name: x[i] for name, x in arrays.items()}
            self._bytes += sum(x[i].nbytes for x in arrays.values())
        late = time.monotonic() - self._since > _MAX_SECONDS
        if len(self._pending) >= self.rows or self._bytes >= _MAX_BYTES or late:
            self.flush()

    def flush(self):
        """Writes what is pending as one shard."""
        self._since = time.monotonic()
        if not self._pending:
            return
        rows = list(self._pending.values())
        tensors = self._joined(rows)
        keys = np.frombuffer(b"".join(self._pending), "uint8").reshape(-1, 16)
        content = save({_KEYS: keys, **tensors}, self.about)
        path = self.folder / f"shard-{_hash(content)}.safetensors"
        write(path, content)
        self._pending, self._bytes = {}, 0
        self._open(path)

    def columns(self, keys):
        """The features of rows: dict, tensor -> `Column`."""
        where = np.array([self.places[key] for key in keys], "int64").reshape(-1, 2)
        return {
            name: Column([part[name] for part in self.parts], where)
            for name in self.parts[0]
        }

    def _joined(self, rows):
        """The tensors of a shard, from dicts, tensor -> array, of its rows."""
        return {name: np.stack([x[name] for x in rows]) for name in rows[0]}

    def _open(self, path):
        if path.name != f"shard-{self.hashes.of(path)}.safetensors":
            ours = re.fullmatch(r"shard-[0-9a-f]{32}\.safetensors", path.name)
            if ours:
                path.unlink(missing_ok=True)
            state = "is damaged and removed" if ours else "is foreign and left out"
            _log.warning("%s %s", path, state)
            return
        about, tensors = _mapped(path)
        if about != self.about:
            _log.warning("%s belongs to another encoder and is left out", path)
            return
        keys = tensors.pop(_KEYS)
        part = len(self.parts)
        self.parts.append(tensors)  # first: another thread may read while rows come
        for row, key in enumerate(np.ascontiguousarray(keys)):
            self.places[key.tobytes()] = part, row


class Column:
    """Rows of one tensor that lie in several arrays.

    Args:
        parts: list of arrays `(rows, ...)` of one shape and dtype.
        where: integer array `(rows, 2)`, part and row in it; default: the rows of one
            part in order.
    """

    def __init__(self, parts, where=None):
        if where is None:
            order = np.arange(len(parts[0]))
            where = np.stack([np.zeros_like(order), order], axis=1)
        self.parts, self.where = parts, where
        self.shape, self.dtype = parts[0].shape[1:], parts[0].dtype

    def __len__(self):
        return len(self.where)

    @property
    def nbytes(self):
        """Bytes of all rows."""
        return len(self) * math.prod(self.shape) * self.dtype.itemsize

    def take(self, rows):
        """The rows of these numbers: array `(len(rows), ...)`."""
        where = self.where[rows]
        found = np.empty((len(where), *self.shape), self.dtype)
        for part in np.unique(where[:, 0]):
            mine = where[:, 0] == part
            found[mine] = self.parts[part][where[mine, 1]]
        return found


def write(path, content):
    """Writes bytes so that `path` holds all of them or what it held before."""
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _hash(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _mapped(path):
    """Metadata and memory-mapped tensors of a safetensors file that is whole."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    about = header.pop("__metadata__", {})
    tensors = {
        name: np.memmap(
            path,
            _DTYPES[x["dtype"]],
            "r",
            8 + size + x["data_offsets"][0],
            tuple(x["shape"]),
        )
        for name, x in header.items()
    }
    return about, tensors


def _remove_old(path):
    """Deletes what a killed run left, not what another process writes now."""
    try:
        if time.time() - path.stat().st_mtime > _OLD:
            path.unlink()
    except FileNotFoundError:
        pass  # the other process finished it
