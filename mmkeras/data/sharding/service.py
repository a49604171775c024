"""Shards decoded by a tf.data service: on other machines, in TensorFlow ops alone."""

import os

from mmkeras.data.ahead import ahead
from mmkeras.data.dataset import strings_reader
from mmkeras.data.sharding.source import ROW

_OPEN = 8  # shards that a machine of the service reads by turns
_CHUNK = 16  # rows that are decoded and sent together


def check(batch_size, resume, worker, on_bad_row):
    """Raises ValueError where an argument does not go with `service`."""
    unfit = {"resume": resume, "worker": worker}
    unfit = [x for x, value in unfit.items() if value is not None]
    unfit += ["on_bad_row"] * (on_bad_row != "raise")
    if unfit or not batch_size:
        raise ValueError(
            f"`service` wants `batch_size`, and gives rows in no fixed order and stops "
            f"at a bad one. Received: batch_size={batch_size}, and {unfit}, which it "
            f"cannot do."
        )


def elements(service, paths, rows, found, contracts, columns, extras, **order):
    """Batches whose files the service decodes; strings and labels join them here.

    Args:
        service: address of the dispatcher.
        paths: list of the shards' paths.
        rows: int64 array, the numbers of the rows in the table, rising.
        found: dict, modality -> its cells; those of files are not used.
        contracts: dict, modality -> contract.
        columns: dict, modality -> column.
        extras: tuple of arrays; see `dataset.extras_of`.
        **order: batch_size, shuffle, seed, buffer, drop_remainder.
    """
    import tensorflow as tf

    files = {x: c for x, c in contracts.items() if not c.columns and c.cell == "file"}
    texts = {x: found[x] for x in contracts if x not in files}
    read_strings = strings_reader(contracts, texts, extras)
    rows = tf.constant(rows, tf.int64)

    def join(numbers, decoded):
        _, inputs, behind = read_strings(tf.searchsorted(rows, numbers))
        inputs = {**inputs, **decoded}
        return (inputs, *behind) if behind else inputs

    size, last = order["batch_size"], order["drop_remainder"]
    dataset = _records(paths, order).batch(_CHUNK)
    dataset = dataset.map(_decoder(files, columns), -1)
    dataset = dataset.apply(
        tf.data.experimental.service.distribute(
            tf.data.experimental.service.ShardingPolicy.DYNAMIC, service
        )
    )
    dataset = dataset.unbatch()
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(rows)))
    return ahead(dataset.batch(size, drop_remainder=last).map(join, -1))


def _records(paths, order):
    """The records of some shards."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices([os.fspath(x) for x in paths])
    shuffle, seed = order["shuffle"], order["seed"]
    if not shuffle:
        return dataset.interleave(tf.data.TFRecordDataset, cycle_length=1)
    dataset = dataset.shuffle(len(paths), seed).interleave(
        tf.data.TFRecordDataset, _OPEN, 1, num_parallel_calls=-1
    )
    return dataset.shuffle(order["buffer"], seed)


def _decoder(files, columns):
    """A function of records: the rows' numbers, and the tensors of their files."""
    import tensorflow as tf

    wanted = {ROW: tf.io.FixedLenFeature((), tf.int64)}
    for name in files:
        wanted[columns[name]] = tf.io.FixedLenFeature((), tf.string, "")

    def decode(records):
        cells = tf.io.parse_example(records, wanted)
        found = {}
        for name, contract in files.items():
            raw = cells[columns[name]]
            found[name] = contract.read(raw)
            found[f"{name}_present"] = contract.presence(raw)
        return cells[ROW], found

    return decode
