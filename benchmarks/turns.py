"""Libraries that take turns: each in a process of its own, one computing at a time.

What a benchmark brings is WORKERS, name -> function (folder, data) that gives the
versions as text and a dict, name of a call -> function without arguments. `data` is
the folder's data.npz. If a call "forward" is there, its array is kept as name.npy.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

THREADS = ("OMP", "MKL", "OPENBLAS")


def work(workers, name, folder, threads):
    """A worker: a line of JSON in (call, repeats), one out (seconds), until the end."""
    pipe, sys.stdout = sys.stdout, sys.stderr  # what libraries print goes elsewhere
    if not name.startswith("torch"):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    data = np.load(Path(folder) / "data.npz")
    versions, calls = workers[name](folder, data)
    if "forward" in calls:
        np.save(Path(folder) / f"{name}.npy", calls["forward"]())
    for function in calls.values():
        function(), function()
    print(json.dumps([versions, list(calls)]), file=pipe, flush=True)
    for line in sys.stdin:
        what, repeats = json.loads(line)
        start = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            calls[what]()
        spent = time.perf_counter() - start[0], time.process_time() - start[1]
        print(json.dumps([x / repeats for x in spent]), file=pipe, flush=True)


class Worker:
    """A library in a process of its own, spoken to over a pipe."""

    def __init__(self, script, name, python, folder, threads):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["KERAS_BACKEND"] = "tensorflow"
        for kind in THREADS:
            environment[f"{kind}_NUM_THREADS"] = str(threads)
        self.log = Path(folder) / f"{name}.log"
        arguments = ["--worker", name, "--folder", str(folder), "--threads"]
        self.process = subprocess.Popen(
            [python, str(script), *arguments, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            env=environment,
            text=True,
        )
        self.versions, self.calls = self._answer()

    def seconds(self, what, repeats):
        """Wall and CPU seconds of one call."""
        self.process.stdin.write(json.dumps([what, repeats]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"A worker died:\n{self.log.read_text()}")
        return json.loads(line)


def rounds(script, pythons, folder, threads, options):
    """Measures every call of every worker, round after round.

    Args:
        script: the benchmark's own file, whose main() calls `work`.
        pythons: dict, worker -> Python that runs it.
        folder: holds data.npz and what else the workers read.
        threads: Integer.
        options: has `rounds` and `repeats`.

    Returns:
        dict of `Worker`, closed; list of (worker, call); and seconds as an array
        (rounds, calls, wall and CPU).
    """
    workers = {}
    try:
        for name, python in pythons.items():
            workers[name] = Worker(script, name, python, folder, threads)
        lines = [(name, what) for name in workers for what in workers[name].calls]
        seconds = [
            [workers[name].seconds(what, options.repeats) for name, what in lines]
            for _ in range(options.rounds)
        ]
    finally:
        for worker in workers.values():
            worker.close()
    return workers, lines, np.array(seconds)


def report(lines, seconds):
    """`seconds`: (rounds, lines, wall and CPU)."""
    print(
        f"  {'':24s} {'wall ms':>8s} {'CPU ms':>8s}  "
        f"{'wall ratio (range)':21s}  CPU ratio (range)"
    )
    for i, (name, what) in enumerate(lines):
        ratio = seconds[:, i] / seconds[:, lines.index(("ours", what.split(",")[0]))]
        cells = [
            f"{np.median(x):5.2f} ({x.min():.2f} to {x.max():.2f})" for x in ratio.T
        ]
        wall, cpu = 1e3 * np.median(seconds[:, i], axis=0)
        print(f"  {name + ', ' + what:24s} {wall:8.0f} {cpu:8.0f}  {'  '.join(cells)}")


def add_options(parser, rounds):
    """The options that every such benchmark has."""
    parser.add_argument("--peers-python", help="Python that has the peers")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--repeats", type=int, default=1, help="calls a round")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
