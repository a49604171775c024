"""The devices of a training job: every GPU of one host, or the one device there is."""

import random
import tempfile
from pathlib import Path

import keras

from mmkeras import distribute
from mmkeras.load import load_model

_ONE_GPU = "set CUDA_VISIBLE_DEVICES=0 to train on one GPU"


def strategy_for(recipe):
    """The `tf.distribute` strategy that a recipe trains under.

    Raises:
        ValueError: TF_CONFIG names several workers; or the recipe asks for what several
            replicas cannot do.
    """
    workers = distribute.worker().count
    if workers > 1:
        raise ValueError(
            f"Training by a recipe is for one host with all of its GPUs. Received: "
            f"TF_CONFIG with {workers} workers. Run the Python program of "
            f"docs/scale.md on each host (examples/cluster starts it under Slurm and "
            f"Kubernetes), or unset TF_CONFIG."
        )
    found = distribute.strategy()
    replicas = found.num_replicas_in_sync
    if replicas == 1:
        return found
    if recipe.batch_size % replicas:
        more = -(-recipe.batch_size // replicas) * replicas
        raise ValueError(
            f"`batch_size` wants a multiple of the {replicas} replicas, which share "
            f"each batch. Received: {recipe.batch_size}. Give {more}, or {_ONE_GPU}."
        )
    alone = {"accumulate": recipe.accumulate > 1, "jit": recipe.jit == "on"}
    for name in [name for name, asked in alone.items() if asked]:
        raise ValueError(
            f"`{name}` wants one device. Received: {getattr(recipe, name)!r} and "
            f"{replicas} replicas. Leave it out, or {_ONE_GPU}."
        )
    return found


def check_rows(parts, batch_size, replicas):
    """Refuses fewer rows to train or to validate on than a batch of replicas."""
    for part in ("train", "val"):
        if replicas > 1 and len(parts[part]) < batch_size:
            raise ValueError(
                f"{replicas} replicas want a batch of rows '{part}' at least: "
                f"{batch_size}. Received: {len(parts[part])}. Give a smaller "
                f"`batch_size`, a multiple of {replicas}, or {_ONE_GPU}."
            )


def replicas_of(model):
    """How many replicas a model trains on."""
    return model.distribute_strategy.num_replicas_in_sync


def here(model):
    """The model under the strategy whose scope is entered now: itself, or a copy.

    A file is what holds all of a model: it is written and read again.
    """
    import tensorflow as tf

    entered = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    if model._distribute_strategy is entered:  # its public name falls back to this one
        return model
    drawn = random.getstate()  # layers that are read draw the seeds of first weights
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        copy = load_model(path, safe_mode=False)  # written just now
    random.setstate(drawn)
    if replicas_of(copy) == 1:
        for layer in copy._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = False  # else the file is for TensorFlow alone
    return copy
