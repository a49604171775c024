"""The feature cache: what frozen encoders give, kept on disk by content.

    <directory>/manifest.json                     hashes of files, written last
    <directory>/<encoder hash>/shard-*.safetensors

A feature is found by the hash of its encoder (`digest.encoder_digest`) and the hash
of its cell: nothing stale can be served, and only what is new is computed.
"""

import contextlib
import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from mmkeras.data import cells
from mmkeras.data.bad import BadRows
from mmkeras.data.dataset import extras_of, from_table
from mmkeras.data.hashes import Hashes, cell_key
from mmkeras.data.shards import Column, Shards
from mmkeras.data.table import as_frame, match_columns
from mmkeras.model import encoders, readers
from mmkeras.transfer import digest
from mmkeras.transfer.stream import Features

#: The one tensor of a feature that is a vector.
_VECTOR = "feature"
_THREADS = 16


class Cache:
    """The features of some encoders of a model, in one directory.

    Args:
        model: a multimodal model.
        names: modalities whose encoders are run.
        directory: path; made if it is not there.
        batch_size: Integer, rows that an encoder takes at once.
        shard_rows: Integer, rows in a file.
        track: function (items, total, label) that yields the items.
    """

    def __init__(self, model, names, directory, batch_size, shard_rows, track):
        directory = Path(directory)
        self.model, self.batch_size, self.track = model, batch_size, track
        self.hashes = Hashes(directory / "manifest.json")
        self.fillers = {}
        for name in names:
            encoder = encoders(model)[name]
            made = digest.encoder_digest(encoder)
            shards = Shards(directory / made, made, self.hashes, shard_rows)
            self.fillers[name] = _Filler(encoder, shards, batch_size)

    def of_table(
        self,
        table,
        label=None,
        classes=None,
        columns=None,
        root=None,
        on_bad_row="raise",
        bad_rows=None,
        sample_weight=None,
        class_weight=None,
    ):
        """`Features` of a table; arguments as `mmkeras.data.from_table`."""
        frame = as_frame(table)
        contracts = readers(self.model)
        columns = match_columns(frame, contracts, columns)
        extras = extras_of(
            frame, self.model, label, classes, sample_weight, class_weight
        )
        root = os.fspath(root or frame.attrs.get("root") or ".")
        bad_rows = [] if bad_rows is None else bad_rows

        def read(names, **options):
            return from_table(
                frame,
                {name: contracts[name] for name in names},
                columns={name: columns[name] for name in names},
                root=root,
                on_bad_row=on_bad_row,
                bad_rows=bad_rows,
                **options,
            )

        inputs = {}
        for name, filler in self.fillers.items():
            column = _Cells(frame, columns[name], contracts[name], root, self.hashes)
            rows = column.missing(filler.shards)
            if rows:
                batches = read([name], batch_size=self.batch_size, rows=rows)
                steps = math.ceil(len(rows) / self.batch_size)
                text = f"Encoding {len(rows)} of {len(frame)} cells of '{name}'"
                with filler:
                    for batch in self.track(batches, steps, text):
                        filler.push(*column.keyed(batch, name))
            with _kept(self.hashes.manifest.parent):
                self.hashes.save()
            keys = column.keys()
            inputs |= filler.inputs(name, keys)
            there = np.array([key != digest.ABSENT for key in keys], "float32")
            inputs[f"{name}_present"] = Column([there])
        rest = [name for name in contracts if name not in self.fillers]
        return Features(
            inputs,
            keras.tree.map_structure(_column, extras),
            functools.partial(read, rest) if rest else None,
        )

    def of_dataset(self, dataset):
        """`Features` of batches of tensors; what is not encoded stays in memory."""
        keys = {name: [] for name in self.fillers}
        kept = []
        with contextlib.ExitStack() as stack:
            for filler in self.fillers.values():
                stack.enter_context(filler)
            for batch in self.track(dataset, length(dataset), "Encoding"):
                batch = batch if isinstance(batch, tuple) else (batch,)
                inputs = dict(batch[0])
                for name, filler in self.fillers.items():
                    tensors = np.asarray(inputs.pop(name))
                    found = [digest.tensor_key(x) for x in tensors]
                    filler.push(found, tensors)
                    keys[name] += found
                kept.append(keras.tree.map_structure(np.array, (inputs, *batch[1:])))
        if not kept:
            raise ValueError("`dataset` wants at least one batch. Received: none.")
        with _kept(self.hashes.manifest.parent):
            self.hashes.save()
        joined = keras.tree.map_structure(lambda *x: np.concatenate(x), *kept)
        inputs, *extras = keras.tree.map_structure(_column, joined)
        for name, filler in self.fillers.items():
            inputs |= filler.inputs(name, keys[name])
        return Features(inputs, tuple(extras))


class _Filler:
    """Runs one encoder over the rows that its shards lack.

    Every batch has the same size, the last one filled up with zeros: kernels differ
    between sizes in their last bits, and a feature must not depend on its company.
    """

    def __init__(self, encoder, shards, batch_size):
        self.run, self.shards, self.batch_size = forward(encoder), shards, batch_size
        self._waiting = {}

    def push(self, keys, tensors):
        for key, tensor in zip(keys, tensors, strict=True):
            if key not in self.shards and key not in self._waiting:
                self._waiting[key] = tensor
            if len(self._waiting) == self.batch_size:
                self._encode()

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if self._waiting and error is None:
            self._encode()
        with _kept(self.shards.folder):
            self.shards.flush()  # what is finished is kept, whatever happened

    def inputs(self, name, keys):
        """What the trunk takes: dict, input -> `Column`."""
        columns = self.shards.columns(keys)
        if _VECTOR in columns:
            return {name: columns[_VECTOR]}
        return {f"{name}_{key}": column for key, column in columns.items()}

    def _encode(self):
        keys, tensors = list(self._waiting), np.stack(list(self._waiting.values()))
        self._waiting = {}
        lacking = self.batch_size - len(tensors)
        batch = np.pad(tensors, [(0, lacking)] + [(0, 0)] * (tensors.ndim - 1))
        feature = self.run(batch)
        feature = feature if isinstance(feature, dict) else {_VECTOR: feature}
        arrays = {k: np.asarray(x) for k, x in feature.items()}
        with _kept(self.shards.folder):
            self.shards.add(keys, arrays)


class _Cells:
    """A modality's cells in a table, the key of each, and which are read."""

    def __init__(self, frame, columns, contract, root, hashes):
        # `from_table` raises or notes what is bad; here it only must not be cached
        quiet = BadRows("absent", [], frame.index)
        self.hashes, self.files = hashes, contract.cell == "file"
        self.cells, bad = cells.of(frame, columns, contract, root, quiet)
        with ThreadPoolExecutor(_THREADS if self.files else 1) as pool:
            self._keys = list(pool.map(self._key, self.cells))
        for row in {x.row for x in bad}:
            self._keys[row] = os.urandom(16)
        self._unreadable = set()

    def missing(self, shards):
        """The first row of each key that `shards` lacks, to be read for `keyed`."""
        found = {}
        for row, key in enumerate(self._keys):
            if key not in shards:
                found.setdefault(key, row)
        self._unread = iter(found.values())
        return list(found.values())

    def keyed(self, batch, name):
        """Keys and tensors of a batch of the missing rows, as it was read.

        Raises:
            OSError: a file changed between hashing and reading.
        """
        tensors, there = np.asarray(batch[name]), np.asarray(batch[f"{name}_present"])
        keys = []
        for present in there:
            row = next(self._unread)
            key, cell = self._keys[row], self.cells[row]
            if not present:  # absent, or bad and taken as such
                self._unreadable.add(key)
                key = digest.ABSENT
            elif self._is_local(cell) and self._key(cell) != key:
                raise OSError(
                    f"The file {cell!r} changed while it was read. Run again: what is "
                    f"finished is kept."
                )
            keys.append(key)
        return keys, tensors

    def keys(self):
        """The key of each row, once what was missing has been read."""
        return [digest.ABSENT if x in self._unreadable else x for x in self._keys]

    def _is_local(self, cell):
        return self.files and isinstance(cell, str) and "://" not in cell

    def _key(self, cell):
        if not cell:
            return digest.ABSENT
        if not self.files:
            return cell_key(cell)
        try:
            return self.hashes.locate(cell)[0]
        except OSError:
            return os.urandom(16)  # never found again; reading it tells why


@contextlib.contextmanager
def _kept(folder):
    """Has an error of writing say where, and what is kept."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"The features could not be written to '{folder}' ({error}). The files "
            f"there are whole and kept: make room and run again, and only the rest is "
            f"encoded."
        ) from error


def forward(encoder):
    """The encoder as one compiled function, as predict runs it."""

    def call(x):
        return encoder(x, training=False)

    if keras.backend.backend() != "tensorflow":
        return call
    import tensorflow as tf

    return tf.function(call, reduce_retracing=True, autograph=False)


def _column(array):
    return Column([np.asarray(array)])


def length(dataset):
    """Batches in a dataset, or None where nobody knows."""
    try:
        return len(dataset)
    except TypeError:
        return None
