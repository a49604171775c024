"""One program for one device, several GPUs and several hosts.

The environment decides: `TF_CONFIG` with two or more workers gives
`MultiWorkerMirroredStrategy`, several GPUs `MirroredStrategy`, anything else the
default strategy of TensorFlow.
"""

import functools
import json
import os
import typing

import keras

from mmkeras import mends

#: What TF_CONFIG looks like, for error messages.
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@functools.cache
def strategy():
    """The `tf.distribute` strategy that this process's environment asks for.

    Make model, optimizer and metrics in its scope, and call it before anything else of
    TensorFlow has run: workers must meet first. Called again it gives the same object.
    Where it has several replicas, optimizers clip the gradient of the whole batch
    (Keras clips each replica's part), and tell where one was made outside of the scope.

    Example:
    >>> strategy = mm.distribute.strategy()
    >>> with strategy.scope():
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile("sgd", "mse")
    >>> strategy.num_replicas_in_sync
    1

    Returns:
        `tf.distribute.Strategy`.

    Raises:
        ValueError: `TF_CONFIG` is not what TensorFlow reads; the message shows how it
            should look.
    """
    import tensorflow as tf

    if worker().count > 1:
        mends.multi_worker_fit()
        mends.optimizers()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
        mends.optimizers()
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class Worker(typing.NamedTuple):
    """This process among those that train together."""

    index: int
    count: int


def worker():
    """This process's place among the workers of `TF_CONFIG`: index and count.

    Example:
    >>> mm.distribute.worker()
    Worker(index=0, count=1)

    Raises:
        ValueError: as `strategy`.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return Worker(0, 1)
    try:
        config = json.loads(text)
        cluster = config.get("cluster", {})
        names = [*cluster.get("chief", []), *cluster.get("worker", [])]
        task = config.get("task", {"type": "worker", "index": 0})
        kind, index = task["type"], int(task["index"])
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"TF_CONFIG wants JSON such as {_EXAMPLE}. Received: {text[:200]!r} "
            f"({error!r})"
        ) from error
    if set(cluster) - {"chief", "worker"} or kind not in ("chief", "worker"):
        raise ValueError(
            f"TF_CONFIG wants tasks of type 'worker' (and one 'chief') alone: "
            f"parameter servers are not for Keras 3. Received: cluster of "
            f"{sorted(cluster)}, task of type {kind!r}. Give each process a TF_CONFIG "
            f"such as {_EXAMPLE}"
        )
    place = index + (len(cluster.get("chief", [])) if kind == "worker" else 0)
    if len(names) > 1 and place >= len(names):
        raise ValueError(
            f"TF_CONFIG names {len(names)} workers, this one is {kind} {index}. Count "
            f"`index` from 0, as in {_EXAMPLE}"
        )
    return Worker(place if len(names) > 1 else 0, max(len(names), 1))


def is_chief():
    """Whether this process is the one that writes files."""
    return worker().index == 0


def synchronize_batch_norm(model):
    """Batch normalisation takes mean and variance over all replicas' rows.

    Keras' own takes those of each replica: with few rows a replica they are noise, and
    training is not that of one device. It matters where batch normalisation trains; a
    frozen one uses its stored statistics and is the same either way.

    Example:
    >>> layers = [keras.Input((2,)), keras.layers.BatchNormalization()]
    >>> model = keras.Sequential(layers)
    >>> mm.distribute.synchronize_batch_norm(model).layers[0].synchronized
    True

    Args:
        model: `keras.Model`, changed in place: weights, names and what is frozen stay.
            A saved file keeps the setting, and loads under TensorFlow alone.

    Returns:
        `model`.

    Raises:
        ValueError: the backend is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Synchronized batch normalisation wants the TensorFlow backend. Received: "
            f"{keras.backend.backend()!r}, whose sharded arrays are one batch already."
        )
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    model.train_function = None  # one that was traced already keeps the old form
    return model
