"""Script: a hub encoder trains on one device and on two replicas, into FOLDER.

python -m tests.hub_on_replicas FOLDER

Leaves the trained weights and the predictions in 1.npz and 2.npz.
"""

import contextlib
import sys
from pathlib import Path

import numpy as np


def main(folder):
    from mmkeras.testing.replicas import two_cpus

    strategy = two_cpus()
    module = _module(Path(folder) / "module")
    for trainable in (True, False):
        for count, scope in ((1, contextlib.nullcontext()), (2, strategy.scope())):
            _train(module, scope, trainable, Path(folder) / f"{trainable}_{count}.npz")


def _module(path):
    """A dense module: nothing in it is random, so that both runs can agree."""
    import tensorflow as tf

    module = tf.train.Checkpoint()
    kernel = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    module.kernel = tf.Variable(kernel, name="kernel")
    module.variables = module.trainable_variables = [module.kernel]

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, 3)),
            tf.TensorSpec((), tf.bool),
        ]
    )
    def call(pictures, training=False):
        return tf.reduce_mean(pictures, [1, 2]) @ module.kernel

    module.__call__ = call
    tf.saved_model.save(module, str(path))
    return str(path)


def _train(module, scope, trainable, path):
    import keras

    import mmkeras as mm

    keras.utils.set_random_seed(0)
    with scope:
        encoder = mm.hub.saved_model(module, (6, 5), trainable=trainable)
        head = mm.heads.regression(2)
        model = mm.multimodal({"photo": encoder}, mm.fusion.Concat(), head.layer)
        model.compile(keras.optimizers.SGD(0.5), "mse")
    rng = np.random.default_rng(0)
    rows = {
        "photo": rng.uniform(0, 255, (16, 6, 5, 3)).astype("float32"),
        "photo_present": np.ones(16, "float32"),
    }
    labels = rng.normal(size=(16, 2))
    model.fit(rows, labels, batch_size=8, epochs=3, shuffle=False, verbose=0)
    predicted = model.predict(rows, batch_size=8, verbose=0)
    np.savez(path, predicted, *model.get_weights())


if __name__ == "__main__":
    main(*sys.argv[1:])
