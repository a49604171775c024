"""Embeddings of a knowledge graph: scores of triples, negatives, and their loss."""

import math

import keras
import numpy as np
from keras import ops


class LinkModel(keras.layers.Layer):
    """A vector for each entity and relation, and a score for each triple.

    Args:
        entities: Integer, how many.
        relations: Integer, how many.
        units: Integer, width of the vectors.

    Call arguments:
        ids: integer tensor `(..., 3)`: head, relation, tail.

    Output shape: `(...)`, the higher the likelier.
    """

    #: what keeps the entities' vectors from growing: a Keras constraint, or None
    constraint = None
    #: vectors begin evenly between -scale / sqrt(units) and scale / sqrt(units)
    scale = 6.0

    def __init__(self, entities, relations, units=32, **kwargs):
        super().__init__(**kwargs)
        for name, value in [("entities", entities), ("relations", relations)]:
            if not value > 0:
                raise ValueError(f"`{name}` wants 1 or more. Received: {value}")
        self.entities, self.relations, self.units = entities, relations, units

    def build(self, input_shape=None):
        limit = self.scale / self.units**0.5
        limit = keras.initializers.RandomUniform(-limit, limit)
        entities, relations = (self.entities, self.units), (self.relations, self.units)
        self.vectors = self.add_weight(
            shape=entities,
            initializer=limit,
            constraint=self.constraint,
            name="entities",
        )
        self.links = self.add_weight(
            shape=relations, initializer=limit, name="relations"
        )

    def call(self, ids):
        head = ops.take(self.vectors, ids[..., 0], axis=0)
        link = ops.take(self.links, ids[..., 1], axis=0)
        tail = ops.take(self.vectors, ids[..., 2], axis=0)
        return self.score(head, link, tail)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[:-1])

    def get_config(self):
        own = {"entities": self.entities, "relations": self.relations}
        return {**super().get_config(), **own, "units": self.units}


@keras.saving.register_keras_serializable("mmkeras")
class TransE(LinkModel):
    """A relation is a step from head to tail: score = -||h + r - t||_1.

    Entities have length 1 or less.

    Example:
    >>> model = mmkeras.graph.TransE(entities=3, relations=1, units=4)
    >>> model(np.array([[0, 0, 1], [0, 0, 2]])).shape
    TensorShape([2])

    Reference:
        Bordes et al. 2013, Translating embeddings for modeling multi-relational data.
        Departs: entities are kept inside the unit ball, not on it.
    """

    constraint = keras.constraints.MaxNorm(1.0, axis=1)

    def score(self, head, link, tail):
        return -ops.sum(ops.abs(head + link - tail), axis=-1)


@keras.saving.register_keras_serializable("mmkeras")
class DistMult(LinkModel):
    """A relation weighs what head and tail share: score = sum_i h_i r_i t_i.

    Symmetric: it cannot tell "a part-of b" from "b part-of a".

    Example:
    >>> model = mmkeras.graph.DistMult(entities=3, relations=1, units=4)
    >>> model(np.array([[0, 0, 1], [1, 0, 0]])).shape
    TensorShape([2])

    Reference:
        Yang et al. 2015, arXiv:1412.6575.
    """

    scale = 1.0

    def score(self, head, link, tail):
        return ops.sum(head * link * tail, axis=-1)


@keras.saving.register_keras_serializable("mmkeras")
class LinkLoss(keras.losses.Loss):
    """A true triple has to score above corrupted ones.

    With `margin`, mean_n max(0, margin - s_0 + s_n); else the logistic loss
    softplus(-s_0) + mean_n softplus(s_n).

    Example:
    >>> loss = mmkeras.graph.LinkLoss(margin=1.0)
    >>> float(loss(np.zeros(1), np.array([[2.0, 1.5, 0.0]])))  # (0.5 + 0) / 2
    0.25

    Args:
        margin: optional Float above 0.
        **kwargs: those of `keras.losses.Loss`.

    Call arguments:
        y_true: anything with a row for each triple; not used.
        y_pred: scores `(batch, 1 + negatives)`, the true triple's first.
    """

    def __init__(self, margin=None, name="link_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.margin = margin

    def call(self, y_true, y_pred):
        true, false = y_pred[:, :1], y_pred[:, 1:]
        if self.margin is not None:
            return ops.mean(ops.relu(self.margin - true + false), axis=-1)
        return ops.softplus(-true[:, 0]) + ops.mean(ops.softplus(false), axis=-1)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


def corrupted(ids, entities, negatives, generator):
    """True triples, each followed by `negatives` with another head or tail.

    What is drawn may be true by chance, as in the papers.

    Returns:
        int32 array `(triples, 1 + negatives, 3)`.
    """
    drawn = np.repeat(ids[:, None], 1 + negatives, axis=1)
    shape = (len(ids), negatives)
    place = 2 * generator.integers(0, 2, shape)  # 0 is the head, 2 the tail
    shift = generator.integers(1, entities, shape)  # never the same entity
    old = np.take_along_axis(drawn[:, 1:], place[..., None], axis=2)[..., 0]
    new = (old + shift) % entities
    np.put_along_axis(drawn[:, 1:], place[..., None], new[..., None], axis=2)
    return drawn.astype("int32")


def fit(
    layer,
    graph,
    loss=None,
    *,
    negatives=16,
    epochs=100,
    batch_size=256,
    rate=0.01,
    seed=0,
):
    """Learns the vectors of a graph, with Adam, against corrupted triples.

    Example:
    >>> graph = mmkeras.graph.Triples.of([("a", "near", "b"), ("b", "near", "c")])
    >>> model = mmkeras.graph.DistMult(3, 1, units=4)
    >>> history = mmkeras.graph.fit(model, graph, epochs=2)
    >>> len(history)
    2

    Args:
        layer: `TransE` or `DistMult`.
        graph: `Triples`.
        loss: default: `LinkLoss()`, the logistic one.
        negatives: Integer, corrupted triples a true one, drawn anew each epoch.
        epochs: Integer.
        batch_size: Integer, true triples a step.
        rate: Float, learning rate.
        seed: Integer.

    Returns:
        list of the loss after each epoch.
    """
    if layer.entities != graph.size or layer.relations != len(graph.relations):
        raise ValueError(
            f"`layer` wants the graph's {graph.size} entities and "
            f"{len(graph.relations)} relations. Received: {layer.entities} and "
            f"{layer.relations}"
        )
    inputs = keras.Input((1 + negatives, 3), dtype="int32", name="triples")
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.Adam(rate), loss or LinkLoss())
    rows = Passes(graph, negatives, batch_size, seed)
    return model.fit(rows, epochs=epochs, verbose=0).history["loss"]


class Passes(keras.utils.PyDataset):
    """Batches of `corrupted` triples; each pass draws order and negatives anew."""

    def __init__(self, graph, negatives, batch_size, seed):
        super().__init__()
        self.graph, self.negatives, self.batch_size = graph, negatives, batch_size
        self.generator = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self.graph.ids) / self.batch_size)

    def __getitem__(self, index):
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        return rows, np.zeros(len(rows), "float32")

    def on_epoch_end(self):
        ids = self.generator.permutation(self.graph.ids)
        self.rows = corrupted(ids, self.graph.size, self.negatives, self.generator)
