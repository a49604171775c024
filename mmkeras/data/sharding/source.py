"""A table that is written as records: its cells, read row by row."""

import hashlib
import json
import os

from mmkeras.data.bad import reason
from mmkeras.data.cells import files as file_cells
from mmkeras.data.sharding import kinds

#: The feature of a record that holds the row's number in the table.
ROW = "mmkeras/row"
_CHUNK = 64  # rows whose files are read at once


class Source:
    """The rows of a table as records.

    Args:
        frame: DataFrame.
        files: list of the columns whose cells are files.
        root: folder that relative paths start from.
        bad: `BadRows`.
    """

    def __init__(self, frame, files, root, bad):
        self.frame, self.bad = frame, bad
        self.columns = kinds.describe(frame, files)
        self.cells, found = {}, []
        for column in files:
            self.cells[column], problems = file_cells(frame[column], root, bad)
            found += problems
        bad.up_front(found, root)
        self.values = {x: _values(frame[x]) for x in frame if x not in files}

    def __len__(self):
        return len(self.frame)

    def digest(self, about):
        """Hexadecimal hash of all cells; of local files path, size and time count."""
        digest = hashlib.blake2b(about, digest_size=16)
        for column, described in self.columns.items():
            digest.update(json.dumps([column, described]).encode())
            if column in self.values:
                digest.update(json.dumps(self.values[column]).encode())
                continue
            for cell in self.cells[column]:
                if not isinstance(cell, bytes):
                    cell = kinds.encoded(_stamp(cell))
                digest.update(b"%d:%b" % (len(cell), cell))
        return digest.hexdigest()

    def paths(self, column, rows):
        """The files of some rows as the table names them; None for bytes."""
        named, cells = self.frame[column], self.cells[column]
        found = [None if isinstance(cells[x], bytes) else named.iloc[x] for x in rows]
        found = [os.fspath(x) if isinstance(x, os.PathLike) else x for x in found]
        return [x if isinstance(x, str) else None for x in found]

    def read(self, rows, pool):
        """Each row with its files' bytes by column, and the bad cells among them."""
        before = ()
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK].tolist()
            following = pool.map(self._read_row, chunk)  # while others are written
            yield from before
            before = following
        yield from before

    def _read_row(self, row):
        import tensorflow as tf

        contents, problems = {}, []
        for column, cells in self.cells.items():
            contents[column] = cell = cells[row]
            if not isinstance(cell, str):
                continue
            try:
                contents[column] = _content(cell)
            except (OSError, ValueError, tf.errors.OpError) as error:
                contents[column] = None
                problems.append(self.bad.row(row, column, cell, reason(error)))
                self.bad.while_reading(problems[-1], "a file that can be read")
        return row, contents, problems

    def example(self, row, contents):
        """The row as a serialized tf.train.Example."""
        import tensorflow as tf

        features = {ROW: kinds.feature(row)}
        for column in self.columns:
            cell = contents[column] if column in contents else self.values[column][row]
            found = kinds.feature(cell)
            if found is not None:
                features[column] = found
        features = tf.train.Features(feature=features)
        # in one order: a shard that is written again is the same file
        return tf.train.Example(features=features).SerializeToString(deterministic=True)


def _stamp(path):
    """What tells whether a file was changed; None is an absent one."""
    if path is None or "://" in path:
        return str(path)
    path = os.path.abspath(path)
    found = os.stat(path)
    return f"{path} {found.st_size} {found.st_mtime_ns}"


def _content(path):
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        content = file.read()
    if not content:
        raise ValueError("the file is empty")
    return content


def _values(column):
    try:
        return [kinds.plain(x) for x in column]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Column '{column.name}' wants strings, numbers or lists, or name it in "
            f"`files`. It holds bytes that are not UTF-8: {error}"
        ) from error
