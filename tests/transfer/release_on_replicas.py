"""Script: gradual unfreezing on one device and on two replicas, into FOLDER.

python -m tests.transfer.release_on_replicas FOLDER

Leaves the trained weights in 1.npz and 2.npz.
"""

import contextlib
import sys
from pathlib import Path


def main(folder):
    from mmkeras.testing.replicas import two_cpus

    strategy = two_cpus()
    _train(contextlib.nullcontext(), Path(folder) / "1.npz")
    _train(strategy.scope(), Path(folder) / "2.npz")


def _train(scope, path):
    import keras
    import numpy as np

    from mmkeras import transfer
    from tests.transfer.test_rates import network

    keras.utils.set_random_seed(0)
    with scope:
        model = network()
        optimizer = keras.optimizers.Adam(0.01)
        optimizer = transfer.layerwise_rates(model, optimizer, decay=0.5)
        model.compile(optimizer, "mse")
    rng = np.random.default_rng(0)
    rows = {"left": rng.normal(size=(16, 3)), "left_present": np.ones(16)}
    model.fit(
        rows,
        rng.normal(size=(16, 2)),
        batch_size=8,
        epochs=4,
        shuffle=False,
        verbose=0,
        callbacks=[transfer.GradualUnfreezing()],
    )
    np.savez(path, *model.get_weights())


if __name__ == "__main__":
    main(*sys.argv[1:])
