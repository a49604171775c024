"""A table becomes a `tf.data.Dataset` that `model.fit` takes."""

import itertools
import os

import keras
import numpy as np

from mmkeras.data import cells, clips
from mmkeras.data.ahead import ahead
from mmkeras.data.bad import BadRows, reason
from mmkeras.data.labels import targets
from mmkeras.data.numbers import weights
from mmkeras.data.row_reader import RowReader
from mmkeras.data.table import as_frame, match_columns
from mmkeras.data.weighting import row_weights
from mmkeras.model import readers

#: Rows that are tokenised together where the caller batches the rows himself.
_CHUNK = 64


def from_table(
    table,
    model,
    label=None,
    *,
    classes=None,
    columns=None,
    root=None,
    batch_size=None,
    shuffle=False,
    seed=0,
    on_bad_row="raise",
    bad_rows=None,
    sample_weight=None,
    rows=None,
    audio_cache=None,
    resume=None,
    worker=None,
    drop_remainder=False,
    class_weight=None,
):
    """Reads a table of paths, strings and labels for a model, while it trains.

    Elements are `(inputs, label)`, `(inputs, label, weight)` or, without `label`,
    `inputs`, as `model.fit`, `evaluate` and `predict` take them. `inputs` is a dict:
    `<name>` the modality's tensor and `<name>_present` 1.0, or zeros and 0.0 where the
    cell is empty, None or NaN.

    Without `batch_size` the rows come one by one, for `.shuffle(...).batch(...)`.
    With `shuffle` the row numbers are shuffled before anything is decoded, anew in
    each pass: `order(rows, seed, passes so far)`.

    Example:
    >>> import pandas
    >>> pixels = mm.image.Pixels((8, 8))
    >>> table = pandas.DataFrame({"photo": [None, None], "label": ["cat", "dog"]})
    >>> rows = mm.data.from_table(
    ...     table, {"photo": pixels}, label="label", classes=["cat", "dog"]
    ... )
    >>> [(float(x["photo_present"]), int(y)) for x, y in rows]
    [(0.0, 0), (0.0, 1)]
    >>> len(rows.batch(2))
    1

    Args:
        table: path of a CSV, Parquet or JSON lines file, or a `pandas.DataFrame`. A
            cell of a file modality is a path, the file's bytes, or these as base64 (a
            data URI too), one of a text modality is the string, one of
            `mmkeras.tabular.Columns` a number or a category.
        model: multimodal model, what `mmkeras.export.load` gives, or dict, modality ->
            contract or encoder.
        label: label column; a list of columns for several numbers; a dict, output
            name -> column, for a model with several outputs. See
            `mmkeras.data.labels.targets`.
        classes: list of class names, where the model's head does not know them.
        columns: dict, modality -> column, where the names differ. For
            `mmkeras.tabular.Columns` a list: the contract's own columns in any order,
            or as many others in the contract's order.
        root: folder that relative paths start from; default: the table's own folder,
            or for a DataFrame the current one.
        batch_size: optional integer.
        shuffle: whether each pass takes the rows in another order.
        seed: Integer, of that order.
        on_bad_row: "raise" to stop at a cell that cannot be read, "absent" to take it
            as a missing modality (in a row of several columns: as a missing cell).
            Files that are not there are found before this
            function returns, others while the dataset runs, where tf.data wraps the
            error as `tf.errors.InvalidArgumentError`.
        bad_rows: optional list, to which "absent" appends one `BadRow` a bad cell.
        sample_weight: column, or one float a row.
        rows: optional list of integers, the rows to read, in this order; not shuffled.
        audio_cache: optional folder, such as that of `mmkeras.transfer.cache_features`,
            for decoded clips: files of a `Waveform` are decoded once and then read as
            16-bit samples, off by 1 / 65536 at most; see `mmkeras.data.clips.Clips`.
        resume: optional `mmkeras.Resume`, which says where each pass begins; wants
            `batch_size`. Rows of steps that are done come as zeros, unread.
        worker: optional `mmkeras.distribute.worker()`, for `fit` and `evaluate` under
            a strategy of several workers: of each batch, which is the global one, the
            files of this worker's rows alone are read. Wants `batch_size`, a multiple
            of the workers.
        class_weight: optional "balanced", or dict, class name -> float: rows weigh by
            their class, times `sample_weight`; for several outputs dict, output ->
            one of these. See `mmkeras.data.weighting.row_weights`. Keras' own argument
            of this name counts outputs wrongly.
        drop_remainder: whether the last batch is left out where it is smaller; several
            replicas want that in training.

    Returns:
        `tf.data.Dataset` of known cardinality, in the table's order without `shuffle`.

    Raises:
        ValueError: a missing column, file or label, no rows, an unknown class, a
            label that is not a number; the message names rows and columns.
        TypeError: `table` is neither a path nor a DataFrame.
    """
    frame = as_frame(table)
    contracts = readers(model)
    columns = match_columns(frame, contracts, columns)
    extras = extras_of(frame, model, label, classes, sample_weight, class_weight)
    bad = BadRows(on_bad_row, bad_rows, frame.index)
    root = os.fspath(root or frame.attrs.get("root") or ".")
    found, problems = {}, []
    for name, contract in contracts.items():
        found[name], wrong = cells.of(frame, columns[name], contract, root, bad)
        problems += wrong
    bad.up_front(problems, root)
    numbers = row_numbers(len(frame), shuffle, seed, rows, resume, batch_size, worker)
    reading = (contracts, found, columns, bad)
    batching = (batch_size, drop_remainder)
    return elements(numbers, *reading, extras, *batching, audio_cache)


def elements(
    numbers,
    contracts,
    found,
    columns,
    bad,
    extras,
    batch_size,
    drop_remainder,
    audio_cache=None,
):
    """Row numbers to elements: inputs from the cells, and what stands behind them.

    Args:
        numbers: dataset of row numbers, of known cardinality.
        contracts: dict, modality -> contract.
        found: dict, modality -> its cells, row by row; see `cells.of`.
        columns: dict, modality -> column, for messages.
        bad: `BadRows`.
        extras: tuple of arrays; see `extras_of`.
        batch_size: Integer, or None for single rows.
        drop_remainder: whether a smaller last batch is left out.
        audio_cache: optional folder for decoded clips.
    """
    if batch_size and drop_remainder:
        numbers = numbers.take(len(numbers) // batch_size * batch_size)
    texts, singles = {}, {}
    for name, contract in contracts.items():
        # any string is a text, and lines of columns are sound; others may not decode:
        # read those one by one
        sure = contract.columns or (contract.cell, contract.kind) == ("value", "text")
        (texts if sure else singles)[name] = found[name]
    read = {name: contracts[name] for name in singles}
    kept = {} if audio_cache is None else clips.of(read, audio_cache)
    count = max(int(numbers.cardinality()), 1)
    reader = RowReader(read, singles, columns, bad, kept, count)
    return ahead(_read(numbers, contracts, texts, reader, extras, batch_size))


def order(rows, seed, epoch):
    """Row numbers of one shuffled pass: a pure function of seed and epoch.

    Args:
        rows: Integer, how many.
        seed: Integer.
        epoch: Integer, passes over the dataset before this one.

    Returns:
        int64 array `(rows,)`.
    """
    return np.random.default_rng([seed, epoch]).permutation(rows)


def extras_of(frame, model, label, classes, sample_weight, class_weight=None):
    """What stands behind the inputs in each element: (), (label,) or with weight."""
    if label is None:
        if (sample_weight, classes, class_weight) != (None, None, None):
            raise ValueError(
                "`sample_weight`, `class_weight` and `classes` want a `label`."
            )
        return ()
    labels = targets(frame, label, model, classes)
    if sample_weight is None and class_weight is None:
        return (labels,)
    own = 1.0 if sample_weight is None else weights(frame, sample_weight)
    if class_weight is not None:
        by_class = row_weights(labels, class_weight, model)
        return labels, keras.tree.map_structure(lambda x: x * own, by_class)
    return labels, dict.fromkeys(labels, own) if isinstance(labels, dict) else own


def row_numbers(
    count,
    shuffle,
    seed,
    chosen=None,
    resume=None,
    batch_size=None,
    worker=None,
    permutation=order,
):
    """Row numbers as a dataset: the chosen ones, all in order, or shuffled anew.

    `permutation` is what gives a shuffled pass its order; see `order`.

    -1 stands for the rows of steps that are done, with `resume`, and for those of the
    other workers, with `worker`.
    """
    import tensorflow as tf

    if resume is not None and not batch_size:
        raise ValueError("`resume` wants `batch_size`: it counts steps.")
    shuffle = shuffle and chosen is None
    plain = np.arange(count) if chosen is None else np.asarray(chosen, "int64")
    others = _others(len(plain), batch_size, worker)
    if resume is None and others is None and not shuffle:
        if chosen is None:
            return tf.data.Dataset.range(count)
        return tf.data.Dataset.from_tensor_slices(plain)
    passes = itertools.count()

    def draw(_):
        epoch = next(passes) if resume is None else resume.epoch
        numbers = permutation(count, seed, epoch) if shuffle else plain.copy()
        if resume is not None:
            numbers[: resume.skipped_steps * batch_size] = -1
        if others is not None:
            numbers[others] = -1
        return numbers

    def one_pass(start):
        numbers = tf.numpy_function(draw, [start], tf.int64)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(numbers, plain.shape))

    numbers = tf.data.Dataset.from_tensors(0).flat_map(one_pass)
    return numbers.apply(tf.data.experimental.assert_cardinality(len(plain)))


def _others(count, batch_size, worker):
    """Which places in a pass are other workers', or None: TensorFlow cuts a batch.

    It gives the first part to the first worker and so on; a smaller last batch all
    workers read.
    """
    index, workers = worker or (0, 1)
    if workers == 1:
        return None
    if not batch_size or batch_size % workers:
        raise ValueError(
            f"`batch_size` wants a multiple of the {workers} workers, who share each "
            f"batch. Received: batch_size={batch_size}"
        )
    place = np.arange(count)
    owner = place % batch_size * workers // batch_size
    return (owner != index) & (place // batch_size < count // batch_size)


def _read(rows, contracts, texts, reader, extras, batch_size):
    """Row numbers to elements: strings by the chunk, files by the batch or the row."""
    import tensorflow as tf

    read_strings = strings_reader(contracts, texts, extras, reader)
    dtypes = [
        dtype
        for contract in reader.contracts.values()
        for dtype in (contract.tensor_dtype, "float32")
    ]

    def read_files(numbers, inputs, behind):
        inputs = dict(inputs)
        if reader.contracts:
            found = iter(tf.numpy_function(reader, [numbers], dtypes))
            for name, contract in reader.contracts.items():
                shape = (None, *contract.tensor_shape)
                inputs[name] = tf.ensure_shape(next(found), shape)
                inputs[f"{name}_present"] = tf.ensure_shape(next(found), (None,))
        return (inputs, *behind) if behind else inputs

    def read_row(*row):
        row = tf.nest.map_structure(lambda x: x[None], row)
        return tf.nest.map_structure(lambda x: x[0], read_files(*row))

    dataset = rows.batch(batch_size or _CHUNK).map(read_strings, -1)
    if batch_size:  # the rows of a batch are read side by side, and two batches
        return dataset.map(read_files, 2)
    dataset = dataset.unbatch()
    dataset = dataset.apply(
        tf.data.experimental.assert_cardinality(int(rows.cardinality()))
    )
    return dataset.map(read_row, -1)


def strings_reader(contracts, texts, extras, reader=None):
    """A function of row numbers: they, the inputs that are strings, and the extras.

    Args:
        contracts: dict, modality -> contract.
        texts: dict, modality -> list of strings, "" where absent.
        extras: tuple of arrays; see `extras_of`.
        reader: optional `RowReader`, through whose gate the contracts read in Python,
            as functions of their own. tf.data optimises its graph anew in each pass,
            and that of a tokenizer takes a tenth of a second.
    """
    import tensorflow as tf

    strings = {name: tf.constant(x, tf.string) for name, x in texts.items()}
    extras = tf.nest.map_structure(tf.constant, extras)
    read = {
        name: _in_python(contracts[name], reader) if reader else contracts[name].read
        for name in strings
    }

    def read_strings(numbers):
        inputs, there = {}, tf.maximum(numbers, 0)  # -1 is not to be read
        for name, column in strings.items():
            raw = tf.gather(column, there)
            inputs[name] = read[name](raw)
            inputs[f"{name}_present"] = contracts[name].presence(raw)
        behind = tf.nest.map_structure(lambda x: tf.gather(x, there), extras)
        return numbers, inputs, behind

    return read_strings


def _in_python(contract, reader):
    """`contract.read` as an operation that calls Python, for graphs of tf.data."""
    import tensorflow as tf

    traced = tf.function(contract.read).get_concrete_function(
        tf.TensorSpec([None], tf.string)
    )

    def called(raw):
        with reader.gate:
            try:
                return traced(tf.constant(raw, tf.string)).numpy()
            except tf.errors.InvalidArgumentError as error:
                raise ValueError(reason(error)) from error

    def read(raw):
        found = tf.numpy_function(called, [raw], contract.tensor_dtype)
        return tf.ensure_shape(found, (None, *contract.tensor_shape))

    return read
