"""What an encoded picture's frame says against it, before anything is decoded.

A decoder that raises ends the request of a whole batch. These checks, in few TensorFlow
core ops that raise nothing, find most of such pictures first: no picture, too large,
cut off. What they cannot see is damage inside a compressed stream.
"""

from typing import NamedTuple

import numpy as np

from mmkeras.octets import numbers, octets, vector

_HEADER = 32


class _Format(NamedTuple):
    """Where a size stands: (first byte, bytes, order, divisor, modulus, added)."""

    start: bytes
    mark: bytes  # at byte 12
    width: tuple
    height: tuple


_WORD, _ALL = 2**32, 2**40
_FORMATS = {
    "png": _Format(
        b"\x89PNG\r\n\x1a\n",
        b"IHDR",
        (16, 4, "big", 1, _ALL, 0),
        (20, 4, "big", 1, _ALL, 0),
    ),
    "gif": _Format(
        b"GIF8", b"", (6, 2, "little", 1, _ALL, 0), (8, 2, "little", 1, _ALL, 0)
    ),
    "bmp": _Format(
        b"BM", b"", (18, 4, "little", 1, _ALL, 0), (22, 4, "little", 1, _ALL, 0)
    ),
    "webp": _Format(
        b"RIFF",
        b"VP8 ",
        (26, 2, "little", 1, 2**14, 0),
        (28, 2, "little", 1, 2**14, 0),
    ),
    "lossless": _Format(
        b"RIFF",
        b"VP8L",
        (21, 4, "little", 1, 2**14, 1),
        (21, 4, "little", 2**14, 2**14, 1),
    ),
    "extended": _Format(
        b"RIFF", b"VP8X", (24, 3, "little", 1, _ALL, 1), (27, 3, "little", 1, _ALL, 1)
    ),
    "jpeg": _Format(
        b"\xff\xd8\xff", b"", (0, 1, "big", 1, 1, 0), (0, 1, "big", 1, 1, 0)
    ),
}
_PLACES = {name: i for i, name in enumerate(_FORMATS)}
_UNKNOWN = len(_FORMATS)

#: Segments of a JPEG that are looked through for its size; cameras write about 20.
_SEGMENTS = 500
#: Bytes that are looked through at once for a JPEG's next marker.
_WINDOW = 4096
#: Blocks of a GIF, two or three a frame.
_BLOCKS = 20_000
#: A frame's pixel takes a byte while a GIF is read, that of a still picture 16 or more.
_GIF_FRAMES = 16
_IEND = b"IEND\xaeB`\x82"  # the last chunk of a PNG and its checksum
_NONE = "it is no JPEG, PNG, GIF, BMP or WebP file"
_BROKEN = "its header is broken"
_CUT = "it is cut off"
_BITS = "a BMP file wants 8, 24 or 32 bits a pixel"
_FRAMES = "it has more frames than fit into memory"
_REST = 2**31 - 1


def refusal(raw, max_pixels):
    """Why a picture cannot be decoded, as far as its frame tells.

    Args:
        raw: scalar tf.string, the encoded picture.
        max_pixels: Integer, larger pictures are refused.

    Returns:
        Scalar tf.string; "" where nothing speaks against it.
    """
    import tensorflow as tf

    head = octets(raw, 0, _HEADER)
    which = _which(head)
    width, height = tf.unstack(_sizes(head)[which])
    length = tf.cast(tf.strings.length(raw), tf.int64)
    offset, bits, riff = numbers(head, [(10, 4), (28, 2), (4, 4)])

    def png():
        return width, height, tf.where(holds(raw, 8, _IEND), "", _CUT)

    def gif():
        return width, height, _gif(raw, max_pixels)

    def bmp():
        end = offset + (bits * width + 31) // 32 * 4 * height
        known = (bits == 8) | (bits == 24) | (bits == 32)
        why = tf.where(end > length, _CUT, "")
        return width, height, tf.where(known, why, _BITS)

    def webp():
        return width, height, tf.where(riff + 8 > length, _CUT, "")

    def jpeg():
        return _jpeg(raw)

    def unknown():
        return width, height, tf.constant(_NONE)

    checks = {"png": png, "gif": gif, "bmp": bmp, "jpeg": jpeg}
    branches = [checks.get(name, webp) for name in _FORMATS]
    width, height, why = tf.switch_case(which, [*branches, unknown])
    why = tf.where(width * height == 0, tf.where(why == "", _BROKEN, why), why)
    large = width * height > tf.constant(max_pixels, tf.int64)
    told = tf.strings.format(
        "it has {} x {} pixels, more than `max_pixels` = " + str(max_pixels),
        (width, height),
    )
    return tf.where(large & (which < _UNKNOWN), told, why)


def promised_pixels(raw):
    """Pixels as the header of a PNG, GIF, BMP or WebP says, int64; else 1."""
    import tensorflow as tf

    head = octets(raw, 0, _HEADER)
    which = _which(head)
    pixels = tf.reduce_prod(_sizes(head)[which])
    return tf.where(which < _PLACES["jpeg"], pixels, 1)


def _which(head):
    """Place of a picture's format in `_FORMATS`, `_UNKNOWN` where it has none."""
    import tensorflow as tf

    wanted = np.full((len(_FORMATS), _HEADER), -1)
    for row, form in zip(wanted, _FORMATS.values(), strict=True):
        start = form.start + (b"\0\0\0\0WEBP" if form.start == b"RIFF" else b"")
        row[: len(start)] = [*start]
        row[12 : 12 + len(form.mark)] = [*form.mark]
        if form.start == b"RIFF":
            row[4:8] = -1
    same = tf.reduce_all((head == wanted) | (wanted < 0), axis=1)
    known = tf.concat([same, [True]], axis=0)
    return tf.argmax(tf.cast(known, tf.int32), output_type=tf.int32)


def _sizes(head):
    """Width and height as each format would have them, and 0 for an unknown one."""
    import tensorflow as tf

    both = [x for form in _FORMATS.values() for x in (form.width, form.height)]
    found = vector(head, [x[:3] for x in both])
    divisor, modulus, add = np.array([x[3:] for x in both], "int64").T
    found = found // divisor % modulus + add
    # of a BMP alone: negative where rows go from top to bottom
    signed = np.zeros(len(both), bool)
    signed[2 * _PLACES["bmp"] : 2 * _PLACES["bmp"] + 2] = True
    turned = signed & (found >= _WORD // 2)
    found = tf.where(turned, _WORD - found, found)
    return tf.pad(tf.reshape(found, (-1, 2)), [[0, 1], [0, 0]])


def _jpeg(raw):
    """Width, height and what speaks against a JPEG, segment by segment."""
    import tensorflow as tf

    def of(at):
        """Marker's first byte, marker, length, height, width of a segment."""
        found = octets(raw, at, 9)
        fields = [(0, 1), (1, 1), (2, 2, "big"), (5, 2, "big"), (7, 2, "big")]
        return numbers(found, fields)

    def is_marker(first, marker):
        return (first == 0xFF) & (marker != 0) & (marker != 0xFF)

    def has_size(marker):  # SOF0 to SOF15 but for DHT, JPG and DAC
        table = (marker == 0xC4) | (marker == 0xC8) | (marker == 0xCC)
        return (marker // 16 == 0xC) & ~table

    def ends(marker):  # SOI, EOI or SOS: no size comes after it
        return (marker >= 0xD8) & (marker <= 0xDA)

    def to_marker(at):
        """Bytes to the next marker; decoders skip what stands before it."""
        found = octets(raw, at, _WINDOW + 1)
        there = tf.cast(is_marker(found[:-1], found[1:]), tf.int32)
        far = tf.argmax(there, output_type=tf.int32)
        return tf.where(tf.reduce_any(there > 0), far, _WINDOW)

    def more(at, steps):
        first, marker, _, _, _ = of(at)
        stop = is_marker(first, marker) & (ends(marker) | has_size(marker))
        return ~stop & (at < size) & (steps < _SEGMENTS)

    def step(at, steps):
        first, marker, length, _, _ = of(at)
        far = 2 + tf.cast(tf.maximum(length, 2), tf.int32)
        # RST0 to RST7 and TEM stand alone
        far = tf.where((marker // 8 == 0xD0 // 8) | (marker == 1), 2, far)
        found = is_marker(first, marker)
        far = tf.cond(found, lambda: far, lambda: to_marker(at))
        return at + far, steps + tf.cast(found, tf.int32)

    size = tf.strings.length(raw)
    at, steps = tf.while_loop(more, step, (tf.constant(2), tf.constant(0)))
    first, marker, _, height, width = of(at)
    found = is_marker(first, marker) & has_size(marker)
    width, height = tf.where(found, width, 0), tf.where(found, height, 0)
    why = tf.where(holds(raw, at, b"\xff\xd9"), "", _CUT)
    why = tf.where(found, why, _BROKEN)
    why = tf.where(at + 9 > size, _CUT, why)
    # of more segments the decoder must judge, which asks for the size first as well
    given_up = ~found & (at < size) & (steps >= _SEGMENTS)
    one = tf.cast(given_up, tf.int64)
    return width + one, height + one, tf.where(given_up, "", why)


def _gif(raw, max_pixels):
    """What speaks against a GIF; its decoder keeps every frame, whatever is wanted."""
    import tensorflow as tf

    data = tf.io.decode_raw(raw, tf.uint8)
    size = tf.size(data)
    ends = _ends(data, size)

    def palette(flags):
        return tf.cast(tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0), tf.int32)

    def of(at):
        """First byte, width, height and flags of a block."""
        found = octets(raw, at, 10)
        return numbers(found, [(0, 1), (5, 2), (7, 2), (9, 1)])

    def more(at, pixels, frames, steps):
        first, _, _, _ = of(at)
        return ((first == 0x2C) | (first == 0x21)) & (steps < _BLOCKS)

    def step(at, pixels, frames, steps):
        first, width, height, flags = of(at)
        frame = first == 0x2C  # else an extension
        end = ends[tf.minimum(at + tf.where(frame, 11 + palette(flags), 2), size)]
        pixels += tf.where(frame, width * height, 0)
        frames += tf.cast(frame & (end < size), tf.int32)
        return end + 1, pixels, frames, steps + 1

    flags = octets(raw, 10, 1)[0]
    zero = tf.constant(0)
    start = (13 + palette(flags), tf.cast(zero, tf.int64), zero, zero)
    _, pixels, frames, steps = tf.while_loop(more, step, start)
    most = tf.constant(_GIF_FRAMES * max_pixels, tf.int64)
    why = tf.where(frames == 0, _CUT, "")
    return tf.where((pixels > most) | (steps >= _BLOCKS), _FRAMES, why)


def _ends(data, size):
    """For every byte: where the chain of sub-blocks that begins there ends.

    A sub-block is its length and as many bytes; one of length 0 ends the chain. Every
    round of jumps is twice as far as the one before.
    """
    import tensorflow as tf

    length = tf.pad(tf.cast(data, tf.int32), [[0, 1]])
    to = tf.minimum(tf.range(size + 1) + length + tf.cast(length > 0, tf.int32), size)

    def more(to, changed):
        return changed

    def twice(to, changed):
        further = tf.gather(to, to)
        return further, tf.reduce_any(further != to)

    return tf.while_loop(more, twice, (to, tf.constant(True)))[0]


def holds(raw, start, magic):
    """Whether these bytes stand somewhere from `start` on."""
    import tensorflow as tf

    start = tf.minimum(start, tf.strings.length(raw))
    rest = tf.strings.substr(raw, start, _REST)
    parts = tf.raw_ops.StringSplitV2(input=rest[None], sep=magic, maxsplit=1)
    return tf.size(parts.values) > 1
