"""MFCC in TFLite: latency of one clip of 2 s at batch 1, CPU time, one thread.

Command: python benchmarks/mfcc_tflite.py [--rounds 15] [--clip speech.ogg]

Prints ms a clip, medians of interleaved rounds: files for one length and for any,
beside librosa and our own tf.function. Expected for one length: at most 1.5 ms at
2048/512/128 and 1.0 ms at 400/160/80, where librosa takes 3.9 and 2.5.
"""

import argparse
import os
import tempfile
from pathlib import Path

# ruff: noqa: E402, one thread must be asked for before numpy loads
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import keras
import librosa
import numpy as np
import tensorflow as tf

import mmkeras as mm
from mmkeras.export.lite_file import LiteFile

RATE, SECONDS = 16000, 2.0
CONVENTIONS = {
    "2048/512/128 (librosa)": {"n_fft": 2048, "hop_length": 512, "num_mel_bins": 128},
    "400/160/80 (speech)": {"n_fft": 400, "hop_length": 160, "num_mel_bins": 80},
}


def runners(kwargs, wave):
    """Name -> function without arguments that computes the MFCC of one clip.

    Args:
        kwargs: dict with n_fft, hop_length and num_mel_bins.
        wave: float32 array `(samples,)`.
    """
    layer = mm.audio.MFCC(RATE, 20, **kwargs)
    rows = {"wave": wave[None]}
    files = {
        "TFLite, this length": lite_file(layer, len(wave)),
        "TFLite, any length": lite_file(layer, None),
    }
    graph = tf.function(layer, input_signature=[tf.TensorSpec([None, None])])
    tensor = tf.constant(wave[None])

    def by_librosa():
        return librosa.feature.mfcc(
            y=wave,
            sr=RATE,
            n_mfcc=20,
            n_fft=kwargs["n_fft"],
            hop_length=kwargs["hop_length"],
            n_mels=kwargs["num_mel_bins"],
        )

    made = {"librosa": by_librosa, "tf.function": lambda: graph(tensor).numpy()}
    return made | {
        name: lambda file=file: file(rows)["outputs"] for name, file in files.items()
    }


def lite_file(layer, samples):
    """The layer alone as a TFLite file on one thread."""
    wave = keras.Input((samples,), name="wave")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mfcc.tflite")
        mm.export.tflite(keras.Model(wave, layer(wave)), path)
        return LiteFile(path.read_bytes(), threads=1)


def milliseconds(made, rounds, repeats=8):
    """Median CPU time of each function over interleaved rounds, in ms."""
    for function in made.values():
        function()
    found = np.zeros((rounds, len(made)))
    for i in range(rounds):
        for j, function in enumerate(made.values()):
            start = time.process_time()
            for _ in range(repeats):
                function()
            found[i, j] = 1e3 * (time.process_time() - start) / repeats
    return dict(zip(made, np.median(found, axis=0), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clip", help="audio file; a generated chirp without")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"librosa {librosa.__version__}, numpy {np.__version__}; one thread"
    )
    samples = int(SECONDS * RATE)
    if arguments.clip:
        wave, _ = librosa.load(arguments.clip, sr=RATE)
    else:
        at = np.arange(samples) / RATE
        wave = np.sin(2 * np.pi * (100 * at + 900 * at**2))
        wave += 0.1 * np.random.default_rng(0).standard_normal(samples)
    wave = np.resize(wave, samples).astype("float32")
    for convention, kwargs in CONVENTIONS.items():
        print(f"\n{convention}, one clip of {SECONDS:g} s")
        found = milliseconds(runners(kwargs, wave), arguments.rounds)
        for name, value in found.items():
            print(f"  {name:22s} {value:6.2f} ms  {found['librosa'] / value:5.2f} x")


if __name__ == "__main__":
    main()
