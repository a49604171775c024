"""Script: each training model on one device and on two replicas, into FOLDER.

python -m tests.balance.on_replicas FOLDER

Leaves the trained weights, the scales and the monitor's numbers in METHOD.1.npz and
METHOD.2.npz.
"""

import contextlib
import sys
from pathlib import Path

METHODS = ("supervised", "ogm_ge", "agm")


def main(folder):
    from mmkeras.testing.replicas import two_cpus

    strategy = two_cpus()
    for method in METHODS:
        _train(method, contextlib.nullcontext(), Path(folder) / f"{method}.1.npz")
        _train(method, strategy.scope(), Path(folder) / f"{method}.2.npz")


def _train(method, scope, path):
    import keras
    import numpy as np

    import mmkeras as mm
    from mmkeras import balance
    from tests.balance import linear

    keras.utils.set_random_seed(0)
    head = mm.heads.classification(3)
    inputs, labels = linear.rows(count=32)
    with scope:
        model = linear.model()
        if method == "supervised":
            training = balance.supervised(model)
            arguments = balance.losses(training, head._replace(metrics=[]))
            x, y, w = balance.with_targets((inputs, labels), training)
        else:
            options = {"noise": False} if method == "ogm_ge" else {}
            training = getattr(balance, method)(model, alpha=0.5, **options)
            arguments = {"loss": head.loss}
            (x, y), w = balance.with_label((inputs, labels)), None
        training.compile(keras.optimizers.SGD(0.5), **arguments)
    monitor = balance.Monitor(model, (inputs, labels), head.loss)
    training.fit(
        x,
        y,
        sample_weight=w,
        batch_size=16,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[monitor],
    )
    found = {f"weight{i}": x for i, x in enumerate(model.get_weights())}
    found |= monitor.table().iloc[-1].to_dict()
    if method != "supervised":
        found |= {f"{n}_scale": x for n, x in balance.scales(training).items()}
    np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
