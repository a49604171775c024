"""A step of ResNet50 + 6-layer BERT + MFCC CNN + gated fusion, against PyTorch.

Command: python benchmarks/train_step.py --peers-python /path/to/python [--rounds 5]
    [--threads 1 2] [--xla]

`--peers-python` is the Python of an environment with torch and transformers; without it
only ours is timed. Batch 8: pictures of 224 x 224, texts of 16 to 64 tokens, clips of
2 s. Both networks have random weights and the same widths, depths and strides; torch's
pictures lie channels last as well. Each library lives in a process of its own and only
one of them computes at a time: they take turns, round after round.

- forward: logits. Keras `predict_on_batch`, torch under `inference_mode`.
- gradients: forward with dropout and batch norm in training, cross-entropy, backward.
- train: the same and AdamW on every weight, in `train_on_batch`: mm.transfer's for
  ours; torch's as it comes and, on a line of its own, with `fused=True`.
- matrix product: 2048 x 2048 by itself, what the machine gives at most.

Prints medians of wall and CPU milliseconds a call, the median (and range) of the paired
ratios peer / ours (over 1, ours is faster), and the share of the matrix product's speed
that each call of ours reaches (a backward pass counted as two forward ones).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import bert
import numpy as np
import turns

BATCH, LENGTH, SAMPLES, CLASSES, UNITS, RATE = 8, 64, 32000, 10, 256, 1e-5
SIDE = 2048
CONFIG = {**bert.BASE, "num_hidden_layers": 6}


def ours(folder, data, jit=False):
    import keras
    import tensorflow as tf

    import mmkeras as mm

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    encoders = {
        "photo": mm.image.resnet50(weights=None),
        "title": mm.text.bert(folder, length=LENGTH, vocabulary=words),
        "clip": mm.audio.mfcc_cnn(seconds=SAMPLES / 16000),
    }
    head = mm.heads.classification([str(x) for x in range(CLASSES)])
    model = mm.multimodal(encoders, mm.fusion.GatedFusion(UNITS), head.layer)
    model.compile(mm.transfer.AdamW(RATE), head.loss, jit_compile=jit)
    inputs = {name: data[name] for name in encoders}
    inputs |= {f"{name}_present": np.ones(BATCH, "float32") for name in encoders}
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    label = tf.constant(data["label"])

    @tf.function(jit_compile=jit)
    def slopes():
        with tf.GradientTape() as tape:
            loss = head.loss(label, model(tensors, training=True))
        return tape.gradient(loss, model.trainable_weights)

    square = tf.random.normal((SIDE, SIDE))
    work = flops(model, inputs)
    versions = (
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"{model.count_params() / 1e6:.2f} million weights, forward {work / 1e9:.1f} "
        f"GFLOP"
    )
    Path(folder, "work.json").write_text(json.dumps(work))
    return versions, {
        "forward": lambda: model.predict_on_batch(inputs),
        "gradients": lambda: slopes()[0].numpy(),
        "train": lambda: model.train_on_batch(inputs, data["label"]),
        "matrix product": lambda: tf.matmul(square, square).numpy()[0],
    }


def ours_xla(folder, data):
    return ours(folder, data, jit=True)


def flops(model, inputs):
    """Floating-point operations of a forward pass, as TensorFlow's profiler counts."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    specs = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in inputs.items()}
    function = tf.function(lambda x: model(x)).get_concrete_function(specs)
    graph = convert_variables_to_constants_v2(function).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(
        profiler.ProfileOptionBuilder.float_operation()
    )
    options = options.with_empty_output().build()
    return profiler.profile(graph, cmd="op", options=options).total_float_ops


def torch(folder, data):
    import os

    import torch
    import transformers
    from torch import nn

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            # the stride where keras.applications has it
            resnet = transformers.ResNetConfig(downsample_in_bottleneck=True)
            self.photo = transformers.ResNetModel(resnet)
            self.title = transformers.BertModel.from_pretrained(
                folder, add_pooling_layer=False
            )
            self.clip = torch_mfcc_cnn(torch)
            dims = (2048, CONFIG["hidden_size"], 128)
            self.candidates = nn.ModuleList(nn.Linear(x, UNITS) for x in dims)
            self.gates = nn.ModuleList(nn.Linear(sum(dims), UNITS) for _ in dims)
            self.head = nn.Linear(UNITS, CLASSES)

        def forward(self, photo, ids, clip):
            mask = (ids != 0).long()
            share = (mask / mask.sum(1, keepdim=True))[:, :, None].float()
            tokens = self.title(input_ids=ids, attention_mask=mask).last_hidden_state
            photo = self.photo(photo).pooler_output.flatten(1)
            found = [photo, (tokens * share).sum(1), self.clip(clip)]
            joined = torch.cat(found, 1)
            gates = torch.stack([gate(joined) for gate in self.gates]).softmax(0)
            values = [
                torch.tanh(f(x)) for f, x in zip(self.candidates, found, strict=True)
            ]
            return self.head((gates * torch.stack(values)).sum(0))

    photo = torch.from_numpy(data["photo"]).permute(0, 3, 1, 2) / 255.0
    ids, clip = torch.from_numpy(data["title"]).long(), torch.from_numpy(data["clip"])
    label = torch.from_numpy(data["label"]).long()
    planes = photo.contiguous()
    last = photo.contiguous(memory_format=torch.channels_last)
    network = Network()
    still = Network().eval().to(memory_format=torch.channels_last)

    def slopes(network, pictures):
        network.zero_grad()
        loss = nn.functional.cross_entropy(network(pictures, ids, clip), label)
        loss.backward()
        return loss

    def forward():
        with torch.inference_mode():
            return still(last, ids, clip).numpy()

    def trained(network, pictures, **options):
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), RATE, **options)

        def train():
            loss = slopes(network, pictures)
            optimizer.step()
            return loss.item()

        return train

    square = torch.randn(SIDE, SIDE)
    wide = Network().to(memory_format=torch.channels_last).train()
    weights = sum(x.numel() for x in network.parameters()) / 1e6
    versions = (
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{weights:.2f} million weights"
    )
    return versions, {
        "forward": forward,
        "gradients": lambda: slopes(wide, last).item(),
        "train": trained(wide, last),
        "train, fused": trained(wide, last, fused=True),
        "train, planes": trained(network, planes),
        "matrix product": lambda: torch.matmul(square, square)[0].numpy(),
    }


def torch_mfcc_cnn(torch):
    """mm.audio.mfcc_cnn without its masks."""
    import librosa
    import scipy.fft

    mel = librosa.filters.mel(sr=16000, n_fft=2048, n_mels=128).T
    cosines = scipy.fft.dct(np.eye(128), norm="ortho", axis=1)[:, :20]

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mel = torch.tensor(mel.copy())
            self.cosines = torch.tensor(cosines.astype("float32"))
            self.window = torch.hann_window(2048)
            layers = [torch.nn.BatchNorm1d(20)]
            for i, dilation in enumerate((1, 2, 4)):
                layers += [
                    torch.nn.Conv1d(
                        128 if i else 20, 128, 3, padding="same", dilation=dilation
                    ),
                    torch.nn.BatchNorm1d(128),
                    torch.nn.ReLU(),
                    torch.nn.Dropout(0.1),
                ]
            self.layers = torch.nn.Sequential(*layers)

        def forward(self, wave):
            spectrum = torch.stft(
                wave,
                2048,
                512,
                window=self.window,
                pad_mode="constant",
                return_complex=True,
            )
            power = spectrum.abs().square().transpose(1, 2)
            decibels = 10 * torch.log10(torch.clamp(power @ self.mel, min=1e-10))
            floor = decibels.amax((1, 2), keepdim=True) - 80
            features = torch.maximum(decibels, floor) @ self.cosines
            return self.layers(features.transpose(1, 2)).mean(2)

    return Network()


WORKERS = {"ours": ours, "ours, XLA": ours_xla, "torch": torch}


def fill_folder(folder):
    """Puts the BERT and data.npz there."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tensors = bert.random_tensors(CONFIG)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, CONFIG["vocab_size"], (BATCH, LENGTH)).astype("int32")
    lengths = rng.integers(LENGTH // 4, LENGTH + 1, BATCH)
    ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    np.savez(
        folder / "data.npz",
        photo=rng.integers(0, 256, (BATCH, 224, 224, 3)).astype("float32"),
        title=ids,
        clip=rng.uniform(-0.5, 0.5, (BATCH, SAMPLES)).astype("float32"),
        label=rng.integers(0, CLASSES, BATCH),
    )


def shares(lines, seconds, work):
    """Prints how near ours comes to the matrix product's operations a second."""
    middle = {
        what: np.median(seconds[:, i, 1])
        for i, (name, what) in enumerate(lines)
        if name == "ours"
    }
    ceiling = 2 * SIDE**3 / middle["matrix product"]
    print(f"  matrix product: {ceiling / 1e9:.0f} GFLOP a CPU second; ours reaches")
    for what, passes in (("forward", 1), ("gradients", 3), ("train", 3)):
        speed = passes * work / middle[what]
        print(f"    {what:10s} {speed / 1e9:4.0f}, {100 * speed / ceiling:3.0f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    turns.add_options(parser, rounds=5)
    parser.add_argument("--xla", action="store_true", help="ours with jit_compile too")
    options = parser.parse_args()
    if options.worker:
        turns.work(WORKERS, options.worker, options.folder, options.threads[0])
        return
    pythons = {"ours": sys.executable}
    if options.xla:
        pythons["ours, XLA"] = sys.executable
    if options.peers_python:
        pythons["torch"] = options.peers_python
    for threads in options.threads:
        with tempfile.TemporaryDirectory() as folder:
            fill_folder(folder)
            workers, lines, seconds = turns.rounds(
                __file__, pythons, folder, threads, options
            )
            work = json.loads(Path(folder, "work.json").read_text())
        print(f"\nBatch {BATCH}, {threads} thread(s), {options.rounds} rounds")
        for name, worker in workers.items():
            print(f"  {name}: {worker.versions}")
        turns.report(lines, seconds)
        shares(lines, seconds, work)


if __name__ == "__main__":
    main()
