"""Exact search: every row is compared, block by block, so that memory stays bounded."""

import numpy as np
from keras import ops

#: Queries and rows that are compared at once: 64 MB of cosines.
QUERIES, ROWS = 1024, 16384


def search(queries, rows, k):
    """The k rows of the largest products with each query: top_k(Q R^T).

    Args:
        queries: float32 array `(queries, units)`.
        rows: float32 array `(rows, units)`, at least k.
        k: Integer.

    Returns:
        (scores, positions), arrays `(queries, k)`, the best first; of equal scores the
        earlier row first.
    """
    found = [
        _block(queries[i : i + QUERIES], rows, k)
        for i in range(0, len(queries), QUERIES)
    ]
    if not found:
        return np.zeros((0, k), "float32"), np.zeros((0, k), "int64")
    scores, positions = zip(*found, strict=True)
    return np.concatenate(scores), np.concatenate(positions)


def _block(queries, rows, k):
    queries = ops.convert_to_tensor(queries)
    best = None
    for begin in range(0, len(rows), ROWS):
        part = ops.convert_to_tensor(rows[begin : begin + ROWS])
        scores = ops.matmul(queries, ops.transpose(part))
        scores, places = ops.top_k(scores, min(k, len(part)))
        places = ops.cast(places, "int64") + begin
        if best is not None:
            # what was found before comes first: of equals top_k takes the first
            scores = ops.concatenate([best[0], scores], axis=1)
            places = ops.concatenate([best[1], places], axis=1)
            scores, chosen = ops.top_k(scores, min(k, scores.shape[1]))
            places = ops.take_along_axis(places, chosen, axis=1)
        best = scores, places
    return tuple(ops.convert_to_numpy(x) for x in best)
