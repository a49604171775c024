"""Script: trains a small multimodal model under the environment's strategy.

python distribute_worker.py OUT [plain|library|dies]

"plain" is without the remedy for `fit`; in "dies" worker 1 is killed at step 4.

TF_CONFIG says which worker this is. Leaves the weights in OUT.npz; history, evaluation
and the number of files that were read in OUT.json. With "two" in the environment's
MMKERAS_TEST_DEVICES one process has two logical CPUs.
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
from mmkeras import distribute, mends
from mmkeras.testing.replicas import two_cpus

ROWS, BATCH = 40, 8


def table():
    rng = np.random.default_rng(0)
    waves = 0.3 * rng.standard_normal((ROWS, 800)) * np.linspace(0.1, 1, ROWS)[:, None]
    clips = [mm.audio.encode_wav(x, 8000) for x in waves]
    size = rng.normal(size=ROWS)
    size[::7] = np.nan
    return pandas.DataFrame(
        {"clip": clips, "size": size, "y": rng.integers(0, 3, ROWS)}
    )


class Die(keras.callbacks.Callback):
    """Ends the process as kill -9 does, at the fourth step."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            os.kill(os.getpid(), signal.SIGKILL)


class Counted(mm.audio.Waveform):
    """Counts the files that it reads."""

    count = 0

    def read_cell(self, cell):
        type(self).count += 1
        return super().read_cell(cell)


def main(out, how="library"):
    if how == "plain":
        mends.multi_worker_fit = lambda: None
    two = os.environ.get("MMKERAS_TEST_DEVICES") == "two"
    strategy = two_cpus() if two else distribute.strategy()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        clip = mm.audio.mfcc_statistics(sampling_rate=8000, seconds=0.1)
        size = mm.tabular.mlp(mm.tabular.Columns(numeric={"size": (0.0, 1.0)}), (4,))
        head = mm.heads.classification(["0", "1", "2"], dropout=0.0)
        encoders = {"clip": clip, "size": size}
        model = mm.multimodal(encoders, mm.fusion.GatedFusion(8), head.layer)
        model.compile(keras.optimizers.Adam(1e-2), head.loss, metrics=head.metrics)
    contracts = mm.readers(model)
    contracts["clip"] = Counted(8000, 0.1)
    common = {"classes": ["0", "1", "2"], "batch_size": BATCH}
    common["worker"] = distribute.worker()
    # under a strategy Keras begins a pass before the first: `resume` counts epochs
    resume = mm.Resume(f"{out}.state", every=3)
    common["resume"] = resume
    callbacks = [resume]
    if how == "dies" and not distribute.is_chief():
        callbacks.append(Die())
    train = mm.data.from_table(table(), contracts, "y", shuffle=True, **common)
    history = model.fit(
        train, epochs=2, verbose=0, shuffle=False, callbacks=callbacks
    ).history
    read = Counted.count
    scores = model.evaluate(train, verbose=0)
    np.savez(f"{out}.npz", *model.get_weights())
    with open(f"{out}.json", "w") as file:
        found = {"history": history, "scores": scores, "read": read}
        json.dump({**found, "chief": distribute.is_chief()}, file)
    sys.stdout.flush()
    os._exit(0)  # a worker that waits for the others to shut down may hang


if __name__ == "__main__":
    main(*sys.argv[1:])
