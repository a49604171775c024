"""Memory of the MFCC layer on long clips, all frames at once and in pieces.

Command: python benchmarks/mfcc_memory.py [--clips 32] [--seconds 10]

Prints the growth of the process' peak resident memory over its input, each way in a
process of its own, and the CPU time of a second run, one thread.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

RATE = 16000
WAYS = (None, 8, 32)


def measure(frames_at_once, clips=32, seconds=10, eager=False):
    """Peak memory in MB beyond the input and CPU ms of one batch, in a fresh process.

    Returns:
        dict with "megabytes" and "milliseconds".
    """
    order = [frames_at_once, clips, seconds, eager]
    command = [sys.executable, __file__, "--one", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _one(frames_at_once, clips, seconds, eager):
    import ctypes
    import time

    import tensorflow as tf

    import mmkeras as mm

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    layer = mm.audio.MFCC(RATE, 20, frames_at_once=frames_at_once)
    function = layer
    if not eager:
        function = tf.function(layer, input_signature=[tf.TensorSpec([None, None])])
    function(tf.zeros((1, RATE)))
    waves = tf.random.normal((clips, int(seconds * RATE)))
    # what the C library holds free would hide what the run takes: give it back
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _peak()
    function(waves)
    after = _peak()
    start = time.process_time()
    function(waves)
    return {
        "megabytes": (after - before) / 1024,
        "milliseconds": 1e3 * (time.process_time() - start),
    }


def _peak():
    """Greatest resident memory in kB; getrusage's may be that of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(*json.loads(arguments.one))))
        return
    size = arguments.clips * arguments.seconds * RATE * 4 / 2**20
    print(f"{arguments.clips} clips of {arguments.seconds:g} s: {size:.1f} MB of input")
    for eager in (False, True):
        for way in WAYS:
            found = measure(way, arguments.clips, arguments.seconds, eager)
            print(
                f"  {'eager' if eager else 'tf.function':12s}"
                f"  frames_at_once={way!s:5s}{found['megabytes']:8.1f} MB"
                f"{found['milliseconds']:8.0f} ms"
            )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
