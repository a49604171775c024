"""FAISS as the index of an `Index`: an extra, mmkeras[faiss] (MIT licence)."""

import numpy as np


def library():
    """The module faiss.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            f"`faiss` wants the package faiss-cpu: {error}. Install it with the extra "
            f"mmkeras[faiss], or leave `faiss` out: the exact search needs no package."
        ) from error
    return faiss


def built(factory, vectors):
    """A FAISS index by inner product, trained and filled.

    Args:
        factory: FAISS's factory string, such as "Flat" or "HNSW32".
        vectors: float32 array `(rows, units)` of length 1.

    Raises:
        ValueError: FAISS refuses the string, or to be trained on so few rows.
    """
    faiss = library()
    vectors = np.ascontiguousarray(vectors)
    try:
        index = faiss.index_factory(
            vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT
        )
        index.train(vectors)
        index.add(vectors)
    except RuntimeError as error:
        raise ValueError(
            f"`faiss` wants a factory string that FAISS can build of {len(vectors)} "
            f"rows of width {vectors.shape[1]}. Received: {factory!r}: {error}"
        ) from error
    return index
