"""Reads the cells of a table while training runs."""

import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from mmkeras.data.bad import reason
from mmkeras.modality import ModalityInput

_THREADS = 16
#: What a file must be, by the contract's `kind`.
WANTED = {
    "image": "an encoded picture, such as PNG or JPEG",
    "audio": "an encoded sound, such as WAV or OGG",
}


class _Job(NamedTuple):
    """A cell to be read, and where to."""

    name: str  # the modality
    row: int
    tensor: np.ndarray  # (1, ...), zeros
    presence: np.ndarray  # (1,), zeros
    place: tuple | None = None  # of a clip: its key, and what to read


class RowReader:
    """Reads the cells of some rows that may fail to decode, in Python.

    Several rows are decoded side by side, in as many threads as there are cores; those
    of a contract that reads in TensorFlow alone in one call, and one by one only where
    that fails, to tell which it was.

    Args:
        contracts: dict, modality -> contract.
        cells: dict, modality -> sequence of paths, strings, bytes or `places.Place`s;
            None or "" is absent.
        columns: dict, modality -> column, for messages.
        bad: `BadRows`.
        clips: optional dict, modality -> `clips.Clips`, its decoded clips on disk.
        rows: Integer, rows in a pass: after it the clips are written.
    """

    def __init__(self, contracts, cells, columns, bad, clips=None, rows=1):
        self.contracts = contracts
        self.cells = cells
        self.columns = columns
        self.bad = bad
        self.read = {name: _read_cell(x) for name, x in contracts.items()}
        self.clips = clips or {}
        self.together = {
            name: _read_together(x)
            for name, x in contracts.items()
            if _reads_in_tensorflow(x) and name not in self.clips
        }
        self.rows, self._done, self._lock = rows, 0, threading.Lock()
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.files = ThreadPoolExecutor(_THREADS)  # wait for disks and networks
        self.gate = Gate()
        # these run before the interpreter shuts down, or when nobody reads any more:
        # the last first, so that nobody reads when clips are written
        weakref.finalize(self, _save, self.clips)
        weakref.finalize(self, self.gate.close)

    def __call__(self, rows):
        """A tensor and a presence for each modality, in order: arrays `(rows, ...)`."""
        with self.gate:
            several = self.together if len(rows) > 1 else ()
            asked = {x: self.pool.submit(self._all, x, rows) for x in several}
            found = self._each(rows, [x for x in self.contracts if x not in asked])
            found |= {name: answer.result() for name, answer in asked.items()}
            failed = [name for name, pair in found.items() if pair is None]
            found |= self._each(rows, failed)
            self._count(len(rows))
        return [x for name in self.contracts for x in found[name]]

    def _all(self, name, rows):
        """Tensors and presence of a modality in one call; None where a cell is bad."""
        import tensorflow as tf

        cells = [self.cells[name][row] if row >= 0 else None for row in rows]
        try:
            raw = list(self.files.map(_bytes, cells))
            tensors = np.asarray(memoryview(self.together[name](raw)))
        except (ValueError, OSError, tf.errors.OpError):
            return None
        return tensors, np.array([bool(x) for x in cells], "float32")

    def _each(self, rows, names):
        """Tensors and presence by modality, cell by cell."""
        found = {}
        for name in names:
            contract = self.contracts[name]
            shape = (len(rows), *contract.tensor_shape)
            tensors = np.zeros(shape, contract.tensor_dtype)
            found[name] = tensors, np.zeros(len(rows), "float32")
        jobs = [
            _Job(name, row, tensors[i : i + 1], there[i : i + 1])
            for i, row in enumerate(rows)
            for name, (tensors, there) in found.items()
            if row >= 0 and self.cells[name][row]  # -1 is not to be read
        ]
        jobs = [self._placed(job) for job in jobs]
        jobs = [job for job in jobs if not self._fill_kept(job)]
        several = len(jobs) > len(self.contracts)  # threads are worth their start
        for _ in (self.pool.map if several else map)(self._fill, jobs):
            pass
        return found

    def _placed(self, job):
        """The job with the place of its clip, where clips are kept."""
        clips = self.clips.get(job.name)
        if clips is None:
            return job
        try:
            place = clips.hashes.locate(self.cells[job.name][job.row])
        except OSError:
            return job  # reading it tells why
        return job._replace(place=place)

    def _fill_kept(self, job):
        """Fills in a clip that is on disk; gives whether it is."""
        if job.place is None:
            return False
        key, _ = job.place
        job.presence[0] = self.clips[job.name].fill(key, job.tensor[0])
        return bool(job.presence[0])

    def _fill(self, job):
        """Fills in what a cell holds; nothing where it is bad and that is fine."""
        import tensorflow as tf

        name, row, tensor, presence, place = job
        contract, cell = self.contracts[name], self.cells[name][row]
        clips = self.clips.get(name)
        try:
            if clips and place is None:  # it could not be read: that tells why
                place = clips.hashes.locate(cell)
            held = place[1] if place else cell
            if not isinstance(held, str | bytes):
                held = held.read()  # it lies in a shard
            found = self.read[name](held)
            if tuple(np.shape(found)) != tuple(contract.tensor_shape):
                raise TypeError(
                    f"`read_cell` gave shape {np.shape(found)}, not "
                    f"{tuple(contract.tensor_shape)}"
                )
        except (ValueError, OSError, tf.errors.OpError) as error:
            bad = self.bad.row(row, self.columns[name], cell, reason(error))
            self.bad.while_reading(bad, _wanted(contract))
            return
        except Exception as error:  # a defect of the contract: never "absent"
            bad = self.bad.row(row, self.columns[name], cell, reason(error))
            raise RuntimeError(
                f"`{type(contract).__name__}.read_cell` failed on {bad}"
            ) from error
        tensor[0] = clips.keep(*place, found) if place else found
        presence[0] = 1.0

    def _count(self, rows):
        """Writes the clips when a pass is over."""
        with self._lock:
            passes = self._done // self.rows
            self._done += rows
            over = self._done // self.rows > passes
        if over:
            _save(self.clips)


def _save(clips):
    for x in {id(x): x for x in clips.values()}.values():
        x.save()


class Gate:
    """Lets readers through until it closes, and then waits for those inside.

    tf.data reads ahead in threads of its own. One that waits for Python while the
    interpreter shuts down would never come back, and the process would hang.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._last = 0.0
        self._closed = False

    def __enter__(self):
        if self._closed:
            raise RuntimeError("the interpreter is shutting down")
        with self._lock:
            self._inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._inside -= 1
            self._last = time.monotonic()

    def close(self, quiet=0.1, patience=30.0):
        """Turns readers away, until none came for `quiet` seconds."""
        self._closed = True
        start = time.monotonic()
        while (now := time.monotonic()) - start < patience:
            if not self._inside and now - self._last > quiet:
                break
            time.sleep(quiet / 10)


def _reads_in_tensorflow(contract):
    """Whether a cell is a file whose bytes the contract's `read` takes as they are."""
    own = type(contract).read_cell is not ModalityInput.read_cell
    return contract.cell == "file" and not own


def _bytes(cell):
    """What a cell holds: a path's file, bytes, what lies in a shard; b"" if absent."""
    import tensorflow as tf

    if not cell:
        return b""
    if isinstance(cell, str):
        with tf.io.gfile.GFile(cell, "rb") as file:
            cell = file.read()
        if not cell:
            raise ValueError("the file is empty")
    return cell if isinstance(cell, bytes) else cell.read()


def _read_together(contract):
    """`read` of a list of bytes, as many at a time as there are cores."""
    import tensorflow as tf

    spec = tf.TensorSpec(contract.tensor_shape, contract.tensor_dtype)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def read(raw):
        # each holds a decoded picture: no more of them than can be worked on
        cores = os.cpu_count()
        return tf.map_fn(
            contract.read, raw, parallel_iterations=cores, fn_output_signature=spec
        )

    return read


def _read_cell(contract):
    """The contract's `read_cell`; the base class's compiled, 3 times as fast."""
    import tensorflow as tf

    if type(contract).read_cell is not ModalityInput.read_cell:
        return contract.read_cell
    read = tf.function(contract.read).get_concrete_function(
        tf.TensorSpec((), tf.string)
    )

    def read_cell(cell):
        if contract.cell == "file":
            cell = _bytes(cell)
        return read(tf.constant(cell)).numpy()

    return read_cell


def _wanted(contract):
    wanted = WANTED.get(contract.kind, f"a {contract.cell} that the contract reads")
    return f"{wanted}, for `{type(contract).__name__}`"
