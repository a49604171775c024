"""Latency of a served model: raw bytes in, against its encoders alone and PyTorch.

Command: python benchmarks/serving.py [--peers-python /path/to/python] [--rounds 40]
    [--threads 1] [--batches 1 32]

ResNet50 + BERT-base (12 layers, 64 tokens) + MFCC CNN + gated fusion with random
weights, exported once. Each library lives in a process of its own; calls take turns.

- serve_raw: the SavedModel, from a JPEG of 640 x 480, a sentence and a WAV of 2 s.
- serve: the SavedModel, from tensors; encoders: the three networks alone, one graph.
- predict: `model.predict_on_batch` in the process that trained it.
- tflite: the TFLite file, one row at a time; dynamic: the one with 8-bit weights.
- torch: the same network under `inference_mode`, from tensors, channels last.

Prints the median and 99th percentile in milliseconds of CPU and wall time, the ratio
to "encoders" of paired rounds, and the seconds from a file to its first answer.
"""

import argparse
import io
import json
import sys
import tempfile
import time
import wave
from pathlib import Path

import bert
import numpy as np
import train_step
import turns

SENTENCE = "A small red bicycle with two baskets, hardly used, to be fetched in town."
FILES = ("1", "model.tflite", "dynamic.tflite")


def ours(folder, data):
    import keras
    import tensorflow as tf

    import mmkeras as mm

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *map(str, range(bert.BASE["vocab_size"])),
    ]
    words = words[: bert.BASE["vocab_size"]]
    encoders = {
        "photo": mm.image.resnet50(weights=None),
        "title": mm.text.bert(folder, length=train_step.LENGTH, vocabulary=words),
        "clip": mm.audio.mfcc_cnn(seconds=train_step.SAMPLES / 16000),
    }
    names = [str(x) for x in range(train_step.CLASSES)]
    head = mm.heads.classification(names)
    fusion = mm.fusion.GatedFusion(train_step.UNITS)
    model = mm.multimodal(encoders, fusion, head.layer)
    paths = [str(Path(folder) / x) for x in FILES]
    mm.export.saved_model(model, paths[0])
    mm.export.tflite(model, paths[1])
    # the weights are random: nothing that 8 bits could spoil
    mm.export.tflite(model, paths[2], quantize="dynamic", tolerance=10)
    started = {
        "SavedModel": _cold(paths[0], data),
        "TFLite": _cold_lite(paths[1], data),
    }
    Path(folder, "cold.json").write_text(json.dumps(started))

    served = tf.saved_model.load(paths[0])
    alone = tf.function(lambda x: [encoders[name](x[name]) for name in encoders])
    lite, small = (mm.export.load(x) for x in paths[1:])
    calls = {}
    for batch in data["batches"].tolist():
        raw = {x: tf.constant([_raw(data, x)] * batch) for x in encoders}
        inputs = {x: np.repeat(data[x], batch, axis=0) for x in encoders}
        inputs |= {f"{x}_present": np.ones(batch, "float32") for x in encoders}
        tensors = {name: tf.constant(x) for name, x in inputs.items()}
        rows = [{k: x[i : i + 1] for k, x in inputs.items()} for i in range(batch)]
        calls |= {
            f"{batch}, encoders": lambda x=tensors: alone(x)[0].numpy(),
            f"{batch}, serve_raw": lambda x=raw: _numpy(served, "serve_raw", x),
            f"{batch}, serve": lambda x=tensors: _numpy(served, "serve", x),
            f"{batch}, predict": lambda x=inputs: model.predict_on_batch(x),
            f"{batch}, tflite": lambda x=rows: [lite.predict_on_batch(y) for y in x],
            f"{batch}, dynamic": lambda x=rows: [small.predict_on_batch(y) for y in x],
        }
    return f"TensorFlow {tf.__version__}, Keras {keras.__version__}", calls


def _numpy(served, name, inputs):
    return served.signatures[name](**inputs)["outputs"].numpy()


def _raw(data, name):
    return bytes(data[f"{name}_raw"])


def _cold(path, data):
    """Seconds from the SavedModel's folder to its first answer."""
    import tensorflow as tf

    start = time.perf_counter()
    served = tf.saved_model.load(path)
    raw = {x: tf.constant([_raw(data, x)]) for x in ("photo", "title", "clip")}
    _numpy(served, "serve_raw", raw)
    return time.perf_counter() - start


def _cold_lite(path, data):
    import mmkeras as mm

    start = time.perf_counter()
    lite = mm.export.load(path)
    inputs = {x: data[x] for x in ("photo", "title", "clip")}
    ones = {f"{x}_present": np.ones(1, "float32") for x in inputs}
    lite.predict_on_batch(inputs | ones)
    return time.perf_counter() - start


def torch(folder, data):
    import torch

    # the network of train_step.py, deeper: BERT's depth stands in the folder's config
    one = {name: data[name] for name in ("photo", "title", "clip", "label")}
    calls = {}
    for batch in data["batches"].tolist():
        rows = {name: np.repeat(x, batch, axis=0) for name, x in one.items()}
        versions, made = train_step.torch(folder, rows)
        calls[f"{batch}, torch"] = made["forward"]
    del torch
    return versions, calls


WORKERS = {"ours": ours, "torch": torch}


def fill_folder(folder, batches):
    """Puts the BERT and data.npz there: one row, encoded and as tensors."""
    from PIL import Image
    from safetensors.numpy import save_file

    folder, rng = Path(folder), np.random.default_rng(0)
    (folder / "config.json").write_text(json.dumps(bert.BASE))
    tensors = bert.random_tensors(bert.BASE)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    pixels = rng.integers(0, 256, (15, 20, 3)).astype("uint8")
    picture, sound = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).resize((640, 480)).save(picture, "jpeg")
    with wave.open(sound, "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
        noise = rng.integers(-9000, 9000, train_step.SAMPLES, "int16")
        file.writeframes(noise.tobytes())
    ids = np.zeros((1, train_step.LENGTH), "int32")
    ids[0, :40] = rng.integers(1000, 20000, 40)
    np.savez(
        folder / "data.npz",
        batches=batches,
        photo_raw=np.void(picture.getvalue()),
        title_raw=np.void(SENTENCE.encode()),
        clip_raw=np.void(sound.getvalue()),
        photo=rng.uniform(0, 255, (1, 224, 224, 3)).astype("float32"),
        title=ids,
        clip=rng.uniform(-0.5, 0.5, (1, train_step.SAMPLES)).astype("float32"),
        label=np.zeros(1, "int64"),
    )


def show(lines, seconds):
    print(
        f"  {'':22s} {'CPU ms':>8s} {'p99':>8s} {'wall ms':>8s} {'p99':>8s}   "
        f"CPU and wall / encoders"
    )
    for i, (_, what) in enumerate(lines):
        base = seconds[:, lines.index(("ours", f"{what.split(',')[0]}, encoders"))]
        ratio = np.median(seconds[:, i] / base, axis=0)
        half, most = 1e3 * np.percentile(seconds[:, i], [50, 99], axis=0)
        print(
            f"  {what:22s} {half[1]:8.1f} {most[1]:8.1f} {half[0]:8.1f} {most[0]:8.1f}"
            f"   {ratio[1]:.2f} {ratio[0]:.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_options(parser, rounds=40)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    options = parser.parse_args()
    if options.worker:
        turns.work(WORKERS, options.worker, options.folder, options.threads[0])
        return
    pythons = {"ours": sys.executable}
    if options.peers_python:
        pythons["torch"] = options.peers_python
    for threads in options.threads:
        with tempfile.TemporaryDirectory() as folder:
            fill_folder(folder, options.batches)
            workers, lines, seconds = turns.rounds(
                __file__, pythons, folder, threads, options
            )
            cold = json.loads(Path(folder, "cold.json").read_text())
        print(f"\n{threads} thread(s), {options.rounds} rounds")
        for name, worker in workers.items():
            print(f"  {name}: {worker.versions}")
        show(lines, seconds)
        told = ", ".join(f"{name} {x:.1f} s" for name, x in cold.items())
        print(f"  from the file to the first answer: {told}")


if __name__ == "__main__":
    main()
