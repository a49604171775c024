"""Shards become a `tf.data.Dataset`, with the elements that the table would give."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas

from mmkeras.data import cells
from mmkeras.data.bad import BadRows
from mmkeras.data.cells import full_path
from mmkeras.data.dataset import elements, extras_of, row_numbers
from mmkeras.data.sharding import kinds, manifest
from mmkeras.data.sharding import service as through
from mmkeras.data.sharding.orders import shard_order
from mmkeras.data.sharding.places import Files, Places
from mmkeras.data.table import match_columns
from mmkeras.model import readers

_THREADS = 16


def from_shards(
    folder,
    model,
    label=None,
    *,
    part=None,
    classes=None,
    columns=None,
    batch_size=None,
    shuffle=False,
    seed=0,
    buffer=4096,
    on_bad_row="raise",
    bad_rows=None,
    sample_weight=None,
    class_weight=None,
    resume=None,
    worker=None,
    drop_remainder=False,
    service=None,
):
    """Reads the shards of `mmkeras.data.write_shards` for a model, while it trains.

    Elements are those that `from_table` gives for the table, bit for bit, and without
    `shuffle` in its order. With `shuffle` shards are read one after the other:
    `shard_order(shard of each row, seed, passes so far, buffer)`.

    Strings, numbers and labels lie in memory, as with a table; files are read from the
    shards when their rows come.

    Example:
    >>> import pandas, tempfile
    >>> facts = mm.tabular.Columns(numeric={"size": (0.0, 1.0)})
    >>> table = pandas.DataFrame({"size": [1.0, 2.0, 3.0], "label": ["x", "y", "x"]})
    >>> folder = tempfile.mkdtemp()
    >>> _ = mm.data.write_shards(table, folder, rows_per_shard=2)
    >>> rows = mm.data.from_shards(folder, {"size": facts}, "label", classes=["x", "y"])
    >>> [(float(x["size"][0]), int(y)) for x, y in rows]
    [(1.0, 0), (2.0, 1), (3.0, 0)]

    Args:
        folder: path or URL of the folder.
        model: as in `from_table`, like all that is not told apart here.
        label: label column, or several.
        part: value of the split column: reads that part's shards alone. Default: all.
        classes: list of class names.
        columns: dict, modality -> column.
        batch_size: optional integer.
        shuffle: whether each pass takes shards and rows in another order.
        seed: Integer, of that order.
        buffer: Integer, rows that are shuffled together; their files are not kept, but
            for shards on another machine: those lie in memory, about twice.
        on_bad_row: "raise" or "absent".
        bad_rows: optional list; its rows count within the part that is read.
        sample_weight: column, or one float a row.
        class_weight: "balanced", or dict.
        resume: optional `mmkeras.Resume`; rows of steps that are done are not read.
        worker: optional `mmkeras.distribute.worker()`, as in `from_table`: of each
            batch this worker's rows alone are read. With `shuffle` each worker has
            shards of its own in each pass, and the order depends on their number.
        drop_remainder: whether a smaller last batch is left out.
        service: optional address of a tf.data service, such as "grpc://host:5000",
            whose machines decode the files; they must see `folder`. It takes what
            `contract.read` takes, a WAV at the contract's own rate and no MP3; the
            order is not fixed, and a bad file stops it.

    Returns:
        `tf.data.Dataset` of known cardinality.

    Raises:
        ValueError: as `from_table`; the folder holds no shards or not all, a shard has
            not its size, or a column was not written as the model wants it.
    """
    if service is not None:
        through.check(batch_size, resume, worker, on_bad_row)
    if buffer < 1:
        raise ValueError(f"`buffer` wants 1 row or more. Received: buffer={buffer}")
    folder = os.fspath(folder)
    about = manifest.read(folder)
    shards = _chosen(about, part)
    manifest.check_sizes(folder, shards)
    contracts = readers(model)
    names = pandas.DataFrame(columns=list(about["columns"]))
    columns = match_columns(names, contracts, columns)
    _check_kinds(about["columns"], contracts, columns)
    needed = {x for value in columns.values() for x in _listed(value)}
    wanted = label.values() if isinstance(label, dict) else [label, sample_weight]
    needed |= {x for value in wanted for x in _listed(value) if isinstance(x, str)}
    table = _Table(folder, shards, about["columns"], needed)
    extras = extras_of(table.frame, model, label, classes, sample_weight, class_weight)
    bad = BadRows(on_bad_row, bad_rows, table.frame.index, "from_shards")
    keep = 2 * buffer * sum(x.bytes for x in shards) // len(table.frame)
    found, problems = {}, []
    for name, contract in contracts.items():
        if contract.cell == "file":
            found[name] = table.places(columns[name], keep)
        else:
            found[name], wrong = cells.of(
                table.frame, columns[name], contract, folder, bad
            )
            problems += wrong
    bad.up_front(problems, folder)
    if service is not None:
        order = {"shuffle": shuffle, "seed": seed, "buffer": buffer}
        order |= {"batch_size": batch_size, "drop_remainder": drop_remainder}
        paths = [full_path(x.file, folder) for x in shards]
        reading = (found, contracts, columns, extras)
        return through.elements(service, paths, table.rows, *reading, **order)
    numbers = row_numbers(
        len(table.frame),
        shuffle,
        seed,
        resume=resume,
        batch_size=batch_size,
        worker=worker,
        permutation=table.order(buffer, batch_size, worker),
    )
    reading = (contracts, found, columns, bad)
    return elements(numbers, *reading, extras, batch_size, drop_remainder)


class _Table:
    """What the indexes of some shards say, as one table in its own order."""

    def __init__(self, folder, shards, about, columns):
        self.folder, self.shards = folder, shards
        columns = [x for x in about if x in columns]
        read = functools.partial(manifest.index, folder, columns=columns)
        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(read, shards))
        heads = [head for head, _ in found]
        rows = np.concatenate([x["row"] for x in heads])
        self.turn = np.argsort(rows, kind="stable")
        self.rows = rows[self.turn]
        self.shard = np.repeat(np.arange(len(shards)), [x.rows for x in shards])
        self.record = np.concatenate([np.arange(x.rows) for x in shards])
        self.lines = {x: [lines[x] for _, lines in found] for x in columns}
        values = {
            x: kinds.series(self._joined(x, "values"), about[x])
            for x in columns
            if about[x]["kind"] != "file"
        }
        labels = [y for x in heads for y in x["index"] or x["row"]]
        self.frame = pandas.DataFrame(values, index=range(len(rows)))
        self.frame.index = [labels[i] for i in self.turn]

    def _joined(self, column, key):
        found = [y for x in self.lines[column] for y in x[key]]
        return [found[i] for i in self.turn]

    def places(self, column, keep):
        """Where the files of a column are."""
        arrays = {
            key: np.array(self._joined(column, key), "int64")
            for key in ("at", "size", "crc")
        }
        arrays |= {"shard": self.shard[self.turn], "record": self.record[self.turn]}
        return Places(Files(self.folder, self.shards, keep), column, arrays)

    def order(self, buffer, batch_size, worker):
        """The order of a shuffled pass, as `row_numbers` asks for it."""
        shards = self.shard[self.turn]
        workers = 1 if worker is None else worker[1]

        def permutation(rows, seed, epoch):
            return shard_order(shards, seed, epoch, buffer, batch_size, workers)

        return permutation


def _chosen(about, part):
    """The shards of a part."""
    if part is None:
        return about["shards"]
    found = [x for x in about["shards"] if x.part == part]
    if not found:
        raise ValueError(
            f"`part` wants a value of the column that the shards were split by "
            f"({about['split']!r}). Received: {part!r}. Valid: "
            f"{sorted({str(x.part) for x in about['shards']})}"
        )
    return found


def _check_kinds(about, contracts, columns):
    """Raises where a column was written as a file and is wanted as a value, or so."""
    for name, contract in contracts.items():
        wants_file = not contract.columns and contract.cell == "file"
        for column in _listed(columns[name]):
            kind = about[column]["kind"]
            if (kind == "file") != wants_file:
                wanted = "files" if wants_file else "values"
                was = "a column of files" if kind == "file" else f"kind '{kind}'"
                raise ValueError(
                    f"Modality '{name}' wants {wanted}; column '{column}' was written "
                    f"as {was}. Write the shards again and name the columns of files: "
                    f"write_shards(files=[...])."
                )


def _listed(value):
    return value if isinstance(value, list | tuple) else [value]
