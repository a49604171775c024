"""Cells of a table as something to look at and listen to, inside a page."""

import io
import os
from pathlib import Path
from urllib.parse import quote

from mmkeras.analysis.pages.html import Markup, data_uri, markup

#: Longer side of a small picture, in pixels.
SIDE = 160
#: Bytes of a sound that stands in the page; a longer one is a link.
SOUND = 400_000
# the head of a file, where in it, its kind
_SOUNDS = (
    (b"WAVE", 8, "audio/wav"),
    (b"OggS", 0, "audio/ogg"),
    (b"fLaC", 0, "audio/flac"),
    (b"ID3", 0, "audio/mpeg"),
    (b"\xff\xfb", 0, "audio/mpeg"),
    (b"\xff\xf3", 0, "audio/mpeg"),
    (b"ftyp", 4, "audio/mp4"),
)


def cell(value, kind, name, folder, cap=SOUND):
    """A cell of a modality as `Markup`.

    A picture becomes a small one, a sound a player, each inside the page; what cannot
    be read, or is larger than `cap`, is told by its name, local files by a link.

    Args:
        value: path, bytes, or None where absent.
        kind: "image" or "audio".
        name: what to call it: the cell's text.
        folder: of the page, where links start from.
        cap: Integer, bytes.
    """
    if value is None:
        return Markup("<em>absent</em>")
    name = _short(name)
    data = _bytes(value, cap if kind == "audio" else None)
    made = None
    if data is not None:
        made = _picture(data, name) if kind == "image" else _sound(data, name)
    return made or _link(value, name, folder)


def _picture(data, name):
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = opened.convert("RGBA")
    except Exception:  # a file of any kind, by a library of many
        return None
    small.thumbnail((SIDE, SIDE))
    ground = Image.new("RGBA", small.size, "white")
    written = io.BytesIO()
    Image.alpha_composite(ground, small).convert("RGB").save(
        written, "JPEG", quality=85
    )
    source = data_uri(written.getvalue(), "image/jpeg")
    return Markup(f'<img src="{source}" alt="{markup(name)}">')


def _sound(data, name):
    kind = next((x for head, at, x in _SOUNDS if data[at:].startswith(head)), None)
    if kind is None:
        return None
    source = data_uri(data, kind)
    return Markup(
        f'<audio controls preload="metadata" src="{source}" '
        f'aria-label="{markup(name)}"></audio>'
    )


def _bytes(value, cap):
    """What a local file or a cell holds; None where it is not there, or too large."""
    if isinstance(value, bytes):
        return value if cap is None or len(value) <= cap else None
    try:
        path = Path(value)
        if cap is not None and path.stat().st_size > cap:
            return None
        return path.read_bytes()
    except (OSError, ValueError):
        return None


def _link(value, name, folder):
    if isinstance(value, bytes) or "://" in str(value) or not os.path.isfile(value):
        return markup(name)  # nothing to follow
    try:
        place = os.path.relpath(value, folder).replace(os.sep, "/")
    except ValueError:  # on another drive
        return markup(name)
    # "./" before it: no file's name reads as a scheme
    return Markup(f'<a href="./{quote(place)}">{markup(name)}</a>')


def _short(name):
    if isinstance(name, bytes | bytearray | memoryview):
        return f"{len(name)} bytes"
    name = str(name)
    return name if len(name) <= 120 else f"{name[:60]} ... {name[-50:]}"
