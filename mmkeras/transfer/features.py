"""Feature transfer: run frozen encoders once, train what is behind them many times."""

import keras
import numpy as np

from mmkeras.modality import contract, tensor_input
from mmkeras.model import encoders, fusion
from mmkeras.presence import ModalityDropout
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
    fused = fusion(model)(features, presence)
    outputs = keras.tree.map_structure(
        lambda x: x._keras_history.operation(fused), model.output
    )
    return keras.Model(inputs, outputs, name=f"{model.name}_trunk")


def cache_features(model, dataset, cached=None):
    """Runs the frozen encoders once over a dataset, in memory.

    Args:
        model: a multimodal model.
        dataset: batched `tf.data.Dataset` of `(inputs, label[, weight])` or inputs.
        cached: modalities to encode; default: the frozen ones.

    Returns:
        `(inputs, label[, weight])` (or inputs alone) of numpy arrays, the inputs those
        of `trunk(model, cached)`, rows in the dataset's order.
    """
    names = _cached(model, cached)
    parts = encoders(model)
    run = {name: _forward(parts[name]) for name in names}
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


def _flat(name, feature):
    if not isinstance(feature, dict):
        return {name: feature}
    return {f"{name}_{key}": value for key, value in feature.items()}


def _forward(encoder):
    """The encoder as one compiled function, as predict runs it."""

    def call(x):
        return encoder(x, training=False)

    if keras.backend.backend() != "tensorflow":
        return call
    import tensorflow as tf

    return tf.function(call, reduce_retracing=True)
