"""Script: the losses on another Keras backend; values and a fit, into FOLDER.

python -m tests.losses.on_jax FOLDER, with KERAS_BACKEND set
"""

import sys
from pathlib import Path

import keras
import numpy as np

import mmkeras as mm

A, B = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
LABELS = np.arange(8) % 3


def values():
    return [
        mm.losses.info_nce(A, B, 0.2),
        mm.losses.siglip(A, B, 0.3, -1.5),
        mm.losses.supervised_contrastive(A, LABELS, 0.4),
        mm.losses.correlation(A, B, 0.01),
    ]


def main(folder):
    assert "tensorflow" not in sys.modules and "torch" not in sys.modules
    inputs = {name: keras.Input((3,), name=name) for name in "ab"}
    features = {name: keras.layers.Dense(3)(x) for name, x in inputs.items()}
    remembers = mm.losses.InfoNCE(memory=6)
    losses = mm.losses
    for layer in (losses.DeepCCA(), losses.SigLIP(), remembers, losses.InfoNCE(0.2)):
        features = layer(features)
    model = keras.Model(inputs, features)
    model.compile(keras.optimizers.Adam(0.05))
    pairs = {"a": A, "b": B}
    history = model.fit(pairs, epochs=19, verbose=0).history["loss"]
    before = model(pairs)["a"]
    history += model.fit(pairs, epochs=1, verbose=0).history["loss"]
    last = float(layer.log_scale.value)
    past = {"past": remembers.past.rows["a"].value, "before": before}
    found = {"values": values(), "history": history, "last": last}
    np.savez(Path(folder) / "jax.npz", **found, **past)


if __name__ == "__main__":
    main(*sys.argv[1:])
