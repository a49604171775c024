"""The layout of a folder of shards: what is where, and which shards are whole.

    shards.json             columns, shards with rows, bytes and part; written last
    shard-00000.tfrecord    one tf.train.Example a row, files as their bytes
    shard-00000.json        JSON lines: the rows' numbers, then one line a column with
                            its values or, for files, their places in the shard

A shard's index is written after its records: a shard with an index is whole. Paths may
be of any file system that tf.io.gfile knows.
"""

import contextlib
import json
import os
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from mmkeras.aside import to_disk
from mmkeras.data import remote
from mmkeras.data.cells import full_path

NAME = "shards.json"
FORMAT = 1
_THREADS = 16
_TEMPORARY = re.compile(r".+\.(?:tfrecord|json|csv)\.(.*)-(\d+)\.tmp")
_OLD = 3600.0  # seconds after which a temporary file is a dead run's


class Shard(NamedTuple):
    """One line of the manifest."""

    file: str
    part: str | None
    rows: int
    bytes: int

    @property
    def index(self):
        """The name of the file that tells what is where in the shard."""
        return index_name(self.file)


def index_name(file):
    """The index of the shard in `file`."""
    return file.removesuffix(".tfrecord") + ".json"


@contextlib.contextmanager
def whole(path):
    """Gives a temporary path; renames it to `path` when the block succeeds.

    The path is this process's own: another one may write the same file meanwhile.
    """
    import tensorflow as tf

    temporary = f"{path}.{platform.node()}-{os.getpid()}.tmp"
    try:
        yield temporary
        if "://" not in path:
            to_disk(temporary)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)


def remove_dead(folder):
    """Removes the temporary files of killed runs.

    Those of this host whose process is gone, and all that are an hour old.
    """
    import tensorflow as tf

    for name in tf.io.gfile.listdir(folder):
        found = _TEMPORARY.fullmatch(name)
        path = full_path(name, folder)
        try:
            if found and (_is_dead(*found.groups()) or _age(path) > _OLD):
                tf.io.gfile.remove(path)
        except tf.errors.NotFoundError:
            pass  # its process finished it meanwhile


def _is_dead(host, process):
    """Whether a process of this host is gone."""
    # elsewhere than on POSIX a signal of 0 would end it
    if host != platform.node() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is another user's
    return False


def _age(path):
    """Seconds since a file was written."""
    import tensorflow as tf

    return time.time() - tf.io.gfile.stat(path).mtime_nsec / 1e9


def write_text(path, text):
    """Writes a text so that all of it is there or none."""
    import tensorflow as tf

    with whole(path) as temporary, tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)


def write_lines(path, lines):
    """Writes things as JSON, one a line, so that all of them are there or none."""
    write_text(path, "".join(f"{json.dumps(x)}\n" for x in lines))


def size(path):
    """Bytes of a file; None where it is not there."""
    import tensorflow as tf

    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError:
        return None


def header(folder, file):
    """The first line of a shard's index; None where the shard is not whole."""
    import tensorflow as tf

    path = full_path(index_name(file), folder)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "r") as opened:
        found = json.loads(opened.readline())
    there = size(full_path(file, folder)) == found["bytes"]
    return {**found, "whole": there}


def index(folder, shard, columns):
    """A shard's index: its header, and dict, column -> line, of some columns."""
    import tensorflow as tf

    with tf.io.gfile.GFile(full_path(shard.index, folder), "r") as file:
        first, *lines = file.read().splitlines()
    begins = {json.dumps({"column": x})[:-1] + ",": x for x in columns}
    found = {}
    for line in lines:
        for begin, column in begins.items():
            if line.startswith(begin):
                found[column] = json.loads(line)
    return json.loads(first), found


def read(folder):
    """The manifest as a dict; its shards as `Shard`s.

    Raises:
        ValueError: there is none, or one of another format.
    """
    import tensorflow as tf

    remote.check(folder, "`folder`")
    path = full_path(NAME, folder)
    if not tf.io.gfile.exists(path):
        begun = tf.io.gfile.exists(full_path(file_name(0), folder))
        raise ValueError(
            f"`folder` wants a folder that `mmkeras shard` or "
            f"`mmkeras.data.write_shards` wrote. Received: {folder!r}, "
            + (
                "where writing was stopped: run the same command again, it goes on."
                if begun
                else f"without a {NAME}."
            )
        )
    with tf.io.gfile.GFile(path, "r") as file:
        found = json.loads(file.read())
    if found.get("format") != FORMAT:
        raise ValueError(
            f"The shards in {folder!r} are of format {found.get('format')!r}, this "
            f"version reads {FORMAT}. Write them again."
        )
    return {**found, "shards": [Shard(**x) for x in found["shards"]]}


def file_name(number):
    """The records of the shard of this number."""
    return f"shard-{number:05d}.tfrecord"


def check_sizes(folder, shards):
    """Raises ValueError where a shard has not the bytes that were written."""
    paths = [full_path(x.file, folder) for x in shards]
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(size, paths))
    wrong = [
        f"{path!r}: {'not there' if found is None else f'{found:,} bytes'}, written "
        f"were {shard.bytes:,}"
        for path, shard, found in zip(paths, shards, sizes, strict=True)
        if found != shard.bytes
    ]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(shards)} shards are damaged: {'; '.join(wrong[:5])}"
            f"{'; ...' if len(wrong) > 5 else ''}. Run the command that wrote them "
            f"again: it writes those alone."
        )
