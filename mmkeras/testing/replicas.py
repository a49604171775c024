"""Script: trains each NAME.keras of a folder on one device and on two replicas.

python -m mmkeras.testing.replicas FOLDER MODULE...

Leaves the trained model's predictions in NAME.1.npy and NAME.2.npy.
"""

import importlib
import sys
from contextlib import nullcontext
from pathlib import Path


def main(folder, *modules):
    """Trains; `modules` hold the layers that the files need."""
    strategy = two_cpus()
    for module in modules:
        importlib.import_module(module)
    for path in sorted(Path(folder).glob("*.keras")):
        _train(path, nullcontext(), "1")
        _train(path, strategy.scope(), "2")


def two_cpus():
    """A `MirroredStrategy` of two replicas, in a process that has run nothing yet."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    # plain reduction: CPU collectives break after about five models in one process
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _train(path, scope, suffix):
    import keras
    import numpy as np

    with np.load(path.with_suffix(".npz")) as file:
        arrays = dict(file)
    with scope:
        model = keras.models.load_model(path)
        model.compile(keras.optimizers.SGD(0.05), "mse")
    rows = len(next(iter(arrays.values())))
    target = np.random.default_rng(0).normal(size=(rows, model.output_shape[-1]))
    if model.trainable_weights:
        model.fit(
            arrays, target, batch_size=rows // 2, epochs=2, shuffle=False, verbose=0
        )
    y = keras.ops.convert_to_numpy(model(arrays))
    np.save(path.with_suffix(f".{suffix}.npy"), y)


if __name__ == "__main__":
    main(*sys.argv[1:])
