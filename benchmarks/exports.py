"""Every form of export of every pair of encoders and fusion: what comes out.

Command: python benchmarks/exports.py [--images resnet50 vgg16 ...] [--texts bert rnn]
    [--fusions all | GatedFusion ...] [--forms saved_model none float16 dynamic int8]
    [--layers 12] [--out saved_models/exports.jsonl]

Image encoder x text encoder x MFCC CNN, joined by each of the fusions named. Weights
are random (batch norms with statistics of noise), but for the EfficientNet-Lite0 of
`make assets`, which is read as a finished model; BERT has `--layers` layers of 768. A
row for each model, a cell for each form: megabytes, the largest difference to
`model.predict`, for TFLite in how many of 16 rows of noise the winner's class is the
same, and operations that are not builtin, or the error in words.

Each model is a process of its own. What is in `--out` is not made again: a run that was
stopped goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import bert
import keras
import numpy as np

import mmkeras as mm

OUT = Path(__file__).parents[1] / "saved_models" / "exports.jsonl"
LITE0 = Path(__file__).parent.parent / ".cache" / "efficientnet_lite0.keras"
IMAGES = ("resnet50", "vgg16", "mobilenetv3small", "efficientnet_lite0")
TEXTS = ("bert", "rnn")
FUSIONS = ("Concat", "Add", "Mean", "Max", "Product", "WeightedSum", "GatedFusion")
FUSIONS += ("GMU", "FiLM", "MultiplicativeInteractions", "TensorFusion", "MCB")
FUSIONS += ("LowRankFusion", "FactorizedBilinear", "CrossAttentionFusion", "MulT")
FUSIONS += ("TransformerFusion", "BottleneckFusion", "PerceiverFusion", "LateMLP")
FUSIONS += ("LateAverage", "LateWeighted", "LateProduct")
FORMS = ("saved_model", "none", "float16", "dynamic", "int8")
LENGTH, SAMPLES, ROWS = 32, 16000, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(996))]


def image(name):
    if name != "efficientnet_lite0":
        return settled(mm.image.network(name, weights=None))
    return mm.image.from_model(LITE0, scaling="none")


def settled(encoder):
    """Batch norms with the statistics of noise, as training leaves them.

    Fresh ones let features of random weights shrink to nothing, and a fusion that
    normalises its vector would then compare roundings.
    """
    norms = [
        x
        for x in encoder._flatten_layers()
        if isinstance(x, keras.layers.BatchNormalization)
    ]
    momenta = [x.momentum for x in norms]
    for norm in norms:
        norm.momentum = 0.0
    rng = np.random.default_rng(1)
    noise = rng.uniform(0, 255, (8, *encoder.input.shape[1:])).astype("float32")
    encoder(noise, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return encoder


def text(name, layers):
    if name == "rnn":
        return mm.text.rnn(WORDS, length=LENGTH)
    config = {**bert.BASE, "vocab_size": len(WORDS), "num_hidden_layers": layers}
    options = {"weights": None, "config": config, "vocabulary": WORDS}
    return mm.text.bert(None, length=LENGTH, **options)


def build(image_name, text_name, fusion, layers):
    encoders = {
        "photo": image(image_name),
        "title": text(text_name, layers),
        "clip": mm.audio.mfcc_cnn(seconds=SAMPLES / 16000),
    }
    late = fusion.startswith("Late")  # these end in the classes themselves
    classes = [str(x) for x in range(10)]
    head = mm.heads.classification(classes, dense=not late).layer
    own = {"Concat": (), "FiLM": ("photo", 64)}
    arguments = own.get(fusion, (len(classes) if late else 64,))
    return mm.multimodal(encoders, getattr(mm.fusion, fusion)(*arguments), head)


def rows(model):
    """Made-up rows as `model.predict` takes them."""
    rng = np.random.default_rng(0)
    size = model.input["photo"].shape[1:]
    ids = rng.integers(4, len(WORDS), (ROWS, LENGTH)).astype("int32")
    ids[:, 0], ids[:, LENGTH // 2], ids[:, LENGTH // 2 + 1 :] = 2, 3, 0
    found = {
        "photo": rng.uniform(0, 255, (ROWS, *size)).astype("float32"),
        "title": ids,
        "clip": rng.uniform(-0.5, 0.5, (ROWS, SAMPLES)).astype("float32"),
    }
    return found | {f"{x}_present": np.ones(ROWS, "float32") for x in found}


def cell(model, form):
    """What the export of one form gives, in words."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return told(model, form, folder)
        except (ValueError, TypeError) as error:
            return f"refused: {' '.join(str(error).split())[:200]}"


def told(model, form, folder):
    if form == "saved_model":
        report = mm.export.saved_model(model, f"{folder}/1", overwrite=True)
        strange, agreement = report.custom_ops, ""
    else:
        quantize = None if form == "none" else form
        report = mm.export.tflite(
            model,
            f"{folder}/model.tflite",
            quantize=quantize,
            representative=rows(model),
            tolerance=1e-4 if quantize is None else float("inf"),
            overwrite=True,
        )
        strange = [x for x in report.ops if x.startswith(("CUSTOM", "FLEX"))]
        agreement = f", {round(ROWS * report.agreement)} of {ROWS}"
    strange = f", NOT BUILTIN {strange}" if strange else ""
    return (
        f"{report.size / 1e6:.1f} MB, {report.max_difference:.0e}{agreement}{strange}"
    )


def one(key, forms, out):
    """Exports one model in every form and writes a line of it."""
    model = build(*key)
    cells = {form: cell(model, form) for form in forms}
    record = {"key": key, "million": model.count_params() / 1e6, "cells": cells}
    with open(out, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def records(out):
    """dict, key -> record of what is made."""
    lines = out.read_text("utf-8").splitlines() if out.exists() else []
    made = [json.loads(x) for x in lines]
    return {tuple(x["key"]): x for x in made}


def table(found, forms):
    lines = ["| image | text | fusion | million | " + " | ".join(forms) + " |"]
    lines.append("|---" * (4 + len(forms)) + "|")
    for (image_name, text_name, fusion, layers), record in found.items():
        text_name += f" ({layers})" * (text_name == "bert")
        cells = [image_name, text_name, fusion, f"{record['million']:.1f}"]
        cells += [record["cells"].get(form, "") for form in forms]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", default=IMAGES, choices=IMAGES)
    parser.add_argument("--texts", nargs="+", default=TEXTS, choices=TEXTS)
    parser.add_argument("--fusions", nargs="+", default=["GatedFusion"])
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--layers", type=int, default=12, help="of BERT")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.one:
        return one(options.one, options.forms, options.out)
    fusions = FUSIONS if options.fusions == ["all"] else options.fusions
    keys = [(a, b, c) for a in options.images for b in options.texts for c in fusions]
    keys = [(*key, options.layers if key[1] == "bert" else 0) for key in keys]
    for number, key in enumerate(keys):
        if key in records(options.out):
            continue
        print(f"{number + 1} of {len(keys)}: {key}", flush=True)
        command = [sys.executable, __file__, "--one", json.dumps(key)]
        command += ["--out", str(options.out), "--forms", *options.forms]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        stopped = f"stopped: {done.stderr[-300:]}"
        print(records(options.out).get(key, {}).get("cells", stopped), flush=True)
    found = records(options.out)
    print(table({key: found[key] for key in keys if key in found}, options.forms))


if __name__ == "__main__":
    main()
