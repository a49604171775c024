"""Script: loads FOLDER/model.keras, which holds a module, and predicts."""

import sys
from pathlib import Path

import keras
import numpy as np

import mmkeras


def main(folder):
    """Writes what the loaded model gives for inputs.npz to found.npz."""
    folder = Path(folder)
    model = mmkeras.load_model(folder / "model.keras", safe_mode=False)
    with np.load(folder / "inputs.npz") as inputs:
        y = model.predict(dict(inputs), verbose=0)
    np.savez(folder / "found.npz", loaded=keras.ops.convert_to_numpy(y))


if __name__ == "__main__":
    main(*sys.argv[1:])
