"""Script: loads each NAME.keras of a folder, asks it NAME.npz, writes NAME.answers.npz.

With mmkeras alone: no test, no keras_hub and no layer of somebody's own is imported.
"""

import sys
from pathlib import Path

import numpy as np

import mmkeras as mm


def main(folder):
    for path in sorted(Path(folder).glob("*.keras")):
        model = mm.load_model(path)
        with np.load(path.with_suffix(".npz")) as tensors:
            answer = model(dict(tensors), training=False)
        named = answer if isinstance(answer, dict) else {"outputs": answer}
        found = {key: np.asarray(x) for key, x in named.items()}
        np.savez(path.with_suffix(".answers.npz"), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
