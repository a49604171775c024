"""Script: trains recipes on one device and on two replicas, into FOLDER.

python -m tests.run.on_two_replicas FOLDER

Leaves NAME.1/ and NAME.2/ as `train` writes them, and what it said in NAME.2.txt.
"""

import dataclasses
import io
import sys
from pathlib import Path
from unittest import mock

import keras

from mmkeras import distribute
from mmkeras.run import demo_data
from mmkeras.run.progress import Progress
from mmkeras.run.recipe import Recipe, Source
from mmkeras.run.train import train
from mmkeras.testing.replicas import two_cpus
from tests.tiny import Numbers

# 4 batches of 16 rows to train on; the last one to validate on is smaller
ROWS = {"train": 64, "val": 21, "test": 24}


def numbers():
    """An encoder with batch normalisation, made outside of any scope."""
    from mmkeras.modality import tensor_input

    keras.utils.set_random_seed(0)
    contract = Numbers(3, name="numbers")
    inputs = tensor_input(contract, "numbers_in")
    x = keras.layers.Dense(4)(contract(inputs))
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    return keras.Model(inputs, x, name="numbers")


def recipes(table):
    """Everything trains; some of it frozen, in memory; all of it frozen, on disk."""
    common = {
        "table": str(table),
        "label": "label",
        "batch_size": 16,
        "modality_dropout": 0.0,
        "schedule": "cosine",
        "clip_norm": 0.5,
    }
    title = Source("text", "embedding_mean", options={"length": 8, "units": 8})
    frozen = dataclasses.replace(title, freeze=True)

    def both(title):
        return {"title": title, "place": Source("text", numbers())}

    once = {"epochs": 1, "finetune_epochs": 1, "cache": "none", "export": False}
    return {
        "whole": Recipe(sources=both(title), epochs=2, **common),
        "frozen": Recipe(sources=both(frozen), **once, **common),
        "disk": Recipe(sources={"title": frozen}, epochs=2, export=False, **common),
    }


def main(folder):
    import pandas
    import tensorflow as tf

    folder = Path(folder)
    two = two_cpus()
    table = demo_data.write(folder, ROWS, seed=1)
    frame = pandas.read_csv(table)
    frame["place"] = [f"{i % 7},{i % 3},{-i % 5}" for i in range(len(frame))]
    frame.to_csv(table, index=False)
    for name, recipe in recipes(table).items():
        train(dataclasses.replace(recipe, out=str(folder / f"{name}.1")))
    gpus = ["GPU:0", "GPU:1"]
    with (
        mock.patch.object(tf.config, "list_logical_devices", return_value=gpus),
        mock.patch.object(tf.distribute, "MirroredStrategy", return_value=two),
    ):
        distribute.strategy.cache_clear()
        distribute.strategy()
    for name, recipe in recipes(table).items():
        said = io.StringIO()
        out = str(folder / f"{name}.2")
        train(dataclasses.replace(recipe, out=out), Progress(stream=said))
        (folder / f"{name}.2.txt").write_text(said.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
