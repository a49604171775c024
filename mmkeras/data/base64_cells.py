"""Files that stand in a table itself, as base64: in JSON lines there are no bytes."""

import base64
import binascii
import re

#: How base64 begins of PNG, JPEG, GIF, WebP and WAV, OGG, FLAC, and MP3 with its tag.
_BEGINS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "T2dnU", "ZkxhQ", "SUQz")
_LEAST = 64  # characters: no path begins so, and has neither dot nor so few
_ALPHABET = re.compile(r"[A-Za-z0-9+/\s]+=?\s*=?\s*")
_URI = re.compile(r"data:[^,]{0,100};base64,", re.IGNORECASE)


def is_base64(cell):
    """Whether a string is a file in base64: a data URI, or one known by its begin.

    Example:
    >>> mmkeras.data.base64_cells.is_base64("data:image/png;base64,iVBORw0KGgo=")
    True
    >>> mmkeras.data.base64_cells.is_base64("photos/1.png")
    False
    """
    if _URI.match(cell):
        return True
    begins = cell.startswith(_BEGINS) and len(cell) >= _LEAST
    return begins and _ALPHABET.fullmatch(cell) is not None


def decoded(cell):
    """The bytes of such a string.

    Raises:
        ValueError: it is no base64.
    """
    found = _URI.match(cell)
    text = "".join(cell[found.end() if found else 0 :].split())
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"it is no base64: {error}") from error
