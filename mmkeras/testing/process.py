"""Runs one of our modules in a new Python process, on files in a folder."""

import os
import subprocess
import sys


def run(module, folder, *arguments, seconds=570):
    """Runs `python -m module folder arguments...`.

    Args:
        module: string, the module's dotted name.
        folder: where it finds its files and leaves its results.
        arguments: strings; for our scripts the modules to import first, so that Keras
            knows their layers.
        seconds: Number, time limit.

    Raises:
        AssertionError: it failed; the message ends in its last words.
    """
    # the same import path as here, so that a user's own layers are found too
    path = os.pathsep.join(x for x in sys.path if x)
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise AssertionError(
            f"`python -m {module}` failed with {done.returncode}: {done.stderr[-3000:]}"
        )
