"""MFCC: ours against librosa, ratios of CPU time from interleaved runs, one thread.

Command: python benchmarks/mfcc.py [--rounds 9] [--clip speech.ogg]

Prints audio-seconds per CPU second and the median of the paired ratios to librosa's
loop, for batches of 32 and 1 clips of 2 s.
"""

import argparse
import os

# ruff: noqa: E402, one thread must be asked for before numpy loads
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import time

import keras
import librosa
import numpy as np
import tensorflow as tf

import mmkeras as mm

RATE, SECONDS = 16000, 2.0
CONVENTIONS = {
    "2048/512/128 (librosa)": {},
    "400/160/80 (speech)": {"n_fft": 400, "hop_length": 160, "num_mel_bins": 80},
}


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


def runners(kwargs, waves):
    """Name -> function without arguments that computes the whole batch."""
    layer = mm.audio.MFCC(RATE, 20, **kwargs)
    matrix = mm.audio.MFCC(RATE, 20, dft="matmul", **kwargs)
    keyed = {
        "n_fft": layer.n_fft,
        "hop_length": layer.hop_length,
        "n_mels": layer.num_mel_bins,
    }

    def loop():
        return [librosa.feature.mfcc(y=w, sr=RATE, n_mfcc=20, **keyed) for w in waves]

    cached = functools.cache(librosa.filters.mel)

    def loop_cached():
        original, librosa.filters.mel = librosa.filters.mel, cached
        result = loop()
        librosa.filters.mel = original
        return result

    spec = [tf.TensorSpec([None, None])]
    tensor = tf.constant(waves)
    made = {"librosa, loop": loop, "librosa, loop, filters cached": loop_cached}
    for name, function in {
        "ours, tf.function": tf.function(layer, input_signature=spec),
        "ours, XLA": tf.function(layer, jit_compile=True),
        "ours, eager": layer,
        "ours, matrix DFT": tf.function(matrix, input_signature=spec),
    }.items():
        made[name] = functools.partial(_run, function, tensor)
    return made


def _run(function, tensor):
    return function(tensor).numpy()


def cpu_seconds(function, repeats):
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clip", help="audio file; generated without")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"librosa {librosa.__version__}, numpy {np.__version__}; one thread"
    )
    waves = clips(arguments.clip)
    for convention, kwargs in CONVENTIONS.items():
        for batch in (32, 1):
            made = runners(kwargs, waves[:batch])
            for function in made.values():
                function()
            rounds = [
                [cpu_seconds(f, 2 if batch > 1 else 8) for f in made.values()]
                for _ in range(arguments.rounds)
            ]
            seconds = np.array(rounds)
            ratio = np.median(seconds[:, :1] / seconds, axis=0)
            print(f"\n{convention}, batch {batch} x {SECONDS:g} s")
            for i, name in enumerate(made):
                middle = np.median(seconds[:, i])
                print(
                    f"  {name:30s} {batch * SECONDS / middle:7.0f} audio-s/s"
                    f"  {1e3 * middle:7.2f} ms  {ratio[i]:5.2f} x"
                )


if __name__ == "__main__":
    main()
