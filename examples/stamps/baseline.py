"""The bar for the stamps: logistic regression on frozen features, scikit-learn alone.

    python examples/stamps/prepare.py      # once
    python examples/stamps/baseline.py [--cache .cache] [--tasks a c] [--fresh]

Data and licence: see prepare.py. Features, computed once and kept in
.cache/stamps_features.npz:

    image   EfficientNet-Lite0, ImageNet weights, 224 x 224         1280
    text    MiniLM-L6, mean of the last hidden states                384
    audio   mean and standard deviation over time of 20 MFCC and
            of their deltas, 16 kHz (librosa)                         80

The file's keys are TASK/SPLIT/NAME, e.g. "a/train/image": image, text, audio
(rows, width), the same with "_present" (rows,), label (rows,) as integers, and
TASK/classes. Features of an absent modality are 0.

Protocol: StandardScaler fitted on the training rows that have the modality, absent ones
0 after scaling; modalities side by side, as they are or each divided by the square root
of its width (else 80 audio features drown among 1280 of the image); scaling and C by
log-loss on val; fitted on train alone. Accuracy and macro-F1 on test, for every subset.
One split: the standard error of an accuracy is 3 to 4 points.
"""

import argparse
import csv
import itertools
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import librosa
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.preprocessing import StandardScaler

CACHE = Path(__file__).resolve().parents[2] / ".cache"
COLUMNS = {"image": "photo", "text": "title", "audio": "clip"}
SPLITS = ("train", "val", "test")
SAMPLING_RATE = 16000
CS = {"plain": (1e-3, 1e-2, 0.1, 1.0), "balanced": (0.1, 1.0, 10.0, 100.0)}


def image_features(cells, cache):
    """`(cells, 1280)`: EfficientNet-Lite0 of the pictures at 224 x 224."""
    import mmkeras as mm

    path = cache / "efficientnet_lite0.keras"
    encoder = mm.image.from_model(path, size=(224, 224), trainable=False)
    pixels = mm.modality.contract(encoder)
    paths = [str(cache / "stamps_table" / cell) for cell in cells]
    pictures = np.stack([pixels.read_cell(path) for path in paths])
    return encoder.predict(pictures, batch_size=32, verbose=0)


def text_features(cells, cache):
    """`(cells, 384)`: MiniLM's mean over a caption's tokens."""
    import mmkeras as mm

    encoder = mm.text.bert(str(cache / "minilm"), length=64, pooling="mean")
    ids = mm.modality.contract(encoder).read(cells)
    return encoder.predict(ids, batch_size=32, verbose=0)


def audio_features(cells, cache):
    """`(cells, 80)`: mean and deviation of the MFCC and of their deltas."""
    return np.stack([mfcc_statistics(cache / "stamps_table" / x) for x in cells])


def mfcc_statistics(path):
    wave, _ = librosa.load(path, sr=SAMPLING_RATE)
    mfcc = librosa.feature.mfcc(y=wave, sr=SAMPLING_RATE, n_mfcc=20)
    # the shortest clip has 6 frames: a delta needs an odd width that fits
    width = min(9, (mfcc.shape[1] - 1) // 2 * 2 + 1)
    frames = np.concatenate([mfcc, librosa.feature.delta(mfcc, width=width)])
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)]).astype("float32")


EXTRACTORS = {"image": image_features, "text": text_features, "audio": audio_features}


def read_table(cache, task):
    path = cache / "stamps_table" / f"{task}_table.csv"
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compute(cache, tasks):
    """All arrays of the features' file; what two tasks share is computed once."""
    tables = {task: read_table(cache, task) for task in tasks}
    arrays = {}
    for modality, column in COLUMNS.items():
        start = time.monotonic()
        cells = {row[column] for table in tables.values() for row in table} - {""}
        cells = sorted(cells)
        features = EXTRACTORS[modality](cells, cache)
        known = dict(zip(cells, features, strict=True))
        known[""] = np.zeros_like(features[0])
        for task, split in itertools.product(tasks, SPLITS):
            values = [row[column] for row in tables[task] if row["split"] == split]
            key = f"{task}/{split}/{modality}"
            arrays[key] = np.stack([known[x] for x in values])
            arrays[f"{key}_present"] = np.array([x != "" for x in values], "float32")
        seconds = time.monotonic() - start
        print(f"{modality}: {len(cells)} values in {seconds:.0f} s", flush=True)
    for task, table in tables.items():
        classes = np.array(sorted({row["label"] for row in table}))
        arrays[f"{task}/classes"] = classes
        for split in SPLITS:
            labels = [row["label"] for row in table if row["split"] == split]
            arrays[f"{task}/{split}/label"] = np.searchsorted(classes, labels)
    return arrays


def features(cache, fresh=False):
    """The arrays of `.cache/stamps_features.npz`, computed where it is not there."""
    path = cache / "stamps_features.npz"
    if fresh or not path.exists():
        work = path.with_name(".stamps_features.part.npz")
        np.savez(work, **compute(cache, ("a", "b", "c")))
        os.replace(work, path)
    with np.load(path) as file:
        return dict(file)


def scaled(arrays, task, modality):
    """Split -> features of one modality, standardised on train, 0 where absent."""
    train = arrays[f"{task}/train/{modality}"]
    present = arrays[f"{task}/train/{modality}_present"] > 0
    scaler = StandardScaler().fit(train[present])
    return {
        split: scaler.transform(arrays[f"{task}/{split}/{modality}"])
        * arrays[f"{task}/{split}/{modality}_present"][:, None]
        for split in SPLITS
    }


def side_by_side(parts, scaling):
    """Split -> the modalities of `parts` in one matrix, no wider than train is long."""
    width = {"plain": lambda part: 1, "balanced": lambda part: part["train"].shape[1]}
    x = {
        split: np.hstack([part[split] / width[scaling](part) ** 0.5 for part in parts])
        for split in SPLITS
    }
    # an L2-penalised solution lies in the span of the training rows: same model, faster
    _, _, span = np.linalg.svd(x["train"], full_matrices=False)
    return {split: x[split] @ span.T for split in SPLITS}


def score_subset(arrays, task, modalities):
    """Accuracy and macro-F1 on test, and the scaling and C that won on val."""
    parts = [scaled(arrays, task, x) for x in modalities]
    y = {split: arrays[f"{task}/{split}/label"] for split in SPLITS}
    tried = []
    for scaling, cs in CS.items():
        x = side_by_side(parts, scaling)
        for c in cs:
            model = LogisticRegression(C=c, max_iter=5000).fit(x["train"], y["train"])
            loss = log_loss(y["val"], model.predict_proba(x["val"]))
            tried.append((loss, c, scaling, model.predict(x["test"])))
    _, c, scaling, predicted = min(tried, key=lambda one: one[0])
    accuracy = accuracy_score(y["test"], predicted)
    return accuracy, f1_score(y["test"], predicted, average="macro"), scaling, c


def subsets(modalities):
    for size in range(1, len(modalities) + 1):
        yield from itertools.combinations(modalities, size)


def majority(arrays, task):
    """Accuracy on test of always saying the most frequent training class."""
    common = np.bincount(arrays[f"{task}/train/label"]).argmax()
    return np.mean(arrays[f"{task}/test/label"] == common)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="default: %(default)s"
    )
    parser.add_argument("--tasks", nargs="+", choices="abc", default=["a", "c"])
    parser.add_argument("--fresh", action="store_true", help="compute features anew")
    options = parser.parse_args(arguments)
    arrays = features(options.cache, options.fresh)
    for task in options.tasks:
        rows = {x: len(arrays[f"{task}/{x}/label"]) for x in SPLITS}
        classes = len(arrays[f"{task}/classes"])
        print(f"\ntask {task.upper()}: {classes} classes, {rows}")
        print(f"{'':24}accuracy  macro-F1  scaling   C")
        print(f"{'majority class':24}{majority(arrays, task):8.1%}")
        for names in subsets(list(COLUMNS)):
            accuracy, f1, scaling, c = score_subset(arrays, task, names)
            scores = f"{accuracy:8.1%}  {f1:8.1%}  {scaling:9} {c:g}"
            print(f"{' + '.join(names):24}{scores}", flush=True)


if __name__ == "__main__":
    main()
