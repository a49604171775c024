"""Cells of a table, words or files to vectors of a shared space."""

import functools
import math
import os

import numpy as np
import pandas

from mmkeras.data.bad import BadRows
from mmkeras.data.cells import values
from mmkeras.data.dataset import from_table
from mmkeras.data.table import as_frame
from mmkeras.modality import contract
from mmkeras.towers import is_two_tower, tower
from mmkeras.transfer.cache import forward


def embed(
    model,
    modality,
    cells,
    *,
    column=None,
    root=None,
    batch_size=32,
    on_bad_row="raise",
    bad_rows=None,
    progress=None,
):
    """Words, pictures or sounds to vectors of length 1; zeros where one is absent.

    Example:
    >>> def tiny():
    ...     pixels = mmkeras.image.Pixels((8, 8))
    ...     image = mmkeras.modality.tensor_input(pixels, "image")
    ...     return keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> model = mmkeras.two_tower({"photo": tiny(), "sketch": tiny()}, units=4)
    >>> tensors = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3))
    >>> vectors = mmkeras.retrieval.embed(model, "sketch", tensors)
    >>> vectors.shape, np.linalg.norm(vectors, axis=1).round(5).tolist()
    ((3, 4), [1.0, 1.0, 1.0])

    Args:
        model: a model of `mmkeras.two_tower`; a dict, modality -> encoder, whose
            encoders give vectors of one space; or one such encoder, such as
            `mmkeras.tower(model, modality)`: make that once where calls are many.
        modality: the modality of the cells.
        cells: list of raw cells, such as sentences or paths, as the modality's column
            in a table holds them (None or "" is absent); a table, a path or DataFrame,
            with that column; or an array of the modality's tensors.
        column: the table's column, where it is not called as the modality.
        root: folder that relative paths start from; default: the table's own, or the
            current one.
        batch_size: Integer, rows that are encoded at once.
        on_bad_row: "raise" or "absent", as `mmkeras.data.from_table` takes it.
        bad_rows: optional list for the cells that cannot be read.
        progress: optional object with `track(items, total, label)`, which yields the
            items, such as the command line's.

    Returns:
        float32 array `(rows, units)`.

    Raises:
        ValueError: the model has no such modality, its encoder gives tokens, or what
            `from_table` refuses.
        TypeError: `cells` is a single string.
    """
    encoder = encoder_of(model, modality)
    if isinstance(cells, list | tuple | np.ndarray) and not len(cells):
        return np.zeros((0, encoder.output_shape[-1]), "float32")
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
        batches, count = _batches(cells, batch_size), len(cells)
    elif isinstance(cells, list | tuple) and contract(encoder).kind == "text":
        bad = BadRows(on_bad_row, bad_rows, range(len(cells)), "embed")
        batches = _texts(contract(encoder), modality, cells, batch_size, bad)
        count = len(cells)
    else:
        table = _table(modality, cells)
        count = len(table)
        reads = from_table(
            table,
            {modality: contract(encoder)},
            columns={modality: column} if column else None,
            root=root,
            batch_size=batch_size,
            on_bad_row=on_bad_row,
            bad_rows=bad_rows,
        )
        batches = ((x[modality], x[f"{modality}_present"]) for x in reads)
    if progress:
        steps = math.ceil(count / batch_size)
        batches = progress.track(batches, steps, f"Embedding {count} of '{modality}'")
    # compiling takes longer than one batch does
    several = count > batch_size
    run = forward(encoder) if several else functools.partial(encoder, training=False)
    made = [_vectors(run, *x, min(batch_size, count)) for x in batches]
    return np.concatenate(made)


def encoder_of(model, modality):
    """The encoder that maps a modality into the shared space."""
    if isinstance(model, dict):
        if modality not in model:
            raise ValueError(
                f"`modality` wants one of {sorted(model)}. Received: {modality!r}"
            )
        found = model[modality]
    else:
        found = tower(model, modality) if is_two_tower(model) else model
    contract(found)  # says what is wanted
    if isinstance(found.output, dict) or len(found.output_shape) != 2:
        raise ValueError(
            f"A shared space wants vectors (batch, units). Received: the encoder "
            f"'{found.name}' of '{modality}', which gives tokens. Build it with "
            f"`pooling`, or give a model of `mmkeras.two_tower`."
        )
    return found


def unit(vectors):
    """Rows of length 1; a row of zeros stays."""
    vectors = np.asarray(vectors, "float32")
    lengths = np.linalg.norm(vectors.astype("float64"), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype("float32")


def _table(modality, cells):
    if isinstance(cells, pandas.DataFrame | os.PathLike):
        return as_frame(cells)
    if isinstance(cells, bytes):
        raise TypeError("`cells` wants a list of cells. Received: bytes. Write [cell].")
    if isinstance(cells, str):
        if cells.lower().endswith((".csv", ".tsv", ".parquet", ".jsonl")):
            return as_frame(cells)
        raise TypeError(
            f"`cells` wants a list of cells, or a table. Received: {cells!r}. Write "
            f"[{cells!r}]."
        )
    return pandas.DataFrame({modality: pandas.Series(list(cells), dtype=object)})


def _texts(contract, modality, given, size, bad):
    """Sentences by the batch, without a pipeline, which takes a second to begin."""
    column = pandas.Series(list(given), name=modality, dtype=object)
    texts, problems = values(column, bad)
    bad.up_front(problems, ".")
    read = getattr(contract, "read_cells", None) or contract.compiled_read
    for i in range(0, len(texts), size):
        part = texts[i : i + size]
        yield read(part), np.array([bool(x) for x in part], "float32")


def _batches(tensors, size):
    for i in range(0, len(tensors), size):
        part = tensors[i : i + size]
        yield part, np.ones(len(part), "float32")


def _vectors(run, tensors, presence, size):
    """One batch, filled up to `size`, so that a vector does not depend on its place."""
    tensors, presence = np.asarray(tensors), np.asarray(presence)
    lacking = [(0, size - len(tensors))] + [(0, 0)] * (tensors.ndim - 1)
    made = np.asarray(run(np.pad(tensors, lacking)))[: len(tensors)]
    return unit(np.where(presence[:, None] > 0, made, 0))
