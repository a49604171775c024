"""The program of docs/scale.md: the same on one device, several GPUs, several hosts.

Command: python examples/cluster/train.py [FOLDER]

FOLDER (default: saved_models/cluster) takes the state, which lets a run that was
stopped go on, and the model; all hosts must see it. On several hosts slurm.sh or
kubernetes.yaml beside this file start it on each of them, with TF_CONFIG set.
"""

import sys

import keras
import pandas

import mmkeras as mm


def main(folder="saved_models/cluster"):
    strategy = mm.distribute.strategy()  # before anything else of TensorFlow runs
    keras.utils.set_random_seed(0)
    table = pandas.DataFrame(
        {
            "title": ["a red bicycle", "a blue car", None, "an old clock"] * 8,
            "price": [120.0, 9000.0, 35.0, None] * 8,
            "label": ["yes", "no", "no", "yes"] * 8,
        }
    )
    words = mm.text.wordpiece_vocabulary(table.title.dropna(), size=100)
    facts = mm.tabular.Columns.from_frame(table, ["price"])
    head = mm.heads.classification(["no", "yes"])
    with strategy.scope():  # model, optimizer and metrics
        encoders = {
            "title": mm.text.embedding_mean(words),
            "facts": mm.tabular.mlp(facts),
        }
        model = mm.multimodal(encoders, mm.fusion.GatedFusion(32), head.layer)
        model.compile(keras.optimizers.Adam(1e-3), head.loss, metrics=head.metrics)
    resume = mm.Resume(f"{folder}/state", every=2)
    rows = mm.data.from_table(
        table,
        model,
        label="label",
        batch_size=8,  # of all devices together
        shuffle=True,
        drop_remainder=True,
        worker=mm.distribute.worker(),  # reads this worker's files alone
        resume=resume,
    )
    model.fit(rows, epochs=3, callbacks=[resume], shuffle=False, verbose=2)
    if mm.distribute.is_chief():
        model.save(f"{folder}/model.keras")


if __name__ == "__main__":
    main(*sys.argv[1:])
