"""A training killed ten times at random moments, against one that never was.

    python benchmarks/kills.py [KILLS [STEPS_PER_EXECUTION]]

The program is tests/resume_run.py: 36 steps over 4 epochs, a falling rate, dropout,
shuffling, batch normalisation; a state every 2 steps, or after each execution where it
takes more (4 is no divisor of an epoch's 9). Each run is killed with SIGKILL a
drawn time after the end of its first step, spread over what is left to do, so that some
may lie inside of a write. Steps after the last state are done again, with the same
numbers: whether one is lost or counts twice shows at the end, in the optimizer's count
of steps, the history and the largest difference of any weight.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
import resume_run  # noqa: E402

from mmkeras.state import StateFile  # noqa: E402

STEPS, EPOCH = 36, 9


class Tell(keras.callbacks.Callback):
    """Sends the number of each step that is done, and makes it last a little."""

    def __init__(self, resume, pipe, each):
        super().__init__()
        self.resume, self.pipe, self.each = resume, pipe, each

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.skips = self.resume.skipped_steps > 0

    def on_train_batch_end(self, batch, logs=None):
        if not self.skips:
            self.pipe.send(EPOCH * self.epoch + min(batch + 1, EPOCH))
            time.sleep(0.05 * self.each)


def train(folder, out, pipe, each):
    """The whole program, in a process of its own."""
    resume_run.Kill = lambda places, resume: Tell(resume, pipe, each)
    resume_run.main(folder, out, each=each)


def run(folder, out, each, seconds=None):
    """Runs; kills `seconds` after its first step ended. Gives the steps that it did."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # forked: TensorFlow is imported once, and has run nothing yet in this process
    process = multiprocessing.get_context("fork").Process(
        target=train, args=(folder, out, theirs, each)
    )
    process.start()
    theirs.close()
    steps = []
    try:
        steps.append(ours.recv())
        if seconds is not None:
            time.sleep(seconds)
            process.kill()
        while True:
            steps.append(ours.recv())
    except EOFError:
        process.join()
    if process.exitcode not in (0, -9):
        raise RuntimeError(f"The training ended with status {process.exitcode}.")
    return steps


def held(folder):
    """The step that the state holds, counted from the start."""
    about, _ = StateFile(folder / "training.state").read() or (None, None)
    return EPOCH * about["epoch"] + about["step"] if about else 0


def main(kills=10, each=1):
    folder = Path(tempfile.mkdtemp())
    run(folder / "whole", folder / "whole", each)
    rng = np.random.default_rng(0)
    broken = folder / "broken"
    print(
        "| kill | s after a step | last step done | state holds | goes on with step |"
    )
    print("|---|---|---|---|---|")
    row, at = None, 0
    for kill in range(kills):
        seconds = rng.uniform(0, 2) * 0.06 * (STEPS - at) / (kills - kill)
        steps = run(broken, broken, each, seconds)
        _print(row, steps)
        at = held(broken)
        row = [kill + 1, f"{seconds:.2f}", steps[-1] if steps else at, at]
    _print(row, run(broken, broken, each))
    with np.load(folder / "whole.npz") as a, np.load(folder / "broken.npz") as b:
        difference = max(float(np.abs(a[x] - b[x]).max()) for x in a.files)
    whole = json.loads((folder / "whole.json").read_text())
    found = json.loads((folder / "broken.json").read_text())
    print(f"\nSteps in the final weights: {found[2]} of {whole[2]}.")
    print(f"History the same: {found[:2] == whole[:2]}.")
    print(f"Largest difference of any weight: {difference:.1e}")


def _print(row, steps):
    if row:
        first = steps[0] if steps else "the end"
        print("| " + " | ".join(map(str, [*row, first])) + " |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
