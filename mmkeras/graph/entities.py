"""`Entities`: names of a knowledge graph's entities in a cell, as a modality."""

import functools

import keras
import numpy as np
from keras import ops

from mmkeras import modality
from mmkeras.modality import ModalityInput


@keras.saving.register_keras_serializable("mmkeras")
class Entities(ModalityInput):
    """Reads names of entities to their numbers.

    "penguin;spider" to the places of both in the list, 1 for the first; 0 fills up.
    Names that are not in the list are left out. A cell without any known name is an
    absent modality, as an empty one.

    Example:
    >>> entities = mmkeras.graph.Entities(["frog", "penguin", "spider"], length=3)
    >>> entities.read(["penguin; spider", "unicorn"]).numpy()
    array([[2, 3, 0],
           [0, 0, 0]], dtype=int32)

    Args:
        vocabulary: list of names; spaces around one do not count in a cell.
        length: Integer, names that a cell may hold; further ones are left out.
        separator: String that parts names.

    Call arguments:
        ids: int32 tensor `(batch, length)`.

    Output shape: as `ids`.

    Raises:
        ValueError: no name, one twice, empty, or with the separator in it.
    """

    kind = "text"
    cell = "value"
    tensor_dtype = "int32"

    def __init__(self, vocabulary, length=4, separator=";", **kwargs):
        super().__init__(**kwargs)
        self.vocabulary = [str(x) for x in vocabulary]
        self.length, self.separator = length, separator
        names = self.vocabulary
        fits = all(x and x == x.strip() and separator not in x for x in names)
        if not names or len(set(names)) != len(names) or not fits or not separator:
            raise ValueError(
                f"`vocabulary` wants different names, without {separator!r} or spaces "
                f"around them. Received: {names[:20]}"
            )
        if not length > 0:
            raise ValueError(f"`length` wants 1 or more. Received: {length}")

    @property
    def tensor_shape(self):
        return (self.length,)

    @property
    def details(self):
        return {"separator": self.separator}

    def read(self, raw):
        import tensorflow as tf

        raw = tf.convert_to_tensor(raw, tf.string)
        if raw.shape.rank == 0:
            return self.read(raw[None])[0]
        names = tf.strings.split(raw, self.separator)
        ids = self._table.lookup(tf.strings.strip(names.flat_values))
        ids = tf.RaggedTensor.from_row_splits(ids, names.row_splits)
        known = tf.ragged.boolean_mask(ids, ids > 0)
        return known.to_tensor(shape=[None, self.length])

    def presence(self, raw):
        """1.0 where at least one name is known."""
        import tensorflow as tf

        return tf.cast(self.read(raw)[..., 0] > 0, "float32")

    def trackables(self):
        """The TensorFlow objects that `read` needs, for who saves it as a graph."""
        return [self._table]

    @functools.cached_property
    def _table(self):
        import tensorflow as tf

        with tf.init_scope():  # outlives the graph that happens to ask first
            places = tf.range(1, len(self.vocabulary) + 1)
            names = tf.constant(self.vocabulary)
            pairs = tf.lookup.KeyValueTensorInitializer(names, places)
            return tf.lookup.StaticHashTable(pairs, 0)

    def call(self, ids):
        return ids

    def get_config(self):
        own = {"vocabulary": self.vocabulary, "length": self.length}
        return {**super().get_config(), **own, "separator": self.separator}


@keras.saving.register_keras_serializable("mmkeras")
class EntityVectors(keras.layers.Layer):
    """The mean of the entities' vectors: x = sum_i e_i / n; 0 where there is none.

    Args:
        entities: Integer, how many.
        units: Integer, width of the vectors.

    Call arguments:
        ids: integer tensor `(batch, length)`, 1 for the first entity, 0 for none.

    Output shape: `(batch, units)`.
    """

    def __init__(self, entities, units, **kwargs):
        super().__init__(**kwargs)
        self.entities, self.units = entities, units

    def build(self, input_shape):
        shape = (self.entities, self.units)
        self.vectors = self.add_weight(
            shape=shape, initializer="random_normal", name="vectors"
        )

    def call(self, ids):
        there = ops.cast(ids > 0, self.compute_dtype)
        found = ops.take(self.vectors, ops.maximum(ids - 1, 0), axis=0)
        total = ops.sum(found * there[..., None], axis=1)
        return total / ops.maximum(ops.sum(there, axis=1), 1)[:, None]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        own = {"entities": self.entities, "units": self.units}
        return {**super().get_config(), **own}


def encoder(entities, vectors, *, trainable=False, name="graph"):
    """Entities' names to the mean of their vectors.

    Example:
    >>> entities = mmkeras.graph.Entities(["frog", "penguin"])
    >>> encoder = mmkeras.graph.encoder(entities, np.array([[1.0, 0.0], [0.0, 3.0]]))
    >>> encoder(entities.read(["penguin", "frog;penguin", ""])).numpy()
    array([[0. , 3. ],
           [0.5, 1.5],
           [0. , 0. ]], dtype=float32)

    Args:
        entities: `Entities`, or the names.
        vectors: array `(entities, units)`, such as `TransE`'s `vectors` or imported
            ones, in the order of the names; or Integer, the width of new random ones,
            which then train.
        trainable: whether vectors that are given train on.
        name: String.

    Returns:
        `keras.Model`, int32 tensor `(batch, length)` to a feature `(batch, units)`.

    Raises:
        ValueError: not one vector of finite numbers for each name.
    """
    if not isinstance(entities, Entities):
        entities = Entities(entities)
    count = len(entities.vocabulary)
    new = isinstance(vectors, int)
    if not new:
        vectors = np.asarray(ops.convert_to_numpy(vectors))
        if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
            raise ValueError(
                f"`vectors` wants {count} rows of finite numbers, one an entity. "
                f"Received: shape {vectors.shape}"
            )
    inputs = modality.tensor_input(entities, "names")
    layer = EntityVectors(count, vectors if new else vectors.shape[1], name="vectors")
    made = keras.Model(inputs, layer(entities(inputs)), name=name)
    if not new:
        layer.vectors.assign(vectors)
        made.trainable = trainable
    return made
