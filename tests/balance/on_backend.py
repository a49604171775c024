"""Script: fits each training model on the backend of KERAS_BACKEND, into FOLDER.

python -m tests.balance.on_backend FOLDER
"""

import sys
from pathlib import Path

import keras
import numpy as np

import mmkeras as mm
from mmkeras import balance
from tests.balance import linear


def main(folder):
    head = mm.heads.classification(3)
    data = linear.rows(count=32)
    found = {}
    for method in ("ogm_ge", "agm"):
        model = linear.model()
        before = model.get_weights()
        training = getattr(balance, method)(model)
        training.compile("sgd", head.loss)
        monitor = balance.Monitor(model, data, head.loss)
        x, y = balance.with_label(data)
        training.fit(x, y, batch_size=16, verbose=0, callbacks=[monitor])
        for one, other in zip(before, model.get_weights(), strict=True):
            assert np.abs(one - other).max() > 0
        assert len(monitor.table().columns) == 4  # no norms without a tape
        found[method] = list(balance.scales(training).values())
    training = balance.supervised(model)
    training.compile("sgd", **balance.losses(training, head))
    x, y, w = balance.with_targets(data, training)
    history = training.fit(x, y, sample_weight=w, verbose=0).history
    found["supervised"] = history["loss"]
    weights = balance.gradient_blending(
        training, data, linear.rows(seed=1), head.loss, keras.optimizers.SGD(0.01)
    )
    found["blending"] = list(weights.values())
    np.savez(Path(folder) / f"{keras.backend.backend()}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
