"""What the tests of datasets share."""

import numpy as np

CLASSES = ["ant", "bee", "cat"]


def columns(dataset):
    """An unbatched dataset as one dict of arrays, and the labels."""
    rows = list(dataset.as_numpy_iterator())
    inputs = {k: np.stack([x[0][k] for x in rows]) for k in rows[0][0]}
    return inputs, np.stack([x[1] for x in rows])
