"""Adapting `Standardize` layers: what an encoder takes from the training rows."""

import keras
import numpy as np

from mmkeras.model import encoders
from mmkeras.standardize import Standardize


def adapt(model, dataset):
    """Sets mean and deviation of every `Standardize` layer in the encoders.

    Rows that lack a modality do not count for it. Call it before training, with
    training rows only.

    Args:
        model: a multimodal model.
        dataset: batched dataset of `(inputs, ...)` or inputs, with at least
            the modalities of `to_adapt(model)`.

    Returns:
        `model`.

    Raises:
        ValueError: no row has the modality.
    """
    parts = encoders(model)
    heads = {name: _before(parts[name]) for name in to_adapt(model)}
    found = {name: [] for name in heads}
    if not heads:
        return model
    for batch in dataset:
        inputs = batch[0] if isinstance(batch, tuple) else batch
        for name, head in heads.items():
            there = np.asarray(inputs[f"{name}_present"]) > 0
            values = head.predict_on_batch(np.asarray(inputs[name]))
            found[name].append(np.asarray(values)[there])
    for name, values in found.items():
        values = np.concatenate(values) if values else np.zeros((0, 1))
        if not len(values):
            raise ValueError(f"`adapt` wants rows that have '{name}'. Received: none.")
        _layer(parts[name]).adapt(values)
    return model


def to_adapt(model):
    """Names of the modalities whose encoder holds a `Standardize` layer."""
    return [name for name, x in encoders(model).items() if _layer(x) is not None]


def _layer(encoder):
    found = [x for x in encoder.layers if isinstance(x, Standardize)]
    return found[0] if found else None


def _before(encoder):
    return keras.Model(encoder.input, _layer(encoder).input)
