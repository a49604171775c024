"""Cells of a table, checked before training starts; `row_reader` reads them."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mmkeras.data import base64_cells, remote
from mmkeras.data.bad import reason
from mmkeras.data.table import is_missing

_THREADS = 16


def of(frame, columns, contract, root, bad):
    """The cells of a modality, by what its contract reads.

    Args:
        frame: DataFrame.
        columns: the modality's column, or a list for a contract of several.
        contract: `ModalityInput`.
        root: folder that relative paths start from.
        bad: `BadRows`.

    Returns:
        (list of cells, "" or None where absent, list of `BadRow`).
    """
    if contract.columns:
        return lines(frame, columns, contract, bad)
    if contract.cell == "file":
        return files(frame[columns], root, bad)
    return values(frame[columns], bad)


def lines(frame, columns, contract, bad):
    """Rows of a modality of several columns as one string each; "" is absent.

    A bad cell is a missing one; the row's other cells stay.

    Returns:
        (list of strings, list of `BadRow`).
    """
    found = []
    fields = []
    for own, column in zip(contract.columns, columns, strict=True):
        texts = []
        for row, cell in enumerate(frame[column]):
            try:
                texts.append(contract.text(own, cell))
            except ValueError as error:
                found.append(bad.row(row, column, "", str(error)))
                texts.append("")
        fields.append(texts)
    joined = [contract.join(x) for x in zip(*fields, strict=True)]
    return joined, sorted(found, key=_place)


def _place(bad):
    return bad.row


def values(column, bad):
    """Cells of a modality that is the cell itself, as strings; "" is absent.

    Returns:
        (list of strings, list of `BadRow`).
    """
    cells, found = [], []
    for row, cell in enumerate(column):
        why = None
        if isinstance(cell, bytes | bytearray | memoryview):
            try:
                cell = bytes(cell).decode("utf-8")
            except UnicodeDecodeError as error:
                why = f"bytes that are not UTF-8: {error}"
        elif is_missing(cell):
            cell = ""
        elif isinstance(cell, str | int | float | np.generic):
            cell = str(cell).encode("utf-8", "replace").decode()  # lone surrogates
        else:
            why = f"wanted a string. Received: {type(cell).__name__} {cell!r:.80}"
        if why:
            found.append(bad.row(row, column.name, "", why))
        cells.append("" if why else cell)
    return cells, found


def files(column, root, bad):
    """Cells of a modality that lies in files; None is absent.

    Local files are looked at, in threads, so that what is not there is known before
    training starts.

    Returns:
        (list of full paths, bytes or None, list of `BadRow`).

    Raises:
        ValueError: a path's scheme (s3://) is registered for no file system.
    """
    cells, found = [], []
    for row, cell in enumerate(column):
        if isinstance(cell, bytes | bytearray | memoryview):
            cell = bytes(cell) or None
        elif is_missing(cell):
            cell = None
        elif isinstance(cell, str) and base64_cells.is_base64(cell):
            try:
                cell = base64_cells.decoded(cell) or None
            except ValueError as error:
                found.append(bad.row(row, column.name, f"{cell[:40]}...", str(error)))
                cell = None
        elif isinstance(cell, str | os.PathLike):
            cell = full_path(os.fspath(cell), root)
        else:
            why = f"wanted a path or bytes. Received: {type(cell).__name__}"
            found.append(bad.row(row, column.name, str(cell)[:80], why))
            cell = None
        cells.append(cell)
    remote.check_cells(cells, column.name, bad)
    paths = sorted({x for x in cells if isinstance(x, str) and "://" not in x})
    with ThreadPoolExecutor(_THREADS) as pool:
        why = {p: w for p, w in zip(paths, pool.map(_look, paths), strict=True) if w}
    for row, cell in enumerate(cells):
        if isinstance(cell, str) and cell in why:
            found.append(bad.row(row, column.name, cell, why[cell]))
            cells[row] = None
    return cells, sorted(found)


def full_path(path, root):
    """A cell's path: absolute and gs:// ones as they are, others under `root`."""
    if "://" in path or os.path.isabs(path):
        return path
    if "://" in str(root):
        return f"{root}{path}" if str(root).endswith("/") else f"{root}/{path}"
    return os.path.join(root, path)


def _look(path):
    """Why a local path is no readable file, or None."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a null character
        if getattr(error, "errno", None) == errno.ENAMETOOLONG:
            return (
                "it is longer than a path can be. If it is a file in base64, write "
                "'data:;base64,' before it"
            )
        return "no such file" if isinstance(error, FileNotFoundError) else reason(error)
    if stat.S_ISDIR(found.st_mode):
        return "it is a directory"
    return "the file is empty" if not found.st_size else None
