"""Feature transfer: run frozen encoders once, train what is behind them many times."""

import os

import keras
import numpy as np
import pandas

from mmkeras.data.dataset import from_table
from mmkeras.modality import contract, tensor_input
from mmkeras.model import encoders, fusion
from mmkeras.presence import ModalityDropout
from mmkeras.towers import embedded, is_two_tower
from mmkeras.transfer.cache import Cache, forward, length
from mmkeras.transfer.freezing import is_frozen


def trunk(model, cached=None):
    """What is behind the cached encoders, sharing its layers with `model`.

    Fit the trunk on the features of `cache_features` and `model` is trained.

    Args:
        model: a multimodal model.
        cached: modalities whose encoders are left out; default: the frozen ones.

    Returns:
        `keras.Model`: for a cached modality, input `<name>` is its feature (a vector,
        or the dict of tokens and mask as `<name>_tokens` and `<name>_mask`); for
        another, its tensor; `<name>_present` for all; outputs as `model`.
    """
    names = _cached(model, cached)
    inputs, features = {}, {}
    for name, part in encoders(model).items():
        if name in names:
            own = _feature_inputs(name, part.output)
            features[name] = own if isinstance(part.output, dict) else own[name]
            inputs.update(_flat(name, features[name]))
        else:
            inputs[name] = tensor_input(contract(part), name)
            features[name] = part(inputs[name])
    presence = {}
    for name in features:
        key = f"{name}_present"
        presence[name] = inputs[key] = keras.Input((), dtype="float32", name=key)
    for layer in model.layers:
        if isinstance(layer, ModalityDropout):
            presence = layer(presence)
    outputs = _behind(model, features, presence)
    return keras.Model(inputs, outputs, name=f"{model.name}_trunk")


def cache_features(
    model,
    data,
    directory=None,
    cached=None,
    *,
    batch_size=32,
    shard_rows=1024,
    progress=None,
    **table,
):
    """Runs the frozen encoders once over a table or dataset: feature transfer.

    With a `directory` the features stay on disk, found by the content of encoder and
    cell: the next call computes only what is new, a killed one goes on where it
    was, and a changed weight, contract option, file or string is a new feature.

    Example:
        features = mmkeras.transfer.cache_features(
            model, "products.csv", ".cache/features", label="kind"
        )
        trunk = mmkeras.transfer.trunk(model)
        trunk.compile("adam", loss, steps_per_execution=16)
        trunk.fit(features.dataset(batch_size=32, shuffle=True), epochs=20)

    Args:
        model: a multimodal model.
        data: a table (path or DataFrame), of which with a `directory` only the cells
            that are new are read; or batches `(inputs, label[, weight])` or inputs,
            such as a `tf.data.Dataset`, read to their end to be recognised.
        directory: optional path; several models may share one.
        cached: modalities to encode; default: the frozen ones.
        batch_size: Integer, rows of a table (with a directory, of a dataset too) that
            an encoder takes at once.
        shard_rows: Integer, rows in a file: the most work that a kill can cost, beside
            60 s.
        progress: optional object with `track(items, total, label)`, which yields the
            items, such as the command line's.
        **table: for a table, `label`, `classes`, `columns`, `root`, `on_bad_row`,
            `bad_rows`, `sample_weight` and `class_weight`, as `mmkeras.data.from_table`
            takes them.

    Returns:
        Without a directory, `(inputs, label[, weight])` (or inputs alone) of numpy
        arrays in memory, the inputs those of `trunk(model, cached)`, rows in order.
        With one, `mmkeras.transfer.Features`: `.dataset()` streams the same from disk,
        `.arrays()` gives it in memory.

    Raises:
        ValueError: an unknown modality, no batch, or what `from_table` refuses.
        OSError: a file changed while it was read.
    """
    names = _cached(model, cached)
    track = progress.track if progress else _untracked
    is_table = isinstance(data, str | os.PathLike | pandas.DataFrame)
    if table and not is_table:
        raise TypeError(
            f"{sorted(table)} are for a table, a path or DataFrame. "
            f"Received: `data` of type {type(data).__name__}"
        )
    if directory is not None:
        cache = Cache(model, names, directory, batch_size, shard_rows, track)
        return cache.of_table(data, **table) if is_table else cache.of_dataset(data)
    if is_table:
        data = from_table(data, model, batch_size=batch_size, **table)
    text = "Encoding" if names else "Reading"
    return _in_memory(model, track(data, length(data), text), names)


def _in_memory(model, dataset, names):
    parts = encoders(model)
    run = {name: forward(parts[name]) for name in names}
    batches = []
    for batch in dataset:
        batch = batch if isinstance(batch, tuple) else (batch,)
        inputs = dict(batch[0])
        for name in names:
            inputs.update(_flat(name, run[name](inputs.pop(name))))
        batches.append(keras.tree.map_structure(np.asarray, (inputs, *batch[1:])))
    if not batches:
        raise ValueError("`dataset` wants at least one batch. Received: none.")
    joined = keras.tree.map_structure(lambda *x: np.concatenate(x), *batches)
    return joined if len(joined) > 1 else joined[0]


def _untracked(items, total, label):
    return items


def _cached(model, cached):
    parts = encoders(model)
    if cached is None:
        return [name for name, x in parts.items() if is_frozen(x)]
    for name in cached:
        if name not in parts:
            raise ValueError(
                f"`cached` names no modality '{name}'. Valid names: {sorted(parts)}"
            )
    return list(cached)


def _feature_inputs(name, output):
    """Inputs shaped as what an encoder gives: by key for tokens, else by name."""
    if not isinstance(output, dict):
        output = {name: output}
        keys = {name: name}
    else:
        keys = {key: f"{name}_{key}" for key in output}
    return {
        key: keras.Input(x.shape[1:], dtype=x.dtype, name=keys[key])
        for key, x in output.items()
    }


def _behind(model, features, presence):
    """A model's outputs from its features, by its own layers."""
    if is_two_tower(model):
        return embedded(model, features, presence)
    fused = fusion(model)(features, presence)
    return keras.tree.map_structure(
        lambda x: x._keras_history.operation(fused), model.output
    )


def _flat(name, feature):
    if not isinstance(feature, dict):
        return {name: feature}
    return {f"{name}_{key}": value for key, value in feature.items()}
