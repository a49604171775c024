"""Feature transfer: a linear head on frozen EfficientNet-Lite0 + MiniLM, cached or not.

Command: python benchmarks/feature_cache.py [--epochs 20] [--measured 2] [--rows 628]

Prints total CPU seconds (all threads) of a training run over the stamps' train and val
rows end to end, with an empty cache and with a full one, their ratios, and how far the
test predictions of the three are apart. End to end is run for `--measured` epochs: its
first epoch and `--epochs` - 1 times its last, since with frozen encoders all epochs
cost the same. Predictions are compared after `--measured` epochs.

Wants `make assets` and the table of examples/stamps.

Seen on two shared cores, 628 rows, 20 epochs: 470 CPU s end to end; 30.4 with an
empty cache (ratio 15.5, range 14 to 16), 2.5 with a full one (187, range 150 to 200);
predictions 0.0 apart.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas

import mmkeras as mm

CACHE = Path(__file__).parent.parent / ".cache"
BATCH = 32


def build(classes):
    """The same model each time, its encoders frozen."""
    keras.utils.set_random_seed(0)
    encoders = {
        "photo": mm.image.from_model(CACHE / "efficientnet_lite0.keras"),
        "title": mm.text.bert(str(CACHE / "minilm"), length=32),
    }
    head = mm.heads.classification(classes)
    model = mm.multimodal(encoders, mm.fusion.Concat(), head.layer)
    return mm.transfer.freeze(model), head.loss


class Clock(keras.callbacks.Callback):
    """CPU seconds of each epoch."""

    def on_train_begin(self, logs=None):
        self.marks = [time.process_time()]

    def on_epoch_end(self, epoch, logs=None):
        self.marks.append(time.process_time())

    def seconds(self):
        return np.diff(self.marks)


def end_to_end(rows, classes, epochs):
    model, loss = build(classes)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False)
    options = {"label": "label", "batch_size": BATCH, "shuffle": True}
    clock = Clock()
    data = mm.data.from_table(rows, model, **options)
    model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=[clock])
    return model, clock.seconds()


def cached(rows, classes, epochs, folder):
    """The model, CPU seconds of hashing and encoding, and of each epoch."""
    model, loss = build(classes)
    start = time.process_time()
    features = mm.transfer.cache_features(
        model, rows, folder, label="label", batch_size=BATCH
    )
    trunk = mm.transfer.trunk(model)
    trunk.compile(
        keras.optimizers.Adam(1e-3), loss, jit_compile=False, steps_per_execution=8
    )
    encoding = time.process_time() - start
    clock = Clock()
    data = features.dataset(BATCH, shuffle=True)
    trunk.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=[clock])
    return model, encoding, clock.seconds()


def answers(model, rows):
    data = mm.data.from_table(rows, model, batch_size=BATCH)
    return keras.ops.convert_to_numpy(
        keras.ops.softmax(model.predict(data, verbose=0), axis=-1)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--measured", type=int, default=2)
    parser.add_argument("--rows", type=int)
    options = parser.parse_args()
    table = mm.data.read_table(CACHE / "stamps_table" / "a_table.csv")
    parts = mm.data.split(table, "split")
    train, test = pandas.concat([parts["train"], parts["val"]]), parts["test"]
    train = train.iloc[: options.rows]
    classes = sorted(table.label.unique())
    with tempfile.TemporaryDirectory() as folder:
        _, encoding, cold = cached(train, classes, options.epochs, folder)
        cold = encoding + cold.sum()
        _, encoding, warm = cached(train, classes, options.epochs, folder)
        warm = encoding + warm.sum()
        short, _, _ = cached(train, classes, options.measured, folder)
    model, seconds = end_to_end(train, classes, options.measured)
    whole = seconds[0] + (options.epochs - 1) * seconds[-1]
    print(f"{len(train)} rows, {options.epochs} epochs     CPU s   ratio")
    print(f"end to end, epoch by epoch: {np.round(seconds, 1)}")
    print(f"end to end              {whole:9.1f}")
    print(f"cached, computed now    {cold:9.1f} {whole / cold:7.1f}")
    print(f"cached before           {warm:9.1f} {whole / warm:7.1f}")
    found, wanted = answers(short, test), answers(model, test)
    right = np.mean(np.array(classes)[wanted.argmax(1)] == test.label)
    print(f"after {options.measured} epochs, test accuracy {right:.2f}, probabilities")
    print(f"cached and end to end {np.abs(found - wanted).max():.1e} apart")


if __name__ == "__main__":
    main()
