"""Clips per second from OGG files into tf.data, against librosa.load in a loop.

Command: python benchmarks/audio_loading.py [--rounds 7] [--clips 300]

The stamps' speech after `make assets`, else generated OGG (44.1 kHz, stereo, 1.4 s), to
16 kHz, one channel, 2 s. Interleaved rounds; clips per second of wall time, CPU time a
clip in all threads, how many cores that is, and the medians of the paired ratios to
librosa's loop. `audio_dataset_from_directory` reads WAV alone and does not resample:
it and the last line are given the same clips as 16-bit WAV of 16 kHz.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import tempfile
import time
from pathlib import Path

import keras
import librosa
import numpy as np
import pandas
import soundfile
import soxr
import tensorflow as tf

import mmkeras as mm

CACHE = Path(__file__).parent.parent / ".cache"
RATE, SECONDS, BATCH = 16000, 2.0, 32
CLIP = mm.audio.Waveform(RATE, SECONDS)


def generated(folder, count):
    """OGG files of a chirp with noise."""
    at = np.arange(int(1.4 * 44100)) / 44100
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.ogg" for i in range(count)]
    for path in paths:
        wave = 0.4 * np.sin(2 * np.pi * (100 * at + rng.uniform(500, 2000) * at**2))
        noise = 0.05 * rng.standard_normal((len(at), 2))
        soundfile.write(path, wave[:, None] + noise, 44100)
    return list(map(str, paths))


def clips(folder, count):
    """Paths of `count` OGG files."""
    found = sorted(map(str, (CACHE / "stamps").rglob("*.ogg")))
    if not found:
        return generated(folder, count)
    return list(np.random.default_rng(0).permutation(found)[:count])


def as_wav(paths, folder):
    """The clips as 16-bit WAV at the rate wanted."""
    folder.mkdir()
    found = [folder / f"{i:05d}.wav" for i in range(len(paths))]
    for source, path in zip(paths, found, strict=True):
        soundfile.write(path, CLIP.read_cell(source), RATE, subtype="PCM_16")
    return list(map(str, found))


def by_librosa(paths):
    for path in paths:
        librosa.load(path, sr=RATE)


def by_soundfile(paths):
    for path in paths:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        soxr.resample(wave.mean(axis=1), rate, RATE)


def by_us(paths, cache=None):
    table = pandas.DataFrame({"clip": paths})
    options = {"batch_size": BATCH, "audio_cache": cache}
    through(mm.data.from_table(table, {"clip": CLIP}, **options))


def by_us_cold(paths):
    with tempfile.TemporaryDirectory() as folder:
        by_us(paths, folder)


def through(dataset):
    for _ in dataset:
        pass


def by_keras(folder):
    through(
        keras.utils.audio_dataset_from_directory(
            folder,
            labels=None,
            batch_size=BATCH,
            output_sequence_length=CLIP.samples,
            shuffle=False,
            verbose=False,
        )
    )


def measured(function):
    """Seconds of wall and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=300)
    arguments = parser.parse_args()
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, librosa "
        f"{librosa.__version__}, soundfile {soundfile.__version__}, soxr "
        f"{soxr.__version__}; {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        paths = clips(folder, arguments.clips)
        wavs = as_wav(paths, folder / "wav")
        made = {
            "librosa.load, loop": functools.partial(by_librosa, paths),
            "soundfile + soxr, loop": functools.partial(by_soundfile, paths),
            "ours": functools.partial(by_us, paths),
            "ours, cache filled now": functools.partial(by_us_cold, paths),
            "ours, cached": functools.partial(by_us, paths, folder / "cache"),
            "Keras' directory, WAV": functools.partial(by_keras, folder / "wav"),
            "ours, WAV": functools.partial(by_us, wavs),
        }
        for function in made.values():
            function()
        rounds = [[measured(x) for x in made.values()] for _ in range(arguments.rounds)]
    times = np.array(rounds)  # (rounds, runners, wall and CPU)
    middle = np.median(times, axis=0)
    ratio = np.median(times[:, :1] / times, axis=0)
    print(f"{'':24s}clips/s  CPU ms  cores   x wall   x CPU")
    for i, name in enumerate(made):
        wall, cpu = middle[i]
        print(
            f"{name:24s}{len(paths) / wall:7.0f} {1e3 * cpu / len(paths):7.2f} "
            f"{cpu / wall:6.2f} {ratio[i, 0]:8.2f} {ratio[i, 1]:7.2f}"
        )


if __name__ == "__main__":
    main()
