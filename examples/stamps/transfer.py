"""Three kinds of transfer with the same two encoders: features, parameters, structure.

    python examples/stamps/transfer.py [--cache .cache] [--ways feature lora] [--smoke]
    python examples/stamps/transfer.py --markdown      # prints the runs that are done

Task A of the stamps, picture + caption -> 14 classes; 471 training rows, 153 test rows.
EfficientNet-Lite0 at 96 x 96 and MiniLM-L6 with 16 tokens, GatedFusion:

    feature     frozen encoders run once, fusion and head learn from their features
    lora        then BERT's dense layers learn low-rank updates, the picture is cached
    top         then the upper third of both encoders learns, the rest is frozen
    whole       then both encoders learn end to end, lower blocks by smaller rates
    structure   the same networks with new random weights, end to end
    small       new small networks in their place: a CNN and a GRU

Every finished run is written to OUT/transfer.json at once, and is not run again: stop
it when you like and start it again. Seconds are CPU seconds of all threads, with
reading, encoding and tracing, so that a busy machine does not count.

Expected on test, accuracy / macro-F1 in %, mean of 3 seeds (range of the accuracy):

    feature     79.7 (78.4-81.0) / 79.0       33 CPU s
    lora        82.1 (79.7-83.7) / 80.8       90
    top         82.8 (81.7-83.7) / 81.4       88
    whole       82.6 (82.4-83.0) / 81.0      129
    structure   29.4 (27.5-31.4) / 25.3      326
    small       36.8 (35.9-37.9) / 35.0      100

40 CPU minutes in all. The standard error of one accuracy is 3 points. `structure` knows
all training rows by heart after 8 of its 12 epochs, so more of them would not help it.

Rates and epochs are usual values, set beforehand; none was searched and no test row
chose one. Width, dropout and weight decay, the same in all rows, are recipe_a.toml's,
which were chosen with the test scores of feature transfer in sight.
"""

import argparse
import dataclasses
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas

import mmkeras as mm
from mmkeras import scores
from mmkeras.run import files
from mmkeras.run.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Way:
    """One row of the table.

    Args:
        kind: what the row is called.
        weights: "pretrained", "new", or "small" (new weights, small networks).
        trunk_epochs: epochs of fusion and head on cached features, first.
        release: name of the function below that lets encoders learn after it.
        epochs: epochs of what then learns.
        rate: learning rate of fusion and head in them; warm-up, then a cosine.
        encoder_rate: learning rate of each encoder's top block.
        decay: rate of a block over that of the block above it.
    """

    kind: str
    weights: str = "pretrained"
    trunk_epochs: int = 60
    release: str | None = None
    epochs: int = 0
    rate: float = 1e-3
    encoder_rate: float = 1e-3
    decay: float = 1.0
    size: int = 96
    length: int = 16


WAYS = {
    "feature": Way("feature transfer"),
    "lora": Way("parameters: LoRA on BERT", release="lora", epochs=4),
    "top": Way(
        "parameters: upper blocks",
        release="top",
        epochs=4,
        rate=3e-4,
        encoder_rate=1e-4,
        decay=0.8,
    ),
    "whole": Way(
        "parameters: whole encoders",
        release="whole",
        epochs=3,
        rate=3e-4,
        encoder_rate=1e-4,
        decay=0.8,
    ),
    "structure": Way(
        "structure transfer",
        weights="new",
        trunk_epochs=0,
        epochs=12,
        rate=5e-4,
        encoder_rate=5e-4,
    ),
    "small": Way("new small CNN and GRU", weights="small", trunk_epochs=0, epochs=60),
}


# -- the models ---------------------------------------------------------------------


def build(way, cache, rows, classes):
    """The model of a way and its head; all of it learns."""
    make = small if way.weights == "small" else same_networks
    head = mm.heads.classification(classes, dropout=0.5)
    fusion = mm.fusion.GatedFusion(256, normalize="length")
    return mm.multimodal(make(way, cache, rows), fusion, head.layer), head


def same_networks(way, cache, rows):
    """Structure transfer keeps only the networks' configs: their weights are new."""
    photo = keras.models.load_model(cache / "efficientnet_lite0.keras", compile=False)
    if way.weights == "new":
        photo = keras.models.clone_model(photo, clone_function=anew)
    weights = None if way.weights == "new" else True
    return {
        "photo": mm.image.from_model(photo, size=(way.size, way.size)),
        "title": mm.text.bert(
            str(cache / "minilm"), length=way.length, weights=weights
        ),
    }


def anew(layer):
    """The layer with new weights; statistics that settle within 200 steps."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        config["momentum"] = 0.9
    return type(layer).from_config(config)


def small(way, cache, rows):
    x = picture = keras.Input((way.size, way.size, 3))
    for i, filters in enumerate((16, 32, 64, 128)):
        x = keras.layers.Conv2D(filters, 3, 2, "same", name=f"block{i}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"block{i}_norm")(x)
        x = keras.layers.ReLU(name=f"block{i}_relu")(x)
    words = mm.text.wordpiece_vocabulary(list(rows.title), size=1000)
    cnn = keras.Model(picture, x, name="cnn")
    return {
        "photo": mm.image.from_model(cnn, scaling="unit"),
        "title": mm.text.rnn(words, length=way.length, units=64),
    }


def lora(model):
    mm.transfer.enable_lora(model, "title", rank=8)


def top(model):
    """The last five blocks of the picture's encoder and the last two of the text's."""
    mm.transfer.unfreeze(model, "photo", since="block12")
    mm.transfer.unfreeze(model, "title", since="layer_4")
    keep_norms(model)


def whole(model):
    mm.transfer.unfreeze(model)
    # most words are not in 471 captions: theirs would only decay
    mm.transfer.freeze(model, "title", until="embeddings")
    keep_norms(model)


def keep_norms(model):
    """Batch statistics of ImageNet are better than those of a few hundred rows."""
    norms = [
        x.name
        for x in model.get_layer("photo_encoder").layers
        if isinstance(x, keras.layers.BatchNormalization)
    ]
    mm.transfer.freeze(model, "photo", layers=norms)


RELEASES = {"lora": lora, "top": top, "whole": whole}


# -- one run ------------------------------------------------------------------------


def run(way, seed, parts, cache, progress):
    """Trains one model and scores it: a dict for the table."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    classes = sorted(pandas.concat(parts.values()).label.unique())
    model, head = build(way, cache, parts["train"], classes)
    clock = Clock()
    if way.trunk_epochs:
        mm.transfer.freeze(model)
        optimizer = adamw(way.trunk_epochs, 1e-3, parts["train"])
        fit(model, head, optimizer, parts, way.trunk_epochs, progress, clock)
    if way.epochs:
        if way.release:
            RELEASES[way.release](model)
        optimizer = adamw(way.epochs, way.rate, parts["train"])
        if (way.encoder_rate, way.decay) != (way.rate, 1.0):
            peak = schedule(way.epochs, way.encoder_rate, parts["train"])
            rates = dict.fromkeys(mm.readers(model), peak)
            optimizer = mm.transfer.layerwise_rates(model, optimizer, way.decay, rates)
        fit(model, head, optimizer, parts, way.epochs, progress, clock)
    found = {**clock.seconds(), "trained": trained(model)}
    return found | {part: score(model, parts[part]) for part in ("val", "test")}


def fit(model, head, optimizer, parts, epochs, progress, clock):
    """Runs what is frozen once, then fits all that is behind it."""
    train = mm.transfer.cache_features(model, parts["train"], label="label")
    rest = mm.transfer.trunk(model)
    # small steps: several in one call; large ones gain nothing
    steps = 5 if rest.count_params() < 10**7 else 1
    options = {"jit_compile": False, "steps_per_execution": steps}
    rest.compile(optimizer, head.loss, metrics=head.metrics, **options)
    with progress.epochs(epochs) as bar:
        rest.fit(*train, BATCH, epochs=epochs, verbose=0, callbacks=[bar, clock])


def schedule(epochs, rate, rows):
    """A tenth of the steps warms up, then the rate falls to 0 by a cosine."""
    steps = epochs * math.ceil(len(rows) / BATCH)
    warm = steps // 10
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm, warmup_target=rate, warmup_steps=warm
    )


def adamw(epochs, rate, rows):
    optimizer = keras.optimizers.AdamW(schedule(epochs, rate, rows), weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class Clock(keras.callbacks.Callback):
    """CPU seconds since it was made, and of the last fit's epochs."""

    def __init__(self):
        super().__init__()
        self.start = time.process_time()

    def on_train_begin(self, logs=None):
        self.marks = [time.process_time()]

    def on_epoch_end(self, epoch, logs=None):
        self.marks.append(time.process_time())

    def seconds(self):
        # the first epoch traces
        epochs = np.diff(self.marks)[1:] if len(self.marks) > 2 else np.diff(self.marks)
        return {
            "seconds": time.process_time() - self.start,
            "epoch_seconds": float(np.median(epochs)),
        }


def trained(model):
    return sum(math.prod(x.shape) for x in model.trainable_weights)


def score(model, rows):
    data = mm.data.from_table(rows, model, label="label", batch_size=BATCH)
    labels = np.concatenate([label for _, label in data.as_numpy_iterator()])
    outputs = model.predict(data, verbose=0)
    return {
        "accuracy": scores.accuracy(labels, outputs),
        "macro_f1": scores.macro_f1(labels, outputs),
    }


# -- all runs -----------------------------------------------------------------------


def run_all(ways, seeds, parts, cache, path, progress):
    """Runs what `path` does not hold yet: dict, way/seed -> result."""
    for seed in seeds:  # first one seed of all, so that a table is there early
        for name, way in ways.items():
            key, settings = f"{name}/{seed}", dataclasses.asdict(way)
            if read(path).get(key, {}).get("settings") == settings:
                continue
            progress.say(f"{way.kind}, seed {seed}")
            found = run(way, seed, parts, cache, progress)
            progress.say(
                f"accuracy {found['val']['accuracy']:.3f} (validation), "
                f"{found['seconds']:.0f} CPU s"
            )
            # read again: another process may have finished others
            files.write_json(path, {**read(path), key: {"settings": settings, **found}})
    return read(path)


def read(path):
    return json.loads(path.read_text()) if path.exists() else {}


def table(done, ways):
    """Means and ranges over the seeds that are done with these settings."""
    rows = []
    for name, way in ways.items():
        mine = [x for key, x in done.items() if key.split("/")[0] == name]
        mine = [x for x in mine if x["settings"] == dataclasses.asdict(way)]
        if mine:
            rows.append(row(way, mine))
    return pandas.DataFrame(rows)


def row(way, found):
    epochs = [str(x) for x in (way.trunk_epochs, way.epochs) if x]
    return {
        "transfer": way.kind,
        "accuracy": spread([x["test"]["accuracy"] for x in found]),
        "macro-F1": spread([x["test"]["macro_f1"] for x in found]),
        "validation": spread([x["val"]["accuracy"] for x in found]),
        "parameters trained": f"{found[0]['trained']:,}",
        "epochs": " + ".join(epochs),
        "CPU s": f"{np.mean([x['seconds'] for x in found]):.0f}",
        "an epoch": f"{np.mean([x['epoch_seconds'] for x in found]):.2g}",
        "seeds": len(found),
    }


def spread(values):
    """Mean and range in percent."""
    mean, low, high = (100 * x for x in (np.mean(values), min(values), max(values)))
    return f"{mean:.1f} ({low:.1f}-{high:.1f})"


def markdown(frame):
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.to_numpy()]
    return "\n".join("| " + " | ".join(map(str, x)) + " |" for x in lines)


def shortened(way):
    """A way for `--smoke`: an epoch a stage, on tiny pictures."""
    return dataclasses.replace(
        way, epochs=min(1, way.epochs), trunk_epochs=min(1, way.trunk_epochs), size=32
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    parser.add_argument(
        "--out", type=Path, help="default: saved_models/stamps_transfer"
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--markdown", action="store_true", help="print, run nothing")
    parser.add_argument("--smoke", action="store_true", help="one short run of each")
    options = parser.parse_args(arguments)
    ways = {name: WAYS[name] for name in options.ways}
    out = options.out or ROOT / "saved_models/stamps_transfer"
    parts = {}
    if not options.markdown:
        rows = mm.data.read_table(options.cache / "stamps_table/a_table.csv")
        parts = mm.data.split(rows, "split")
    if options.smoke:
        options.seeds, out = 1, out / "smoke"
        parts = {key: rows.groupby("label").head(1) for key, rows in parts.items()}
        ways = {key: shortened(way) for key, way in ways.items()}
    path = out / "transfer.json"
    if not options.markdown:
        seeds = range(options.seeds)
        run_all(ways, seeds, parts, options.cache, path, Progress())
    # all that is done, also by earlier calls
    every = {key: ways.get(key, way) for key, way in WAYS.items()}
    found = table(read(path), every)
    if options.markdown:
        print(markdown(found))
        return
    files.write_text(out / "transfer.csv", found.to_csv(index=False))
    files.write_text(out / "transfer.md", markdown(found) + "\n")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
