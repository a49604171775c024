"""Script: every loss on one device and on two replicas, into FOLDER.

python -m tests.losses.on_replicas FOLDER

Leaves the weights after each step and the losses in 1.npz and 2.npz. Each loss has
towers of its own.
"""

import contextlib
import sys
from pathlib import Path

# batches of 14 at most: 7 + 7 rows on the two replicas, 7 + 6, then 7 + 7, 1 + 0 (Keras
# fails where the first batch of a fit has unequal parts)
FITS = (slice(0, 27), slice(27, 42))
ROWS = 42


def main(folder):
    from mmkeras.testing.replicas import two_cpus

    strategy = two_cpus()
    _train(contextlib.nullcontext(), Path(folder) / "1.npz")
    _train(strategy.scope(), Path(folder) / "2.npz")


def network():
    import keras

    import mmkeras as mm

    def tower(name, x):
        return keras.layers.Dense(3, name=name)(x)

    inputs = {
        "left": keras.Input((6,), name="left"),
        "right": keras.Input((4,), name="right"),
    }
    shown = {
        name: keras.Input((), name=f"{name}_present") for name in ("left", "right")
    }
    outputs = {}
    for layer in (
        mm.losses.InfoNCE(0.5, name="info_nce"),
        mm.losses.InfoNCE(0.5, memory=20, name="remembers"),
        mm.losses.SigLIP(0.5, -1.0, name="siglip"),
        mm.losses.DeepCCA(regularization=0.1, weight=0.5, name="deep_cca"),
    ):
        features = {n: tower(f"{layer.name}_{n}", x) for n, x in inputs.items()}
        outputs[layer.name] = layer(features, shown)["left"]
    outputs["class"] = tower("class", inputs["left"])
    for name, x in shown.items():
        inputs[f"{name}_present"] = x
    return keras.Model(inputs, outputs)


def rows():
    import numpy as np

    rng = np.random.default_rng(0)
    x = {
        "left": rng.normal(size=(ROWS, 6)),
        "right": rng.normal(size=(ROWS, 4)),
        "left_present": np.ones(ROWS),
        "right_present": np.ones(ROWS),
    }
    x["left_present"][[1, 2, 20, 30]] = 0
    x["right_present"][[2, 5, 9, 17, 18, 31]] = 0
    return x, rng.integers(0, 3, ROWS)


def _train(scope, path):
    import keras
    import numpy as np

    import mmkeras as mm

    keras.utils.set_random_seed(0)
    with scope:
        model = network()
        loss = {"class": mm.losses.SupervisedContrastive(0.5)}
        model.compile(keras.optimizers.SGD(0.1), loss)
    x, labels = rows()
    kept = {f"0/{v.path}": keras.ops.convert_to_numpy(v) for v in model.weights}
    steps = []

    class Weights(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)
            for v in model.weights:
                kept[f"{len(steps)}/{v.path}"] = keras.ops.convert_to_numpy(v)

    for part in FITS:
        batch = {name: value[part] for name, value in x.items()}
        done = model.fit(
            batch,
            {"class": labels[part]},
            batch_size=14,
            shuffle=False,
            callbacks=[Weights()],
            verbose=0,
        )
        kept[f"{len(steps)}/loss"] = done.history["loss"]
    np.savez(path, **kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
