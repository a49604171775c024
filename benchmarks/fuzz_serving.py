"""10,000 hostile requests to one loaded SavedModel, then eight threads of good ones.

    python benchmarks/fuzz_serving.py [--requests 10000] [--minutes 5]

Prints what was answered and refused, the memory after 1,000 requests and at the end,
the slowest request, and the largest difference between threads and one thread.
"""

import argparse
import collections
import os
import pathlib
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import numpy as np
import tensorflow as tf

import mmkeras as mm
from tests.export import fuzz, parts


def memory():
    """Resident memory of this process in MB."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def served(model, path):
    """The raw endpoint of a model's SavedModel."""
    mm.export.saved_model(model, path, on_bad_value="absent")
    return tf.saved_model.load(path).signatures["serve_raw"]


def asked(run, raw):
    got = run(**{name: tf.constant(x) for name, x in raw.items()})
    return {name: x.numpy() for name, x in got.items()}


def fuzzed(run, count):
    requests = fuzz.Requests(seed=1)
    counts, wrong, slowest = collections.Counter(), [], 0.0
    for i in range(count):
        kinds, raw = requests.one()
        answer = error = None
        start = time.process_time()
        try:
            answer = asked(run, raw)
        except tf.errors.InvalidArgumentError as caught:
            error = caught
        slowest = max(slowest, time.process_time() - start)
        counts["ended by an error" if error else "answered"] += 1
        for name in kinds if answer else ():
            for status in answer[f"{name}_status"]:
                counts[f"values {status.decode().split(':')[0]}"] += 1
        wrong += fuzz.problems(kinds, answer, error)
        if i + 1 in (1000, count):
            print(f"after {i + 1} requests: {memory():.0f} MB", flush=True)
    print(dict(counts))
    print(f"slowest request {slowest:.2f} CPU s; not as documented: {len(wrong)}")
    for line in wrong[:20]:
        print(line[:300])


def threaded(run, minutes):
    raw, _ = parts.rows()
    batches = [{k: x[i : i + 2] for k, x in raw.items()} for i in range(5)]
    wanted = [asked(run, batch)["outputs"] for batch in batches]
    stop, counts, worst = time.time() + 60 * minutes, [0] * 8, [0.0] * 8

    def work(thread):
        while time.time() < stop:
            i = (thread + counts[thread]) % 5
            got = asked(run, batches[i])["outputs"]
            worst[thread] = max(worst[thread], float(np.abs(got - wanted[i]).max()))
            counts[thread] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        f"8 threads, {minutes} minutes: {sum(counts)} requests, largest difference to "
        f"one thread {max(worst):.1e}, {memory():.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzzed(served(fuzz.model(), f"{folder}/1"), chosen.requests)
        threaded(served(parts.model(), f"{folder}/2"), chosen.minutes)


if __name__ == "__main__":
    main()
