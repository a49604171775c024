"""Script: loads each NAME.keras of a folder and predicts NAME.npz into NAME.npy.

python -m mmkeras.testing.fresh FOLDER MODULE...
"""

import importlib
import sys
from pathlib import Path


def main(folder, *modules):
    """Loads and predicts; `modules` hold the layers that the files need."""
    import keras
    import numpy as np

    for module in modules:
        importlib.import_module(module)
    for path in sorted(Path(folder).glob("*.keras")):
        model = keras.models.load_model(path)
        with np.load(path.with_suffix(".npz")) as arrays:
            y = model(dict(arrays))
        np.save(path.with_suffix(".npy"), keras.ops.convert_to_numpy(y))


if __name__ == "__main__":
    main(*sys.argv[1:])
