"""Script: loads FOLDER/m.keras, fits one epoch on rows.npz, writes what moved.

python -m tests.transfer.fit_fresh FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np

import mmkeras as mm


def main(folder):
    folder = Path(folder)
    model = mm.load_model(folder / "m.keras", safe_mode=False)
    with np.load(folder / "rows.npz") as arrays:
        rows = dict(arrays)
    label = rows.pop("label")
    before = [np.array(w) for w in model.weights]
    iterations = int(model.optimizer.iterations)
    model.fit(rows, label, batch_size=4, verbose=0)
    result = {
        "moved": [
            i
            for i, (old, new) in enumerate(zip(before, model.weights, strict=True))
            if not np.array_equal(old, new)
        ],
        "paths": [w.path for w in model.weights],
        "iterations": [iterations, int(model.optimizer.iterations)],
    }
    (folder / "moved.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
