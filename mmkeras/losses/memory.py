"""Memory of negatives: rows of past batches beside those of this one (MoCo, XBM)."""

import keras
from keras import ops

from mmkeras.losses.formulas import unit


class Memory(keras.layers.Layer):
    """The last embeddings of each modality, newest first; what `InfoNCE` remembers.

    They are weights that do not train: saved, and alike on all replicas, which give it
    the joined batch. A row that lacks a modality takes no place in its queue.

    Args:
        size: Integer, how many embeddings of each modality are kept.

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`.

    Output shape: dict, modality -> `((size, dim), (size,))`, embeddings and whether the
    place is taken yet, 1 or 0.

    Reference:
        Wang et al. 2020, arXiv:1912.06798; He et al. 2020, arXiv:1911.05722. Departs
        from the latter: no second encoder; embeddings are kept as they were.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, features_shape):
        self.rows, self.taken = {}, {}
        for name in sorted(features_shape):
            self.rows[name] = self._kept((self.size, features_shape[name][-1]), name)
            self.taken[name] = self._kept((self.size,), f"{name}_taken")

    def call(self, features):
        return {
            name: (ops.convert_to_tensor(rows), ops.convert_to_tensor(self.taken[name]))
            for name, rows in self.rows.items()
        }

    def push(self, features, presence):
        """Puts a batch before what is there; the oldest rows fall out."""
        for name, rows in self.rows.items():
            # a row of a step that overflowed would be a negative of many to come
            finite = ops.all(ops.isfinite(features[name]), axis=-1)
            there = ops.logical_and(presence[name] > 0, finite)
            there = ops.cast(there, rows.dtype)
            new = unit(ops.where(there[:, None] > 0, features[name], 0))
            new = ops.cast(ops.stop_gradient(new), rows.dtype)
            taken = ops.concatenate([there, self.taken[name]])
            place = ops.arange(ops.shape(taken)[0])
            # taken places first, each part in its order: the keys have no ties
            last = ops.shape(taken)[0]
            order = ops.argsort(ops.where(taken > 0, place, place + last))[: self.size]
            joined = ops.concatenate([new, ops.convert_to_tensor(rows)])
            rows.assign(ops.reshape(ops.take(joined, order, axis=0), rows.shape))
            taken = ops.take(taken, order, axis=0)
            self.taken[name].assign(ops.reshape(taken, (self.size,)))

    def get_config(self):
        return {**super().get_config(), "size": self.size}

    def _kept(self, shape, name):
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            trainable=False,
            # the replicas have made the same: any one's will do
            aggregation="only_first_replica",
            name=name,
        )


def without_memory(model):
    """A model's variables less what its losses remember: what answers a request."""
    kept = [x for x in model._flatten_layers() if isinstance(x, Memory)]
    past = {id(v) for layer in kept for v in layer.variables}
    return [v for v in model.variables if id(v) not in past]
