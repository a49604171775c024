"""What the frame of a picture tells, against Pillow's files and the decoders."""

import io
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mmkeras.image import Pixels, headers

WIDTH, HEIGHT = 61, 43  # odd: rows of a BMP are padded
CONTRACT = Pixels((8, 8), max_pixels=1_000_000)


@pytest.fixture(scope="module")
def ask():
    run = tf.function(CONTRACT.refusal, input_signature=[tf.TensorSpec([], tf.string)])

    def asked(raw):
        return run(tf.constant(raw)).numpy().decode()

    return asked


def encoded(form, mode="RGB", frames=1, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (frames, HEIGHT, WIDTH, 3))
    pictures = [Image.fromarray(x.astype("uint8")).convert(mode) for x in pixels]
    if frames > 1:
        options |= {"save_all": True, "append_images": pictures[1:]}
    file = io.BytesIO()
    pictures[0].save(file, form, **options)
    return file.getvalue()


GOOD = {
    **{f"png {mode}": encoded("png", mode) for mode in ("L", "RGB", "RGBA", "P", "1")},
    **{f"jpeg {mode}": encoded("jpeg", mode) for mode in ("L", "RGB", "CMYK")},
    "progressive": encoded("jpeg", progressive=True),
    "camera": encoded("jpeg", exif=b"Exif\0\0" + b"\xff\xd9\xff\xc0" * 900),
    "appended": encoded("jpeg") + b"what some telephones add" * 5000,
    **{f"bmp {mode}": encoded("bmp", mode) for mode in ("L", "RGB", "RGBA")},
    "gif": encoded("gif"),
    "animation": encoded("gif", frames=7),
    "webp": encoded("webp"),
    "lossless": encoded("webp", lossless=True),
    "extended": encoded("webp", "RGBA", exif=b"Exif\0\0"),
}


def segments(jpeg):
    """Where a JPEG's segments begin, up to the one with its size."""
    at, found = 2, []
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        found.append(at)
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return [*found, at]


def put(jpeg, at, extra):
    return jpeg[:at] + extra + jpeg[at:]


_JPEG = encoded("jpeg", exif=b"Exif\0\0" + bytes(30))
#: libjpeg warns of these bytes between two segments, and reads on.
STRAY = {
    # behind the first, without which it is no JPEG for TensorFlow
    **{f"at {at}": put(_JPEG, at, b"\x07") for at in segments(_JPEG)[1:]},
    "many": put(_JPEG, segments(_JPEG)[2], b"\x07" * 9000),
    "stuffed": put(_JPEG, segments(_JPEG)[2], b"\xff\0\xff\0\7\xff"),
    "fill": put(_JPEG, segments(_JPEG)[2], b"\xff" * 700),
    "marker alone": put(_JPEG, segments(_JPEG)[2], b"\xff\xd3\xff\x01"),
    "segments": put(_JPEG, segments(_JPEG)[2], b"\xff\xfe\0\3\7" * 400),
    "edge": put(_JPEG, segments(_JPEG)[2], b"\x07" * (headers._WINDOW - 1)),
}


@pytest.mark.parametrize("name", STRAY)
def test_stray_bytes_are_skipped_as_libjpeg_does(ask, name):
    assert ask(STRAY[name]) == ""
    found = CONTRACT.compiled_read(tf.constant([STRAY[name], _JPEG])).numpy()
    np.testing.assert_array_equal(found[0], found[1])
    vast = bytearray(STRAY[name])
    place = vast.index(b"\xff\xc0")
    vast[place + 5 : place + 9] = struct.pack(">HH", 2000, 3000)
    assert ask(bytes(vast)).startswith("it has 3000 x 2000 pixels, more than")
    assert ask(STRAY[name][:-20]) == "it is cut off"


def test_garbage_ends(ask):
    start = time.perf_counter()
    endless = b"\xff\xd3", b"\xff\xe0\0\0", b"\xff\xfe\0\3\7"
    for filling in (b"\x07", b"\xff\0", b"\xff", b"\xff\xd9", *endless):
        raw = b"\xff\xd8\xff\xe0\0\2" + filling * (2_000_000 // len(filling))
        # of more segments than are looked through the decoder must say
        told = (
            ("",) if filling in endless else ("it is cut off", "its header is broken")
        )
        assert ask(raw) in told
        with pytest.raises(tf.errors.InvalidArgumentError):
            CONTRACT.compiled_read(tf.constant([raw]))
    assert time.perf_counter() - start < 20
    many = put(_JPEG, segments(_JPEG)[2], b"\xff\xfe\0\3\7" * 700)
    assert ask(many) == ""
    CONTRACT.compiled_read(tf.constant([many]))


@pytest.mark.parametrize("name", GOOD)
def test_what_reads_is_not_refused(ask, name):
    assert ask(GOOD[name]) == ""
    CONTRACT.compiled_read(tf.constant([GOOD[name]]))


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"appended"}))
def test_what_is_cut_is_refused_where_it_does_not_read(ask, name):
    raw = GOOD[name]
    last = range(len(raw) - 13, len(raw))
    for end in (3, 9, 20, 31, len(raw) // 3, len(raw) // 2, len(raw) - 60, *last):
        if ask(raw[:end]) == "":  # an animation, for its first frame
            CONTRACT.compiled_read(tf.constant([raw[:end]]))


def test_sizes_that_are_stated(ask):
    many = (WIDTH, HEIGHT)
    for name in ("png RGB", "gif", "bmp RGB", "webp", "lossless", "extended"):
        assert headers.promised_pixels(tf.constant(GOOD[name])) == many[0] * many[1]
    vast = bytearray(GOOD["bmp RGB"])
    vast[18:26] = struct.pack("<ii", 3000, -2000)  # from top to bottom
    assert ask(bytes(vast)).startswith("it has 3000 x 2000 pixels, more than")
    # 16,383 x 16,384 in 14 bits each, of which nothing else need be true
    lossless = b"RIFF\x40\0\0\0WEBPVP8L\x38\0\0\0\x2f" + struct.pack(
        "<I", 16382 | 16383 << 14
    )
    assert ask(lossless + bytes(60)).startswith("it has 16383 x 16384 pixels")


def test_frames_of_a_gif(ask):
    """A screen of one pixel does not hide what its frames promise."""
    screen = b"GIF89a\1\0\1\0\0\0\0"
    frame = b",\0\0\0\0\xff\xff\xff\xff\0\2\1a\0"
    told = "it has more frames than fit into memory"
    assert ask(screen + frame + b";") == told
    assert ask(screen + b"!\xfe\0" * 30_000 + b";") == told
    assert ask(screen + b"!\xfe" + b"\1a" * 30_000 + b"\0;") == "it is cut off"


def test_no_picture(ask):
    for raw in (b"x", b"\x89PNG", b"GIF", b"RIFF\0\0\0\0WAVE", bytes(100)):
        assert ask(raw) == "it is no JPEG, PNG, GIF, BMP or WebP file"
    assert ask(b"\xff\xd8\xff\xd8" + bytes(50)) == "its header is broken"
    assert ask(b"\xff\xd8" + b"\xff" * 5000) != ""
