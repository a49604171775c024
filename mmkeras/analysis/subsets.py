"""What a model answers when only some of the modalities are shown.

The encoders run once over the rows; what is behind them (the trunk) runs once per
subset. A hidden modality is what serving makes of an empty string: a tensor of zeros
with presence 0.
"""

import itertools

import keras
import numpy as np

from mmkeras import heads
from mmkeras.modality import contract
from mmkeras.model import encoders
from mmkeras.transfer import trunk


def subsets(names):
    """Every subset of `names` as a tuple, the empty one first, by size.

    Example:
    >>> mmkeras.analysis.subsets.subsets(["photo", "title"])
    [(), ('photo',), ('title',), ('photo', 'title')]
    """
    names = tuple(names)
    sizes = range(len(names) + 1)
    return [x for size in sizes for x in itertools.combinations(names, size)]


def label(subset):
    """The name of a subset on paper: "photo + title", "none"."""
    return " + ".join(subset) or "none"


def batches(dataset, batch_size=32):
    """Numpy batches `(inputs, labels)` of a dataset; weights are dropped.

    Args:
        dataset: batched iterable of `(inputs, labels[, weights])` such as a
            `tf.data.Dataset`, or one such tuple of arrays holding all rows.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.

    Raises:
        ValueError: there are no labels, or no rows.
    """
    if isinstance(dataset, tuple):
        dataset = _slices(dataset, batch_size)
    empty = True
    for batch in dataset:
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise ValueError(
                "`dataset` wants batches (inputs, labels). Received: batches without "
                "labels. Give `mmkeras.data.from_table` its `label`."
            )
        empty = False
        inputs = {key: _numpy(x) for key, x in batch[0].items()}
        labels = batch[1]
        if isinstance(labels, dict):
            yield inputs, {key: _numpy(x) for key, x in labels.items()}
        else:
            yield inputs, _numpy(labels)
    if empty:
        raise ValueError("`dataset` wants at least one batch. Received: none.")


def of_output(model, dataset, output, batch_size=32):
    """One output of a model with several, and the rows that have its label.

    Args:
        model: model with a dict of outputs.
        dataset: as `batches` takes it, labels by output.
        output: name of an output.
        batch_size: Integer, as `batches`.

    Returns:
        `(model, batches)`, a model of one output and batches `(inputs, labels)`.

    Raises:
        ValueError: there is no such output, or its labels are not in the dataset.
    """
    names = sorted(model.output) if isinstance(model.output, dict) else []
    if output not in names:
        raise ValueError(
            f"`output` wants the name of an output. Received: {output!r}. "
            f"Valid names: {names}"
        )
    one = keras.Model(model.input, model.output[output])
    kind = getattr(heads.output_contract(one), "kind", "number")
    return one, _rows_of(dataset, output, kind, batch_size)


def _rows_of(dataset, output, kind, batch_size):
    """The batches with one output's labels, rows without it left out."""
    for inputs, labels in batches(dataset, batch_size):
        if not isinstance(labels, dict) or output not in labels:
            raise ValueError(
                f"`dataset` wants labels by output. Received: none for '{output}'."
            )
        there = _numpy(heads.labelled(labels[output], kind))
        if there.any():
            kept = {key: x[there] for key, x in inputs.items()}
            yield kept, labels[output][there]


class Trunk:
    """A model cut behind its encoders: `features` once, `answer` for each subset.

    Args:
        model: a multimodal model with one output.

    Raises:
        ValueError: the model has several outputs.
    """

    def __init__(self, model):
        if isinstance(model.output, dict | list):
            raise ValueError(
                f"`model` wants one output. Received: {sorted(model.output)}. Ask for "
                f"one: `modality_report(..., output='<name>')`, or elsewhere give "
                f"`keras.Model(model.input, model.output['<name>'])`."
            )
        self.encoders = encoders(model)
        self.contract = heads.output_contract(model)
        # by name: a reloaded model no longer knows the order they were given in
        self.names = tuple(sorted(self.encoders))
        self._behind = trunk(model, cached=self.names)
        self._hidden = {name: self._encode(name, None) for name in self.names}

    def features(self, inputs):
        """Features and presence of a batch: two dicts by modality.

        A row that lacks a modality gets the feature of a tensor of zeros.
        """
        self._check(inputs)
        presence = {
            name: (inputs[f"{name}_present"] > 0).astype("float32")
            for name in self.names
        }
        features = {
            name: self.feature(name, inputs[name], presence[name])
            for name in self.names
        }
        return features, presence

    def feature(self, name, tensor, there):
        """One modality's feature; rows that lack it get that of a tensor of zeros.

        Args:
            name: modality.
            tensor: its tensor `(batch, ...)`.
            there: presence `(batch,)`, 1 or 0.
        """
        return self._hide(name, self._encode(name, tensor), there)

    def answer(self, features, presence, subset=None):
        """The model's output `(batch, outputs)` with only `subset` shown.

        Args:
            features: dict, modality -> feature.
            presence: dict, modality -> `(batch,)`.
            subset: names of the modalities that are shown; default: all.
        """
        shown = {}
        for name in self.names:
            there = presence[name]
            if subset is not None and name not in subset:
                there = np.zeros_like(there)
            shown[f"{name}_present"] = there
            feature = self._hide(name, features[name], there)
            if isinstance(feature, dict):
                shown |= {f"{name}_{key}": x for key, x in feature.items()}
            else:
                shown[name] = feature
        return self._behind.predict_on_batch(shown)

    def _encode(self, name, tensor):
        encoder = self.encoders[name]
        if tensor is None:
            made = contract(encoder)
            tensor = np.zeros((1, *made.tensor_shape), made.tensor_dtype)
        return encoder.predict_on_batch(tensor)

    def _hide(self, name, feature, there):
        """`feature` where it is there, elsewhere that of a tensor of zeros."""
        if there.all():
            return feature

        def choose(x, hidden):
            column = there.reshape(-1, *[1] * (x.ndim - 1)) > 0
            return np.where(column, x, hidden).astype(x.dtype)

        return keras.tree.map_structure(choose, feature, self._hidden[name])

    def _check(self, inputs):
        wanted = [x for name in self.names for x in (name, f"{name}_present")]
        missing = [x for x in wanted if x not in inputs]
        if missing:
            raise ValueError(
                f"`dataset` wants inputs {wanted}. Received: {sorted(inputs)}, without "
                f"{missing}."
            )


def _slices(arrays, batch_size):
    inputs, labels = arrays[:2]
    rows = len(keras.tree.flatten(labels)[0])
    for start in range(0, rows, batch_size):
        part = slice(start, start + batch_size)
        own = _part(labels, part)
        yield {key: x[part] for key, x in inputs.items()}, own


def _numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x))


def _part(labels, part):
    """A slice of the labels, or of each output's."""
    if isinstance(labels, dict):
        return {key: x[part] for key, x in labels.items()}
    return labels[part]
