"""Script: trains a small model, kills itself where it is told to.

python resume_run.py FOLDER OUT [KILL ...]    KILL: EPOCH:STEP, or write:EPOCH

Leaves all variables in OUT.npz, history and iterations in OUT.json.
"""

import json
import os
import signal
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import pandas

import mmkeras as mm
from mmkeras import state

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue"]
NUMBER = mm.tabular.Columns(numeric={"size": (0.0, 1.0)})
ROWS, BATCH, EPOCHS, EVERY = 72, 8, 4, 2


def network():
    """Two modalities with modality dropout, dropout and batch normalisation."""
    encoders = {
        "word": mm.text.embedding_mean(WORDS, length=2, units=4),
        "size": mm.tabular.mlp(NUMBER, units=(4,)),
    }
    head = keras.Sequential(
        [
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=7),
            keras.layers.Dense(1),
        ]
    )
    return mm.multimodal(encoders, mm.fusion.GatedFusion(4), head, modality_dropout=0.3)


def table(count, seed):
    rng = np.random.default_rng(seed)
    words = rng.choice(["red", "blue", "red red"], count)
    size = rng.normal(size=count)
    return pandas.DataFrame({"word": words, "size": size, "y": size * (words == "red")})


class Kill(keras.callbacks.Callback):
    """Ends the process as kill -9 does, after a step."""

    def __init__(self, places, resume):
        super().__init__()
        self.places, self.resume = places, resume

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not self.resume.skipped_steps and f"{self.epoch}:{batch}" in self.places:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing(epoch):
    """The state of this epoch is written by half, then the process ends."""
    to_disk = state.to_disk

    def half(path):
        if about["epoch"] == epoch and path.name.startswith("."):
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        to_disk(path)

    about = {}
    write = state.StateFile.write

    def noted(self, found, arrays):
        about.update(found)
        write(self, found, arrays)

    state.to_disk, state.StateFile.write = half, noted


def main(folder, out, *kills, each=1):
    keras.utils.set_random_seed(0)
    for kill in kills:
        if kill.startswith("write:"):
            kill_while_writing(int(kill.split(":")[1]))
    model = network()
    steps = EPOCHS * ROWS // BATCH
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    adam = keras.optimizers.Adam(rate)
    model.compile(adam, "mse", metrics=["mae"], steps_per_execution=each)
    early = keras.callbacks.EarlyStopping("val_loss", patience=2)
    resume = mm.Resume(folder, every=EVERY, remember=[early])
    rows = mm.data.from_table(
        table(ROWS, 0), model, "y", batch_size=BATCH, shuffle=True, resume=resume
    )
    held = mm.data.from_table(table(16, 1), model, "y", batch_size=16)
    history = model.fit(
        rows,
        epochs=EPOCHS,
        validation_data=held,
        callbacks=[early, resume, Kill(kills, resume)],
        verbose=0,
        shuffle=False,
    )
    arrays = [keras.ops.convert_to_numpy(x) for x in model.variables]
    arrays += [keras.ops.convert_to_numpy(x) for x in model.optimizer.variables]
    np.savez(f"{out}.npz", *arrays)
    found = [history.epoch, history.history, int(model.optimizer.iterations.numpy())]
    with open(f"{out}.json", "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
