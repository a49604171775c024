"""What the columns of a table hold: files, numbers, strings or lists."""

import os

import numpy as np
import pandas

from mmkeras.data.base64_cells import is_base64
from mmkeras.data.cells import full_path
from mmkeras.data.directory import KINDS
from mmkeras.data.table import is_missing, want_column

_ENDINGS = KINDS["image"] + KINDS["audio"]
_LOOKED_AT = 50  # cells of a column
_CLASSES = 1000  # more different strings are no classes


def file_columns(frame, root, files=None):
    """The columns whose cells are files.

    Told from up to 50 cells: bytes, base64, paths of files that are there, names that
    end as pictures and sounds do, and URLs other than http.

    Args:
        frame: DataFrame.
        root: folder that relative paths start from.
        files: optional list of columns, in place of telling.

    Raises:
        ValueError: a column that is not there, or one of files and other strings.
    """
    if files is not None:
        for column in files:
            want_column(frame, column, "`files`")
        return list(files)
    found = []
    for column in frame.columns:
        cells = [x for x in frame[column] if not is_missing(x)]
        cells = cells[:: len(cells) // _LOOKED_AT + 1]
        like = sum(_is_file(x, root) for x in cells)
        if 0 < like < 0.5 * len(cells):
            raise ValueError(
                f"Column '{column}' looks like files in {like} of {len(cells)} cells. "
                f"Name the columns of files: files=[...], on the command line --files."
            )
        if like:
            found.append(column)
    return found


def _is_file(cell, root):
    if isinstance(cell, bytes | bytearray | memoryview | os.PathLike):
        return True
    if not isinstance(cell, str):
        return False
    if is_base64(cell):
        return True
    if len(cell) > 1000:
        return False
    if "://" in cell:
        return not cell.startswith(("http://", "https://"))
    if cell.lower().endswith(_ENDINGS):
        return True
    try:
        return "://" not in root and os.path.isfile(full_path(cell, root))
    except ValueError:  # a null character
        return False


def describe(frame, files):
    """What the manifest says of each column: its kind, dtype and classes."""
    found = {}
    for column in frame.columns:
        values = frame[column]
        if column in files:
            found[column] = {"kind": "file"}
        elif pandas.api.types.is_numeric_dtype(values):  # bool is one, too
            found[column] = {"kind": "number", "dtype": str(values.dtype)}
        else:
            texts = [x for x in values if not is_missing(x)]
            plain = all(isinstance(x, str) for x in texts)
            found[column] = {"kind": "string" if plain else "other", "dtype": "object"}
            classes = sorted(set(texts)) if plain else None
            if plain and len(classes) <= _CLASSES:
                found[column]["classes"] = classes
    return found


def plain(cell):
    """A cell as JSON has it: a string, number, bool, list of these, or None."""
    if isinstance(cell, np.float16 | np.float32):
        return None if np.isnan(cell) else float(str(cell))  # 0.1, not 0.10000000149
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8")
    if isinstance(cell, str | bool | int):
        return cell
    if isinstance(cell, list | tuple | np.ndarray):
        return [plain(x) for x in cell]
    if isinstance(cell, set | frozenset):
        return sorted(plain(x) for x in cell)
    if is_missing(cell):
        return None
    return cell if isinstance(cell, float) else str(cell)


def series(values, about):
    """A column again, from what `plain` made of its cells."""
    return pandas.Series(values, dtype=about["dtype"])


def encoded(text):
    """UTF-8; a lone surrogate becomes a question mark."""
    return text.encode(errors="replace")


def feature(cell):
    """A cell, as `plain` gives it, as a tf.train.Feature; None where it is missing.

    Strings and a file's bytes are bytes, integers int64, other numbers float32.
    """
    import tensorflow as tf

    cells = cell if isinstance(cell, list) else [cell]
    if cell is None or cell == "" or not cells:
        return None
    if all(isinstance(x, int) and -(2**63) <= x < 2**63 for x in cells):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, cells)))
    if all(isinstance(x, int | float) for x in cells):
        return tf.train.Feature(float_list=tf.train.FloatList(value=cells))
    cells = [x if isinstance(x, bytes) else encoded(str(x)) for x in cells]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=cells))
