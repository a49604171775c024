"""Bad cells: told at once by row, column and path, or noted and taken as absent."""

import logging
import re
import threading
from typing import NamedTuple

import numpy as np

POLICIES = ("raise", "absent")
_SHOWN = 10
_LONG = 300  # characters
_log = logging.getLogger("mmkeras")


class BadRow(NamedTuple):
    """A cell that could not be read."""

    row: int  # position in the table, from 0
    column: str
    path: str  # "" for a cell that is the value itself
    reason: str
    index: object = None  # the row's label in the DataFrame's index

    def __str__(self):
        path = f", path {self.path}" if self.path else ""
        row = row_text(self.row, self.index)
        return f"{row}, column '{self.column}'{path}: {self.reason}"


class BadRows:
    """What happens to bad cells under `on_bad_row`.

    Args:
        policy: "raise" or "absent".
        found: list to append each `BadRow` to, or None.
        index: the table's index, for the rows' labels.
        reader: the function that reads the cells, for messages.

    Raises:
        ValueError: an unknown policy.
        TypeError: `found` is not a list.
    """

    def __init__(self, policy, found, index, reader="from_table"):
        if policy not in POLICIES:
            raise ValueError(
                f"`on_bad_row` wants one of {POLICIES}. Received: {policy!r}"
            )
        if found is not None and not isinstance(found, list):
            raise TypeError(f"`bad_rows` wants a list. Received: {found!r}")
        self.policy = policy
        self.found = [] if found is None else found
        self.index, self.reader = index, reader
        self._seen = set(map(str, self.found))
        self._lock = threading.Lock()

    def row(self, row, column, path, reason):
        """The `BadRow` of a cell."""
        if path:
            path = f"({len(path)} bytes)" if isinstance(path, bytes) else _named(path)
        return BadRow(int(row), column, path, reason, _label(self.index, row))

    def up_front(self, bad, root):
        """Takes the bad cells found before anything is decoded: all in one error."""
        if not bad:
            return
        if self.policy == "raise":
            raise ValueError(
                f"`{self.reader}` found {len(bad)} cell(s) that cannot be read:\n"
                f"{listing(bad)}\n"
                f"Paths are relative to {str(root)!r}: mend the table or `root`, or "
                f'pass on_bad_row="absent" to take such cells as missing.'
            )
        self.note(bad)
        _log.warning(
            "%d cell(s) cannot be read and are taken as absent:\n%s",
            len(bad),
            listing(bad),
        )

    def while_reading(self, bad, wanted):
        """Takes a cell that did not decode: an error, or a note the first time."""
        if self.policy == "raise":
            raise ValueError(
                f"`{self.reader}` cannot read {bad} [wanted: {wanted}]. Mend the file, "
                f'drop the row, or pass on_bad_row="absent".'
            ) from None
        if self.note([bad]) and len(self._seen) <= _SHOWN:
            _log.warning("taken as absent: %s", bad)

    def note(self, bad):
        """Appends what is not yet listed: one note a cell, however many epochs."""
        with self._lock:
            new = [x for x in bad if str(x) not in self._seen]
            self._seen.update(map(str, new))
            self.found.extend(new)
        return new


def listing(items):
    """The first ten of many things, one a line."""
    lines = [f"  {x}" for x in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  ... and {len(items) - _SHOWN} more")
    return "\n".join(lines)


def row_text(row, label):
    """A row by its position and, where that differs, its label in the index."""
    return (
        f"row {row}"
        if label is None or label == row
        else f"row {row} (index {label!r})"
    )


def rows_text(rows, index):
    """Several rows: the first ten by name, and their number."""
    named = ", ".join(row_text(int(i), _label(index, i)) for i in rows[:_SHOWN])
    more = ", ..." if len(rows) > _SHOWN else ""
    return f"{named}{more} ({len(rows)} in all)"


def to_csv(found):
    """A list of `BadRow` as the text of a CSV: row, column, path and reason.

    The row is its label in the table's index, which stays where only some rows of a
    table are read.
    """
    import pandas

    table = pandas.DataFrame(found, columns=BadRow._fields)
    table["row"] = table.pop("index")
    return table.to_csv(index=False)


def short(cell):
    """A cell as `repr` has it; of one that is longer than a path the begin alone."""
    text = repr(cell)
    return text if len(text) <= _LONG else f"{text[:80]}... ({len(text):,} characters)"


def _named(path):
    """A path in quotes; a place in a shard as it says itself."""
    return short(path) if isinstance(path, str) else str(path)


def _label(index, row):
    """A row's label in the index, as a plain Python value."""
    label = index[int(row)]
    return label.item() if isinstance(label, np.generic) else label


def reason(error):
    """An exception's message in one line, without TensorFlow's decoration."""
    text = getattr(error, "message", None) or getattr(error, "strerror", None)
    text = text or str(error)
    if "Detected at node" in text:  # a compiled function: the cause comes last
        text = text.split("\n\n")[-1]
    text = re.sub(r"\[\[.*?\]\]|\{\{.*?\}\}|\[Op:.*?\]", "", text)
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
