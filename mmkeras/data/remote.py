"""Paths on other machines (gs://...): which of them TensorFlow reads here."""

import re

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9.]*)://")  # as TensorFlow tells them


def scheme(path):
    """What stands before "://", or "" for a local path.

    Example:
    >>> mm.data.remote.scheme("gs://bucket/a.csv"), mm.data.remote.scheme("a.csv")
    ('gs', '')
    """
    found = _SCHEME.match(path)
    return found[1] if found else ""


def check(path, what):
    """Raises ValueError where no file system is registered for a path's scheme.

    Args:
        path: string.
        what: whose path it is, for the message.
    """
    if "://" not in path or scheme(path) in _registered():
        return
    raise ValueError(f"{what} wants {_remedy(scheme(path))} Received: {path!r:.300}")


def check_cells(cells, column, bad):
    """The same for a column's cells, whatever is to happen to bad ones.

    A cell that cannot be read may be taken as absent; where no remote one can, none
    of the rows would have what the table says.

    Args:
        cells: list of full paths, bytes or None.
        column: string.
        bad: `BadRows`.
    """
    first = {}
    for row, cell in enumerate(cells):
        if isinstance(cell, str) and "://" in cell:
            first.setdefault(scheme(cell), row)
    unknown = sorted(set(first) - _registered()) if first else []
    if unknown:
        row = first[unknown[0]]
        cell = bad.row(row, column, cells[row], f"wanted {_remedy(unknown[0])}")
        raise ValueError(f"`{bad.reader}` cannot read {cell}")


def _registered():
    """The schemes that TensorFlow reads here; "" is local."""
    import tensorflow as tf

    return set(tf.io.gfile.get_registered_schemes())


def _remedy(unknown):
    import tensorflow as tf

    known = sorted(f"{x}://" for x in _registered() if x)
    return (
        f"a path that TensorFlow reads: a local one, or one of {known}. No file system "
        f"is registered for '{unknown}://'. Download or mount the files and name their "
        f"local paths, or import a plugin that registers '{unknown}' before: the "
        f"package tensorflow-io has one for s3, in releases of which each is for one "
        f"TensorFlow (here {tf.__version__})."
    )
