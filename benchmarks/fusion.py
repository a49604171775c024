"""Every fusion on the same frozen features of the stamps: does it beat plain concat?

Command: python benchmarks/fusion.py [--tasks a c] [--seeds 5] [--only gated concat]

Trains each fusion with one and the same recipe (units 128, features scaled to one
length, AdamW 1e-3 with a cosine, modality dropout 0.3, 30 epochs; none of it tuned for
a fusion) on cached features of EfficientNet-Lite0, MiniLM and MFCC statistics, and
prints mean test scores over the seeds: with all modalities, with each one missing;
CPU seconds per epoch, parameters of fusion and head, size of both as a TFLite file.
Beside them the best single modality (Concat trained on it alone).

Results go to `--out` as soon as a fusion is done; started again, it goes on there.
Wants `make assets` and the tables of examples/stamps.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pandas
from sklearn.metrics import f1_score

import mmkeras as mm
from mmkeras.presence import ModalityDropout
from mmkeras.run import build, files

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache"
NAMES = ("clip", "photo", "title")
BATCH, EPOCHS = 32, 30
# what a fusion needs beside `units`; one block is enough for one token a modality, and
# bottlenecks want two
OPTIONS = {
    "cross_attention": {"layers": 1},
    "mult": {"layers": 1},
    "perceiver": {"layers": 1},
    "transformer": {"layers": 1},
    "film": {"target": "title"},
    "tensor": {"width": 16},
    "multiplicative_interactions": {"width": 32},
}


def features(task):
    """Train, val and test as (dict of features and presence, labels), and classes."""
    keras.utils.set_random_seed(0)
    table = mm.data.read_table(CACHE / "stamps_table" / f"{task}_table.csv")
    parts = mm.data.split(table, "split")
    encoders = {
        "photo": mm.image.from_model(CACHE / "efficientnet_lite0.keras"),
        "title": mm.text.bert(str(CACHE / "minilm"), length=32),
        "clip": mm.audio.mfcc_statistics(
            sampling_rate=16000, seconds=3.0, standardize=True
        ),
    }
    classes = sorted(table.label.unique())
    head = mm.heads.classification(classes)
    model = mm.multimodal(encoders, mm.fusion.Concat(), head.layer)
    contract = {"clip": mm.readers(model)["clip"]}
    mm.transfer.adapt(
        model, mm.data.from_table(parts["train"], contract, batch_size=BATCH)
    )
    mm.transfer.freeze(model)
    found = {
        part: mm.transfer.cache_features(
            model, parts[part], CACHE / "features", label="label"
        ).arrays()
        for part in ("train", "val", "test")
    }
    return found, classes


def trunk(name, dims, classes):
    """Inputs, modality dropout, fusion and head, as a model; and its loss."""
    inputs = {x: keras.Input((dim,), name=x) for x, dim in dims.items()}
    presence = {x: keras.Input((), name=f"{x}_present") for x in dims}
    late = name.startswith("late_")
    head = build.head("classification", classes, 0.0 if late else 0.5, name)
    options = {"normalize": "length", **OPTIONS.get(name, {})}
    if late:  # it drops features itself, having no dense head
        options["dropout"] = 0.5
    layer = build.fusion_layer(name, options, head.layer)
    there = ModalityDropout(0.3)(presence) if len(dims) > 1 else presence
    outputs = head.layer(layer(inputs, there))
    flat = {**inputs, **{f"{x}_present": p for x, p in presence.items()}}
    return keras.Model(flat, outputs), head.loss


def measure(name, parts, classes, seeds, names=NAMES):
    """One row of the table: every seed's scores, seconds per epoch, sizes."""
    parts = {key: (only(x, names), y) for key, (x, y) in parts.items()}
    train, test = parts["train"], parts["test"]
    dims = {x: train[0][x].shape[-1] for x in names}
    model, loss = trunk(name, dims, classes)
    steps = -(-len(train[1]) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(optimizer, loss, jit_compile=False, steps_per_execution=steps)
    optimizer.build(model.trainable_variables)
    zero = [keras.ops.convert_to_numpy(x) for x in optimizer.variables]
    scores, seconds = [], []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        fresh, _ = trunk(name, dims, classes)
        model.set_weights(fresh.get_weights())
        for variable, value in zip(optimizer.variables, zero, strict=True):
            variable.assign(value)
        start = time.process_time()
        model.fit(*train, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        seconds.append((time.process_time() - start) / EPOCHS)
        scores.append(subset_scores(model, *test, names))
    return {
        "scores": scores,
        "seconds": float(np.median(seconds)),
        "parameters": model.count_params(),
        "tflite": tflite_size(model),
    }


def only(inputs, names):
    return {x: inputs[x] for n in names for x in (n, f"{n}_present")}


def subset_scores(model, inputs, labels, names):
    """Accuracy and macro-F1 with all, and with each modality missing, in percent."""
    found = {}
    for missing in (None, *(names if len(names) > 1 else ())):
        shown = dict(inputs)
        if missing:
            shown[f"{missing}_present"] = np.zeros(len(labels), "float32")
        guesses = model.predict(shown, batch_size=256, verbose=0).argmax(-1)
        f1 = f1_score(labels, guesses, average="macro", zero_division=0)
        found[missing or "all"] = [100 * (guesses == labels).mean(), 100 * f1]
    return found


def tflite_size(model):
    """Bytes of fusion and head as a TFLite file in float32."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(folder, verbose=False)
        return len(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def table(results):
    """Fusions by mean accuracy, single modalities last."""
    rows = {}
    for name, x in results.items():
        row = {}
        for shown in x["scores"][0]:
            values = np.array([seed[shown] for seed in x["scores"]])
            mean, spread = values.mean(0), values[:, 0].std(ddof=1)
            text = f"{mean[0]:.1f} / {mean[1]:.1f}"
            key = "all" if shown == "all" else f"no {shown}"
            row[key] = text if key != "all" else f"{text} (sd {spread:.1f})"
        row["CPU s/epoch"] = f"{x['seconds']:.2f}"
        row["parameters"] = f"{x['parameters']:,}"
        row["TFLite KB"] = f"{x['tflite'] / 1024:,.0f}"
        rows[name] = row
    order = sorted(rows, key=lambda x: (" " in x, -float(rows[x]["all"].split()[0])))
    return pandas.DataFrame.from_dict(rows, orient="index").loc[order].fillna("")


def beats_concat(results):
    """Which fusions are ahead of concat, seed by seed (t over the paired gaps)."""
    accuracy = {
        name: np.array([x["all"][0] for x in found["scores"]])
        for name, found in results.items()
    }
    lines = []
    for name, values in accuracy.items():
        if name == "concat" or " " in name:
            continue
        gap = values - accuracy["concat"]
        error = gap.std(ddof=1) / len(gap) ** 0.5
        if abs(gap.mean()) > 2 * error:
            word = "ahead of" if gap.mean() > 0 else "behind"
            lines.append(f"{name}: {abs(gap.mean()):.1f} points {word} concat")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=["a", "c"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="fusions by their short names")
    parser.add_argument("--out", type=Path, default=ROOT / "saved_models/fusions")
    options = parser.parse_args()
    for task in options.tasks:
        path = options.out / f"{task}.json"
        results = json.loads(path.read_text()) if path.is_file() else {}
        parts, classes = features(task)
        jobs = {x: (x, NAMES) for x in options.only or sorted(build.fusions())}
        jobs |= {f"{x} alone": ("concat", (x,)) for x in NAMES}
        for key, (name, names) in jobs.items():
            if len(results.get(key, {"scores": []})["scores"]) != options.seeds:
                results[key] = measure(name, parts, classes, options.seeds, names)
                files.write_json(path, results)
                print(key, table({key: results[key]}).to_string(header=False))
        text = table(results).to_string()
        files.write_text(options.out / f"{task}.txt", text + "\n")
        print(f"\nTask {task.upper()}: accuracy / macro-F1 in %, test")
        print(text)
        print("\n".join(beats_concat(results)))


if __name__ == "__main__":
    main()
