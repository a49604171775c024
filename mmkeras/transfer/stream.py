"""Cached features as what `fit` takes: tf.data, or arrays."""

import weakref

import keras
import numpy as np

from mmkeras.data.ahead import ahead
from mmkeras.data.dataset import row_numbers
from mmkeras.data.row_reader import Gate


class Features:
    """The rows that `mmkeras.transfer.trunk` is fitted on, kept on disk.

    Example:
        features = mmkeras.transfer.cache_features(model, table, ".cache", label="kind")
        trunk = mmkeras.transfer.trunk(model)
        trunk.fit(features.dataset(batch_size=32, shuffle=True), epochs=20)

    Args:
        inputs: dict, input of the trunk -> `shards.Column`.
        extras: tuple of label and weight, as far as there are, of `shards.Column`.
        rest: function (batch_size, shuffle, seed) -> dataset of the inputs that are
            not cached, in the same order; or None.
    """

    def __init__(self, inputs, extras=(), rest=None):
        self._columns, self._rest = (inputs, *extras), rest
        self._rows = len(keras.tree.flatten(self._columns)[0])

    def __len__(self):
        """Number of rows."""
        return self._rows

    @property
    def nbytes(self):
        """Bytes of what is cached, and of label and weight."""
        return sum(x.nbytes for x in keras.tree.flatten(self._columns))

    def arrays(self):
        """All rows in memory: `(inputs, label[, weight])`, or `inputs` alone."""
        rows = np.arange(len(self))
        found = keras.tree.map_structure(lambda x: x.take(rows), self._columns)
        if self._rest:
            batches = self._rest(batch_size=256).as_numpy_iterator()
            more = keras.tree.map_structure(lambda *x: np.concatenate(x), *batches)
            found = ({**found[0], **more}, *found[1:])
        return found if len(found) > 1 else found[0]

    def dataset(self, batch_size=32, shuffle=False, seed=0, resume=None):
        """The rows as batches, read from disk while the trunk trains.

        Args:
            batch_size: Integer.
            shuffle: whether each pass takes the rows in another order:
                `mmkeras.data.order(rows, seed, passes so far)`.
            seed: Integer, of that order.
            resume: optional `mmkeras.Resume`, which says where each pass begins.

        Returns:
            `tf.data.Dataset` of `(inputs, label[, weight])`, or of `inputs` alone.
        """
        import tensorflow as tf

        take = _Take(keras.tree.flatten(self._columns))

        def gather(numbers):
            found = tf.numpy_function(take, [numbers], take.dtypes)
            found = [
                tf.ensure_shape(x, (None, *shape))
                for x, shape in zip(found, take.shapes, strict=True)
            ]
            return keras.tree.pack_sequence_as(self._columns, found)

        numbers = row_numbers(
            len(self), shuffle, seed, resume=resume, batch_size=batch_size
        )
        numbers = numbers.batch(batch_size)
        dataset = numbers.map(gather, -1)
        if self._rest:
            rest = self._rest(
                batch_size=batch_size, shuffle=shuffle, seed=seed, resume=resume
            )
            dataset = tf.data.Dataset.zip(dataset, rest).map(_join)
        elif len(self._columns) == 1:
            dataset = dataset.map(_alone)
        return ahead(dataset)


class _Take:
    """Rows of all columns, for tf.data's threads."""

    def __init__(self, columns):
        self.columns = columns
        self.dtypes = [x.dtype for x in columns]
        self.shapes = [x.shape for x in columns]
        self.gate = Gate()
        weakref.finalize(self, self.gate.close)

    def __call__(self, rows):
        with self.gate:
            return [x.take(rows) for x in self.columns]


def _join(found, rest):
    inputs = {**found[0], **rest}
    return (inputs, *found[1:]) if len(found) > 1 else inputs


def _alone(inputs):
    return inputs
