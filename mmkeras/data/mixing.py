"""Mixing: two rows of a batch become one, all modalities and the label in step.

mixup: Zhang et al. 2018, arXiv:1710.09412; MixGen: Hao et al. 2023, arXiv:2206.08358.
"""

import itertools

import numpy as np

from mmkeras.data import mixing_parts
from mmkeras.data.ahead import ahead
from mmkeras.data.labels import head_of
from mmkeras.model import readers

METHODS = ("mixup", "mixgen")
#: MixGen's share of either row.
_HALF = 0.5


def mix(
    dataset,
    model,
    method="mixup",
    *,
    alpha=0.2,
    probability=1.0,
    classes=None,
    seed=0,
    resume=None,
    worker=None,
):
    """Mixes each row of a batch with another one: every modality and the label alike.

    Row i becomes l x_i + (1 - l) x_j, j from one permutation of the batch and l from
    one draw a row, the same for all modalities, the label and the weight:

    - pictures, sounds and numbers are interpolated; so are labels (integers become
      one-hot rows first) and sample weights;
    - a text becomes [CLS] words of i [SEP] words of j [SEP]: with "mixup" the first
      l n_i tokens of the one and the first (1 - l) n_j of the other, rounded up, with
      "mixgen" all of both. Where they do not fit, the longer one is cut first, and
      each keeps up to half of the room;
    - a category is that of i with probability l, all categories of a row together. A
      number that one of the two lacks is the other's;
    - a modality that only one of the two has is taken from it whole, and is present;
      the label is mixed with l all the same.

    Example:
    >>> import pandas
    >>> sizes = mm.tabular.Columns(numeric={"size": (0.0, 1.0)})
    >>> table = pandas.DataFrame({"size": [1.0, 3.0], "sort": ["cat", "dog"]})
    >>> options = {"label": "sort", "classes": ["cat", "dog"], "batch_size": 2}
    >>> rows = mm.data.from_table(table, {"size": sizes}, **options)
    >>> rows = mm.data.mix(rows, {"size": sizes}, "mixgen", classes=2, seed=2)
    >>> [(x["size"].numpy().ravel(), y.numpy()) for x, y in rows]
    [(array([2., 2.], dtype=float32), array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32))]

    Args:
        dataset: `tf.data.Dataset` of batches `(inputs, label)`, `(inputs, label,
            weight)` or, for pretraining on pairs, `inputs` alone, as
            `from_table(..., batch_size=...)` or `.batch(...)` gives them.
        model: multimodal model, or dict, modality -> contract or encoder.
        method: "mixup", l ~ Beta(alpha, alpha), or "mixgen", l = 1/2.
        alpha: Float, 0 or more, of "mixup" alone: 0 leaves every row as it is, 1 draws
            l uniformly.
        probability: Float in [0, 1], share of the rows that are mixed.
        classes: number of classes of an integer label, or their names, where the
            model's head does not say it; for several outputs a dict.
        seed: Integer. Each pass draws anew, a pure function of seed, pass and step.
        resume: optional `mmkeras.Resume`, the same that `from_table` got.
        worker: the same `mmkeras.distribute.worker()` that `from_table` got: rows are
            then mixed with rows of the same worker, the only ones that it read.

    Returns:
        `tf.data.Dataset` like `dataset`, where it has labels with float32 ones: rows
        `(batch, classes)` where they were integers. The loss of
        `mmkeras.heads.classification` takes these; for a head of your own it is
        `keras.losses.CategoricalCrossentropy`.

    Raises:
        ValueError: no batches, modalities that the model does not have, an integer
            label of unknown number of classes, `classes` without a label, an argument
            out of range.

    Reference:
        Zhang et al. 2018, arXiv:1710.09412. Departs: l a row, not a batch; texts.
        Hao et al. 2023, arXiv:2206.08358. Departs: any row may be the other one, and
        labels are mixed where there are any; pairs of picture and caption have none.
    """
    import tensorflow as tf

    _check(method, alpha, probability)
    contracts = readers(model)
    spec = _elements(dataset, contracts)
    dense = _dense_labels(spec[1], model, classes) if len(spec) > 1 else None
    if dense is None and classes is not None:
        raise ValueError("`classes` wants a `label`: `dataset` has none.")
    mixers = {name: mixing_parts.of(name, x, method) for name, x in contracts.items()}
    workers = 1 if worker is None else worker[1]
    passes = itertools.count()

    def epoch_of(_):
        return np.int64(next(passes) if resume is None else resume.epoch)

    def one_pass(start):
        epoch = tf.ensure_shape(tf.numpy_function(epoch_of, [start], tf.int64), ())
        return tf.data.Dataset.from_tensors(epoch).repeat()

    def mixed(epoch, numbered):
        step, element = numbered
        inputs, *behind = element if isinstance(element, tuple) else (element,)
        state = tf.random.fold_in(tf.stack([tf.cast(seed, tf.int64), epoch]), step)
        rows = tf.shape(inputs[next(iter(contracts))])[0]
        partner = _partners(tf.random.fold_in(state, 0), rows, workers)
        share = _shares(tf.random.fold_in(state, 1), rows, method, alpha, probability)
        # a row mixed with itself is itself
        share = tf.where(partner == tf.range(rows), 1.0, share)
        found = {}
        for i, (name, mixer) in enumerate(mixers.items(), 2):
            there = inputs[f"{name}_present"]
            own, presence = mixing_parts.shares(there, partner, share)
            draw = tf.random.fold_in(state, i)
            found[f"{name}_present"] = presence
            x = inputs[name]
            found[name] = mixer(x, tf.gather(x, partner), own, draw)
        if not isinstance(element, tuple):
            return found
        behind[:1] = map(dense, behind[:1])
        behind = tf.nest.map_structure(
            lambda x: mixing_parts.numbers(x, tf.gather(x, partner), share), behind
        )
        return (found, *behind)

    epochs = tf.data.Dataset.from_tensors(0).flat_map(one_pass)
    rows = tf.data.Dataset.zip((epochs, dataset.enumerate())).map(mixed, -1)
    rows = rows.apply(tf.data.experimental.assert_cardinality(dataset.cardinality()))
    return ahead(rows)


def _partners(seed, rows, workers):
    """A permutation of the batch, or of each worker's part of it."""
    import tensorflow as tf

    part = tf.maximum(rows // workers, 1)
    part = tf.where(rows % workers == 0, tf.range(rows) // part, 0)
    order = tf.random.stateless_uniform([rows], seed, dtype=tf.float64)
    return tf.argsort(tf.cast(part, tf.float64) + order)


def _shares(seed, rows, method, alpha, probability):
    """The share of its own that each row keeps, float32 `(rows,)`; 1 is all."""
    import tensorflow as tf

    share = tf.fill([rows], _HALF)
    if method == "mixup" and alpha == 0:
        share = tf.ones([rows])
    elif method == "mixup":
        draw = tf.random.stateless_gamma(
            [2, rows], tf.random.fold_in(seed, 0), alpha, dtype=tf.float64
        )
        total = draw[0] + draw[1]
        # at a tiny alpha both may be 0: then the row stays, as l near 0 or 1 is
        share = tf.cast(tf.math.divide_no_nan(draw[0], total), tf.float32)
        share = tf.where(total > 0, share, 1.0)
    if probability < 1:
        draw = tf.random.stateless_uniform([rows], tf.random.fold_in(seed, 1))
        share = tf.where(draw < probability, share, 1.0)
    return share


def _check(method, alpha, probability):
    if method not in METHODS:
        raise ValueError(
            f"`method` wants one of {list(METHODS)}. Received: method={method!r}"
        )
    if not 0 <= alpha < np.inf or not 0 <= probability <= 1:
        raise ValueError(
            f"`alpha` wants a float of 0 or more and `probability` one in [0, 1]. "
            f"Received: alpha={alpha}, probability={probability}"
        )


def _elements(dataset, contracts):
    """The dataset's element_spec, checked: a tuple of inputs[, label[, weight]]."""
    spec = dataset.element_spec
    spec = spec if isinstance(spec, tuple) else (spec,)
    if len(spec) not in (1, 2, 3):
        raise ValueError(
            f"`dataset` wants elements inputs, (inputs, label) or (inputs, label, "
            f"weight). Received: {spec}"
        )
    inputs = spec[0]
    wanted = {*contracts, *(f"{x}_present" for x in contracts)}
    received = set(inputs) if isinstance(inputs, dict) else {type(inputs).__name__}
    if received != wanted:
        raise ValueError(
            f"`dataset` wants the inputs of the model, `<name>` and `<name>_present` "
            f"for each modality. Received: unknown {sorted(received - wanted)}, "
            f"missing {sorted(wanted - received)}. Valid names: {sorted(contracts)}"
        )
    for name, contract in contracts.items():
        shape = inputs[name].shape
        if shape.rank != len(contract.tensor_shape) + 1:
            raise ValueError(
                f"`dataset` wants batches, '{name}' of shape "
                f"{(None, *contract.tensor_shape)}. Received: {tuple(shape)}. Give "
                f"`from_table` a `batch_size`, or call `.batch(...)` before."
            )
    return spec


def _dense_labels(spec, model, classes):
    """A function: labels to float32, integers one-hot."""
    import tensorflow as tf

    def width(spec, key, classes):
        if not spec.dtype.is_integer:
            return None
        if classes is None:
            classes = head_of(model, key)[1]
        if classes is None:
            of = "" if key is None else f" of output '{key}'"
            raise ValueError(
                f"`classes` wants the number of classes{of}, to make rows of its "
                f"integer labels; a dict of contracts does not know it. "
                f"Received: classes=None"
            )
        return classes if isinstance(classes, int) else len(classes)

    def one(label, width):
        # a head of one output takes 0 and 1 as numbers
        if width in (None, 1):
            return tf.cast(label, tf.float32)
        ids = tf.reshape(label, [-1])
        # -1 is an absent label, and so is what is mixed with one
        return tf.where(ids[:, None] < 0, np.nan, tf.one_hot(ids, width))

    if not isinstance(spec, dict):
        count = width(spec, None, classes)
        return lambda label: one(label, count)
    classes = classes or {}
    counts = {key: width(x, key, classes.get(key)) for key, x in spec.items()}
    return lambda labels: {key: one(x, counts[key]) for key, x in labels.items()}
