"""Every form of export of every pair of encoders and fusion: what comes out.

Command: python benchmarks/exports.py [--images resnet50 vgg16 ...] [--texts bert rnn]
    [--fusions GatedFusion ...] [--forms saved_model none float16 dynamic int8]

Image encoder x text encoder x MFCC CNN, joined by each of the fusions named. Weights
are random, but for the EfficientNet-Lite0 of `make assets`, which is read as a finished
model; BERT has 12 layers of 768. One line each: megabytes, the largest difference to
`model.predict`, whether the winner's class is the same, and operations that are not
builtin, or the error in words.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import bert
import keras
import numpy as np

import mmkeras as mm

LITE0 = Path(__file__).parent.parent / ".cache" / "efficientnet_lite0.keras"
IMAGES = ("resnet50", "vgg16", "mobilenetv3small", "efficientnet_lite0")
TEXTS = ("bert", "rnn")
FORMS = ("saved_model", "none", "float16", "dynamic", "int8")
LENGTH, SAMPLES, ROWS = 32, 16000, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(996))]


def image(name):
    if name != "efficientnet_lite0":
        return mm.image.network(name, weights=None)
    return mm.image.from_model(LITE0, scaling="none")


def text(name):
    if name == "rnn":
        return mm.text.rnn(WORDS, length=LENGTH)
    config = {**bert.BASE, "vocab_size": len(WORDS)}
    options = {"weights": None, "config": config, "vocabulary": WORDS}
    return mm.text.bert(None, length=LENGTH, **options)


def build(image_name, text_name, fusion):
    encoders = {
        "photo": image(image_name),
        "title": text(text_name),
        "clip": mm.audio.mfcc_cnn(seconds=SAMPLES / 16000),
    }
    head = mm.heads.classification([str(x) for x in range(10)]).layer
    return mm.multimodal(encoders, getattr(mm.fusion, fusion)(64), head)


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


def line(model, form, folder):
    """What the export of one form gives, in words."""
    if form == "saved_model":
        report = mm.export.saved_model(model, f"{folder}/1", overwrite=True)
        strange = report.custom_ops
        agreement = ""
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
        agreement = f", same class {100 * report.agreement:3.0f} %"
    strange = f", NOT BUILTIN {strange}" if strange else ""
    return (
        f"{report.size / 1e6:7.1f} MB, difference {report.max_difference:.0e}"
        f"{agreement}{strange}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", default=IMAGES, choices=IMAGES)
    parser.add_argument("--texts", nargs="+", default=TEXTS, choices=TEXTS)
    parser.add_argument("--fusions", nargs="+", default=["GatedFusion"])
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    options = parser.parse_args()
    for image_name in options.images:
        for text_name in options.texts:
            for fusion in options.fusions:
                keras.backend.clear_session()
                model = build(image_name, text_name, fusion)
                print(
                    f"{image_name} + {text_name} + mfcc_cnn, {fusion}: "
                    f"{model.count_params() / 1e6:.1f} million weights",
                    flush=True,
                )
                for form in options.forms:
                    with tempfile.TemporaryDirectory() as folder:
                        try:
                            told = line(model, form, folder)
                        except (ValueError, TypeError) as error:
                            told = f"refused: {' '.join(str(error).split())[:200]}"
                    print(f"  {form:12s} {told}", flush=True)


if __name__ == "__main__":
    main()
