"""Files that stand in a table itself, as base64: in JSON lines there are no bytes."""

import base64
import binascii
import re

#: How base64 begins of PNG, JPEG, GIF, BMP, WebP and WAV, OGG, FLAC, MP3 with its tag.
_BEGINS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "Qk0", "Qk1", "Qk2", "Qk3", "UklGR")
_BEGINS += ("T2dnU", "ZkxhQ", "SUQz")
_LEAST = 64  # characters: no path begins so, and has neither dot nor so few
# of MP3 without its tag, which begins as a path may: with a slash, which one frame
# of sound is longer than
_LEAST_SOUND = 256
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
    begins = begins or (len(cell) >= _LEAST_SOUND and _is_mpeg(cell))
    return begins and _ALPHABET.fullmatch(cell) is not None


def _is_mpeg(cell):
    """Whether it begins with the head of an MPEG audio frame, as MP3 without a tag.

    11 bits of 1, then a version other than 1, a layer other than 0, a bit rate other
    than 15 and a sampling rate other than 3, which mean nothing.
    """
    if not cell.startswith(("//", "/+")):
        return False
    try:
        head = int.from_bytes(base64.b64decode(cell[:4], validate=True))
    except binascii.Error:
        return False
    version, layer = head >> 11 & 3, head >> 9 & 3
    rate, sampling = head >> 4 & 15, head >> 2 & 3
    return version != 1 and layer != 0 and rate != 15 and sampling != 3


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
