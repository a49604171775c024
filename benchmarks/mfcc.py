"""MFCC: ours against the peers, ratios of CPU time from interleaved runs.

Command: python benchmarks/mfcc.py [--rounds 9] [--threads 1] [--clip speech.ogg]

Prints audio-seconds per CPU second, milliseconds a batch, and for each peer the median
of the paired ratios peer / ours, with and without XLA, for batches of 32 and 1 clips of
2 s. Peers that are not installed are named and left out.
"""

import argparse
import os
import sys

# ruff: noqa: E402, the threads must be asked for before numpy loads
PARSER = argparse.ArgumentParser(description=__doc__.splitlines()[0])
PARSER.add_argument("--rounds", type=int, default=9)
PARSER.add_argument("--threads", type=int, default=1, choices=(1, 2))
PARSER.add_argument("--clip", help="audio file; generated without")
ARGUMENTS = PARSER.parse_args()
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(ARGUMENTS.threads)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import time
from pathlib import Path

import keras
import librosa
import numpy as np
import tensorflow as tf

import mmkeras as mm

sys.path.insert(0, str(Path(__file__).parent))
import mfcc_peers

RATE, SECONDS = 16000, 2.0
CONVENTIONS = {
    "2048/512/128 (librosa)": {
        "n_fft": 2048,
        "hop_length": 512,
        "num_mel_bins": 128,
    },
    "400/160/80 (speech)": {"n_fft": 400, "hop_length": 160, "num_mel_bins": 80},
    "512/160/80": {"n_fft": 512, "hop_length": 160, "num_mel_bins": 80},
}
OURS = ("ours, XLA, 2 clips at once", "ours, tf.function")


def clips(path):
    """32 clips of 2 s: pieces of a recording, or a generated chirp with noise."""
    samples = int(SECONDS * RATE)
    if path:
        wave, _ = librosa.load(path, sr=RATE)
    else:
        at = np.arange(8 * samples) / RATE
        wave = np.sin(2 * np.pi * (100 * at + 150 * at**2))
        wave += 0.1 * np.random.default_rng(0).standard_normal(len(at))
    wave = np.resize(wave, 32 * samples).astype("float32")
    return wave.reshape(32, samples)


def ours(sizes, waves):
    """Name -> function without arguments that computes the whole batch."""
    layer = mm.audio.MFCC(RATE, 20, **sizes)
    few = mm.audio.MFCC(RATE, 20, clips_at_once=2, **sizes)
    matrix = mm.audio.MFCC(RATE, 20, dft="matmul", **sizes)
    spec = [tf.TensorSpec([None, None])]
    tensor = tf.constant(waves)
    functions = {
        "ours, XLA, 2 clips at once": tf.function(few, jit_compile=True),
        "ours, graph, 2 clips at once": tf.function(few, input_signature=spec),
        "ours, XLA": tf.function(layer, jit_compile=True),
        "ours, tf.function": tf.function(layer, input_signature=spec),
        "ours, eager": layer,
        "ours, matrix DFT": tf.function(matrix, input_signature=spec),
    }
    return {
        name: functools.partial(_run, function, tensor)
        for name, function in functions.items()
    }


def _run(function, tensor):
    return function(tensor).numpy()


def cpu_seconds(function, repeats):
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def measure(functions, rounds, repeats):
    """Seconds `(rounds, functions)`: each function once a round, one after another."""
    for function in functions.values():
        function()
        function()
    found = [
        [cpu_seconds(function, repeats) for function in functions.values()]
        for _ in range(rounds)
    ]
    return dict(zip(functions, np.array(found).T, strict=True))


def show(seconds, batch):
    print(f"  {'':30s} {'audio-s/s':>10s} {'ms':>8s} {'/ XLA':>7s} {'/ graph':>8s}")
    for name, values in seconds.items():
        middle = np.median(values)
        ratios = [np.median(values / seconds[x]) for x in OURS]
        print(
            f"  {name:30s} {batch * SECONDS / middle:10.0f} {1e3 * middle:8.2f} "
            f"{ratios[0]:7.2f} {ratios[1]:8.2f}"
        )


def main():
    tf.config.threading.set_intra_op_parallelism_threads(ARGUMENTS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(ARGUMENTS.threads)
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, librosa "
        f"{librosa.__version__}, numpy {np.__version__}; {ARGUMENTS.threads} thread(s)"
    )
    waves = clips(ARGUMENTS.clip)
    for convention, sizes in CONVENTIONS.items():
        for batch in (32, 1):
            peers, missing = mfcc_peers.installed(waves[:batch], sizes)
            functions = {**ours(sizes, waves[:batch]), **peers}
            repeats = 2 if batch > 1 else 16
            seconds = measure(functions, ARGUMENTS.rounds, repeats)
            print(f"\n{convention}, batch {batch} x {SECONDS:g} s")
            show(seconds, batch)
    for name in missing:
        print(f"not installed: {name}")


if __name__ == "__main__":
    main()
