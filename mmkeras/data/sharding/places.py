"""Cells that lie in shards: where their bytes are, read and checked when needed."""

import threading
import zlib
from collections import OrderedDict
from concurrent.futures import Future

from mmkeras.data.cells import full_path
from mmkeras.data.sharding import manifest

_BLOCK = 2**22  # bytes that are read at once from another machine


class Places:
    """The files of one column, row by row: a `Place`, or None where absent.

    Args:
        files: `Files`.
        column: their column, for messages.
        arrays: dict of arrays `(rows,)`: "shard", "record", "at", "size" (-1: absent)
            and "crc".
    """

    def __init__(self, files, column, arrays):
        self.files, self.column, self.arrays = files, column, arrays
        self.there = arrays["size"] >= 0

    def __len__(self):
        return len(self.there)

    def __getitem__(self, row):
        return Place(self, row) if self.there[row] else None


class Place:
    """Where the bytes of a cell are.

    Args:
        places: the `Places` of its column.
        row: Integer.
    """

    __slots__ = ("places", "row")

    def __init__(self, places, row):
        self.places, self.row = places, row

    def read(self):
        """The bytes.

        Raises:
            ValueError: they are not those that were written.
        """
        files = self.places.files
        shard, at, size, crc = map(self._of, ("shard", "at", "size", "crc"))
        found = files.read(shard, at, size)
        if len(found) != size or zlib.crc32(found) != crc:
            raise ValueError(
                f"shard {files.paths[shard]!r} is damaged at its row "
                f"{self._of('record')}: delete it, and run the command that wrote it "
                f"again"
            )
        return found

    def _of(self, key):
        return int(self.places.arrays[key][self.row])

    def __str__(self):
        files, column = self.places.files, self.places.column
        shard, record = files.shards[self._of("shard")], self._of("record")
        _, lines = manifest.index(files.folder, shard, [column])
        path = lines[column]["path"][record]
        path = f"({self._of('size')} bytes)" if path is None else repr(path)
        return f"{path} (row {record} of {shard.file})"


class Files:
    """Reads parts of shards; from another machine by the block, kept for a while.

    Args:
        folder: path or URL.
        shards: list of `manifest.Shard`.
        keep: Integer, bytes that are kept of shards on another machine.
    """

    def __init__(self, folder, shards, keep):
        self.folder, self.shards = folder, shards
        self.paths = [full_path(x.file, folder) for x in shards]
        self.local = "://" not in folder
        self.blocks = max(keep // _BLOCK, 16)
        self._kept, self._lock = OrderedDict(), threading.Lock()

    def read(self, shard, at, size):
        """`size` bytes of a shard from `at` on; fewer where it ends before."""
        if self.local:
            with open(self.paths[shard], "rb") as file:
                file.seek(at)
                return file.read(size)
        found = []
        for i in range(at // _BLOCK, (at + size - 1) // _BLOCK + 1):
            start = i * _BLOCK
            block = self._block(shard, i)
            found.append(block[max(at - start, 0) : at + size - start])
        return b"".join(found)

    def _block(self, shard, number):
        """A block; who asks while another thread reads it waits for that one."""
        key = shard, number
        with self._lock:
            block = self._kept.get(key)
            mine = block is None
            if mine:
                block = self._kept[key] = Future()
            self._kept.move_to_end(key)
            while len(self._kept) > self.blocks:
                self._kept.popitem(last=False)
        if mine:
            try:
                block.set_result(self._fetch(shard, number))
            except BaseException as error:
                block.set_exception(error)
                with self._lock:
                    self._kept.pop(key, None)  # another try may do better
        return block.result()

    def _fetch(self, shard, number):
        import tensorflow as tf

        with tf.io.gfile.GFile(self.paths[shard], "rb") as file:
            file.seek(number * _BLOCK)
            return file.read(_BLOCK)
