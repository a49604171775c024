"""One program for one device, several GPUs and several hosts.

The environment decides: `TF_CONFIG` with two or more workers gives
`MultiWorkerMirroredStrategy`, several GPUs `MirroredStrategy`, anything else the
default strategy of TensorFlow.
"""

import functools
import json
import os
import typing

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
        _mend_multi_worker_fit()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
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


def _mend_multi_worker_fit():
    """Keras 3's `fit` under `MultiWorkerMirroredStrategy` (keras issue 20329).

    Before the first step it reduces a batch outside of a replica, which this strategy
    refuses; and it takes the mean of scalars over an axis that they lack. What is
    replaced here acts under this strategy alone. tests/test_distribute.py tells when
    Keras needs it no more.
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow import trainer

    if hasattr(trainer.reduce_per_replica, "__wrapped__"):
        return
    build = trainer.TensorFlowTrainer._maybe_symbolic_build
    reduce = trainer.reduce_per_replica

    def several_workers(strategy):
        return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)

    @functools.wraps(build)
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not several_workers(self.distribute_strategy):
            build(self, iterator=iterator, data_batch=data_batch)

    @functools.wraps(reduce)
    def reduce_per_replica(values, strategy, reduction):
        if several_workers(strategy) and reduction in ("auto", "mean"):
            return tf.nest.map_structure(
                lambda x: strategy.reduce("MEAN", x, axis=None), values
            )
        return reduce(values, strategy, reduction)

    trainer.TensorFlowTrainer._maybe_symbolic_build = _maybe_symbolic_build
    trainer.reduce_per_replica = reduce_per_replica
