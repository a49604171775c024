"""A table and its files become shards: TFRecords, for what no local disk holds."""

import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mmkeras.data import remote
from mmkeras.data.bad import BadRow, BadRows, reason
from mmkeras.data.cells import full_path
from mmkeras.data.sharding import kinds, manifest
from mmkeras.data.sharding.source import ROW, Source
from mmkeras.data.splits import split as parts_of
from mmkeras.data.table import as_frame, want_column

_THREADS = 16
_HEAD, _FOOT = 12, 4  # bytes around a TFRecord


def write_shards(
    table,
    folder,
    *,
    files=None,
    columns=None,
    split=None,
    root=None,
    rows_per_shard=1000,
    shard_bytes=2**28,
    on_bad_row="raise",
    bad_rows=None,
    progress=None,
):
    """Writes a table with all its files as TFRecord shards, for any model.

    Each record is a `tf.train.Example` with the row's cells by column: a file as the
    bytes it has, not encoded anew; strings as UTF-8, integers as int64, other numbers
    as float32, a missing cell as none; and the row's number in "mmkeras/row". Beside
    each shard lies an index with the other columns' values in full and the place of
    every file. A shard appears whole or not at all; the same call, made again after it
    was stopped, goes on with the shards that are not there.

    Example:
    >>> import pandas, tempfile
    >>> pixels = mm.image.Pixels((8, 8))
    >>> table = pandas.DataFrame({"text": ["a", "b", "c"], "label": ["x", "y", "x"]})
    >>> folder = tempfile.mkdtemp()
    >>> found = mm.data.write_shards(table, folder, rows_per_shard=2)
    >>> [x["rows"] for x in found["shards"]], found["columns"]["label"]["classes"]
    ([2, 1], ['x', 'y'])

    Args:
        table: path or DataFrame, as `from_table` takes it.
        folder: where the shards go; a path, or a URL that tf.io.gfile writes.
        files: list of the columns whose cells are files. Default: told from the cells;
            see `mmkeras.data.sharding.kinds.file_columns`.
        columns: list of the columns to keep; default: all.
        split: column that names each row's part: each part gets shards of its own, so
            that `from_shards(part="train")` reads those alone.
        root: folder that relative paths start from, as in `from_table`.
        rows_per_shard: Integer, rows after which the next shard begins,
        shard_bytes: or bytes, whichever come first.
        on_bad_row: "raise", or "absent" to write a file that cannot be read as a
            missing cell. Whether a file decodes is not looked at.
        bad_rows: optional list, to which "absent" appends one `BadRow` a bad cell.
        progress: optional function that is given the number of rows just done.

    Returns:
        dict, the content of shards.json, which is written last.

    Raises:
        ValueError: as `from_table`; or the folder holds shards of another table, or
            written with other arguments.
        OSError: a shard cannot be written, say on a full disk; those before it stay.
    """
    remote.check(os.fspath(folder), "`folder`")
    frame = as_frame(table)
    root = os.fspath(root or frame.attrs.get("root") or ".")
    for column in columns or ():
        want_column(frame, column, "`columns`")
    if columns is not None:
        frame = frame[list(dict.fromkeys([*columns, *([split] if split else [])]))]
    _check(frame, rows_per_shard, shard_bytes)
    bad = BadRows(on_bad_row, bad_rows, frame.index, "write_shards")
    source = Source(frame, kinds.file_columns(frame, root, files), root, bad)
    limits = rows_per_shard, shard_bytes
    writer = _Writer(source, os.fspath(folder), split, limits, progress or _nothing)
    return writer.write(frame.attrs.get("path"))


class _Writer:
    """Writes the shards of one table that are not there."""

    def __init__(self, source, folder, split, limits, progress):
        self.source, self.folder, self.split = source, folder, split
        self.limits, self.progress = limits, progress
        about = [manifest.FORMAT, split, limits]
        self.digest = source.digest(json.dumps(about).encode())

    def write(self, table):
        """Writes the shards, then the manifest, and gives that."""
        import tensorflow as tf

        tf.io.gfile.makedirs(self.folder)
        self._check_folder()
        manifest.remove_dead(self.folder)
        shards = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for part, rows in self._parts():
                while len(rows):
                    file = manifest.file_name(len(shards))
                    shard = self._there(file) or self._shard(file, part, rows, pool)
                    shards.append(shard)
                    rows = rows[shard.rows :]
        found = {
            "format": manifest.FORMAT,
            "table": table,
            "digest": self.digest,
            "rows": len(self.source),
            "split": self.split,
            "columns": self.source.columns,
            "shards": [x._asdict() for x in shards],
        }
        manifest.write_lines(full_path(manifest.NAME, self.folder), [found])
        return found

    def _parts(self):
        """The rows of each part; all of them where there is no split column."""
        if self.split is None:
            return [(None, np.arange(len(self.source)))]
        words = self.source.frame[self.split]
        parts = parts_of(self.source.frame, self.split)
        return [(kinds.plain(x), np.flatnonzero(words == x)) for x in parts]

    def _check_folder(self):
        """Raises where other shards than ours are there."""
        found = manifest.header(self.folder, manifest.file_name(0))
        if found is not None and found["digest"] != self.digest:
            raise ValueError(
                f"The shards in {self.folder!r} are those of another table, or of "
                f"files that changed since, or were written with other arguments. Name "
                f"another folder, or delete it."
            )

    def _there(self, file):
        """The shard, where an earlier run wrote it whole."""
        found = manifest.header(self.folder, file)
        if found is None or not found["whole"] or found["digest"] != self.digest:
            return None
        self.source.bad.note([BadRow(*x) for x in found["bad"]])
        self.progress(found["rows"])
        return manifest.Shard(*(found[x] for x in manifest.Shard._fields))

    def _shard(self, file, part, rows, pool):
        """Writes one shard from the first of these rows, and then its index."""
        import tensorflow as tf

        places = {x: {"at": [], "size": [], "crc": []} for x in self.source.cells}
        path = full_path(file, self.folder)
        try:
            with manifest.whole(path) as temporary:
                done, end, bad = self._records(temporary, rows, places, pool)
                if manifest.size(temporary) != end:
                    raise OSError(
                        f"{manifest.size(temporary)} of {end} bytes are there"
                    )
            shard = manifest.Shard(file, part, done, end)
            self._index(shard, rows[:done].tolist(), places, bad)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"{path!r} cannot be written: {reason(error)}. The shards before it "
                f"are whole: make room, and run the same command again to go on."
            ) from error
        return shard

    def _records(self, path, rows, places, pool):
        """Writes records up to a limit; gives how many, their bytes, the bad cells."""
        import tensorflow as tf

        most, limit = self.limits
        bad, done, end = [], 0, 0
        with tf.io.TFRecordWriter(path) as writer:
            for row, contents, problems in self.source.read(rows[:most], pool):
                record = self.source.example(row, contents)
                writer.write(record)
                for column, content in contents.items():
                    _note(places[column], record, content, end + _HEAD)
                bad += problems
                end += len(record) + _HEAD + _FOOT
                done += 1
                self.progress(1)
                if end >= limit:
                    break
        return done, end, bad

    def _index(self, shard, rows, places, bad):
        source = self.source
        labels = [kinds.plain(x) for x in source.frame.index[rows]]
        first = {
            **shard._asdict(),
            "digest": self.digest,
            "row": rows,
            "index": None if labels == rows else labels,
            "bad": [[*x[:-1], kinds.plain(x.index)] for x in bad],
        }
        lines = [first]
        for column in source.columns:
            if column in places:
                found = {**places[column], "path": source.paths(column, rows)}
            else:
                found = {"values": [source.values[column][x] for x in rows]}
            lines.append({"column": column, **found})
        manifest.write_lines(full_path(shard.index, self.folder), lines)


def _note(places, record, content, start):
    """Notes where in the shard a file's bytes are; size -1 where there are none."""
    # wherever the same bytes are found is a place of them
    at = 0 if content is None else record.index(content)
    places["at"].append(at + start)
    places["size"].append(-1 if content is None else len(content))
    places["crc"].append(0 if content is None else zlib.crc32(content))


def _check(frame, rows, size):
    wrong = [x for x in frame.columns if not isinstance(x, str) or x == ROW]
    if wrong or not frame.columns.is_unique:
        raise ValueError(
            f"`table` wants different strings as names of columns, none of them "
            f"'{ROW}'. Received: {list(frame.columns)[:50]}"
        )
    if min(rows, size) < 1:
        raise ValueError(
            f"`rows_per_shard` and `shard_bytes` want 1 or more. Received: "
            f"rows_per_shard={rows}, shard_bytes={size}"
        )


def _nothing(rows):
    pass
