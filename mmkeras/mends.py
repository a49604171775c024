"""Defects of Keras 3 under `tf.distribute`, mended; `distribute.strategy` calls these.

Each acts where its strategy is in use and nowhere else, and a test in
tests/test_distribute.py or tests/test_strategies.py tells when Keras needs it no more.
"""

import functools
import inspect

import keras

from mmkeras import replicas


def multi_worker_fit():
    """Keras 3's `fit` under `MultiWorkerMirroredStrategy` (keras issue 20329).

    Before the first step it reduces a batch outside of a replica, which this strategy
    refuses; and it takes the mean of scalars over an axis that they lack. And where a
    worker dies, the others' `fit` says in TensorFlow's words that a peer is gone: here
    it also says what is kept and what to do.
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow import trainer

    if hasattr(trainer.reduce_per_replica, "__wrapped__"):
        return
    build = trainer.TensorFlowTrainer._maybe_symbolic_build
    fit = trainer.TensorFlowTrainer.fit
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

    @functools.wraps(fit)
    def fit_or_tell(self, *args, **kwargs):
        try:
            return fit(self, *args, **kwargs)
        except tf.errors.UnavailableError as error:
            given = inspect.signature(fit).bind(self, *args, **kwargs).arguments
            callbacks = keras.tree.flatten(given.get("callbacks"))
            raise ConnectionError(_what_is_kept(callbacks, error)) from error

    trainer.TensorFlowTrainer._maybe_symbolic_build = _maybe_symbolic_build
    trainer.TensorFlowTrainer.fit = fit_or_tell
    trainer.reduce_per_replica = reduce_per_replica


def _what_is_kept(callbacks, error):
    found = [x.kept for x in callbacks if hasattr(x, "kept")]
    kept = " ".join(found) or "Nothing is kept: `fit` had no `mmkeras.Resume`."
    lines = [x for x in str(error).splitlines() if "aborted by" in x or "task:" in x]
    return (
        f"Another worker is gone, or cannot be reached ({' '.join(lines)[:300]}). "
        f"{kept} Start the same program again on all workers."
    )


def optimizers():
    """Keras 3's optimizers where there are several replicas.

    They clip the gradient of each replica's rows and add up what is left, which is not
    the clipped gradient of the batch; and loss scaling looks for overflow in the first
    replica's gradients alone, and lets the others' reach the weights. Here clipping
    comes after the sum, and all replicas are looked at. What cannot be right, an
    optimizer made outside of the scope or accumulation, is an error.
    """
    from keras.src.backend.tensorflow.optimizer import TFOptimizer

    if hasattr(TFOptimizer._clip_gradients, "__wrapped__"):
        return
    _mend_clipping(TFOptimizer)
    _mend_loss_scaling(keras.optimizers.LossScaleOptimizer)
    apply = TFOptimizer._backend_apply_gradients

    @functools.wraps(apply)
    def _backend_apply_gradients(self, grads, trainable_variables):
        if replicas.several():
            _check(self)
        apply(self, grads, trainable_variables)

    TFOptimizer._backend_apply_gradients = _backend_apply_gradients


def _mend_clipping(kind):
    clip, reduce = kind._clip_gradients, kind._all_reduce_sum_gradients

    @functools.wraps(clip)
    def _clip_gradients(self, grads):
        return grads if replicas.several() else clip(self, grads)

    @functools.wraps(reduce)
    def _all_reduce_sum_gradients(self, grads_and_vars):
        pairs = reduce(self, grads_and_vars)
        if not replicas.several():
            return pairs
        grads, variables = zip(*pairs, strict=True)
        return list(zip(clip(self, list(grads)), variables, strict=True))

    kind._clip_gradients = _clip_gradients
    kind._all_reduce_sum_gradients = _all_reduce_sum_gradients


def _mend_loss_scaling(kind):
    import tensorflow as tf

    check = kind.check_finite

    @functools.wraps(check)
    def check_finite(self, grads):
        finite = check(self, grads)
        if not replicas.several():
            return finite
        context = tf.distribute.get_replica_context()
        bad = context.all_reduce("SUM", 1 - tf.cast(finite, "int32"))
        return tf.equal(bad, 0)

    kind.check_finite = check_finite


def _check(optimizer):
    import tensorflow as tf

    if optimizer._distribution_strategy is not tf.distribute.get_strategy():
        raise ValueError(
            f"The optimizer '{optimizer.name}' was made outside of the strategy's "
            f"scope: each replica would count the step again. Make it, and call "
            f"`model.compile`, under `with strategy.scope():`."
        )
    if optimizer.gradient_accumulation_steps:
        raise ValueError(
            f"`gradient_accumulation_steps` wants one replica: Keras decides within "
            f"each replica whether a step updates, where no replica can wait for the "
            f"others. Received: {optimizer.gradient_accumulation_steps} steps. Give "
            f"larger batches: the replicas share each one."
        )
