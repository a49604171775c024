"""Encoded pictures to RGB or RGBA, in TensorFlow core ops that any server has.

The size is read from the header first, so that a few bytes that promise a picture of
10 gigapixels are refused before memory is asked for.
"""

from mmkeras.image import headers

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_HEADER = 32
_ALPHA = 4  # a PNG's colour types from here on have opacity


def decode(raw, max_pixels):
    """Encoded bytes to uint8 `(height, width, 3 or 4)`, the fourth channel opacity.

    Three where the format has no opacity: nobody need look for it or cut it off.

    Args:
        raw: scalar tf.string.
        max_pixels: Integer, larger pictures are refused.

    Raises:
        tf.errors.InvalidArgumentError: no picture, cut off, or too large.
    """
    import tensorflow as tf

    with tf.control_dependencies([_check(_promised_pixels(raw), max_pixels)]):
        raw = tf.identity(raw)
    picture = tf.cond(
        _starts(raw, _PNG),
        lambda: _decode_png(raw),
        lambda: tf.cond(
            _starts(raw, b"RIFF"), lambda: _decode_webp(raw), lambda: _decode_rgb(raw)
        ),
    )
    picture = tf.ensure_shape(picture, (None, None, None))
    # what TensorFlow may learn to decode has no header that is read above
    decoded = tf.cast(tf.reduce_prod(tf.shape(picture)[:2]), tf.int64)
    with tf.control_dependencies([_check(decoded, max_pixels)]):
        return tf.identity(picture)


def _decode_png(raw):
    """PNG of any colour type; alpha and tRNS are kept."""
    import tensorflow as tf

    header = _bytes(raw, 24, 2)
    depth, colour_type = header[0], header[1]
    opacity = (colour_type >= _ALPHA) | headers.holds(raw, 8, b"tRNS")
    return tf.cond(
        opacity,
        lambda: _decode_transparent_png(raw, depth, colour_type),
        lambda: tf.io.decode_png(raw, channels=3),
    )


def _decode_transparent_png(raw, depth, colour_type):
    import tensorflow as tf

    rgba = tf.io.decode_png(raw, channels=4)

    # grey of 1, 2 or 4 bits comes with an opacity of 1, 3 or 15 where it means opaque
    def of_few_bits():
        opaque = tf.cast(tf.bitwise.left_shift(1, depth) - 1, tf.uint8)
        alpha = tf.where(
            rgba[..., 3:] == opaque, tf.constant(255, tf.uint8), rgba[..., 3:]
        )
        return tf.concat([rgba[..., :3], alpha], axis=-1)

    return tf.cond((colour_type == 0) & (depth < 8), of_few_bits, lambda: rgba)


def _decode_webp(raw):
    """WebP, with or without alpha: the op refuses to convert between them."""
    import tensorflow as tf

    return tf.io.decode_image(raw, expand_animations=False)


def _decode_rgb(raw):
    import tensorflow as tf

    return tf.io.decode_image(raw, channels=3, expand_animations=False)


def _promised_pixels(raw):
    """Height times width as the header says, int64; 1 where no header is known."""
    import tensorflow as tf

    def jpeg():
        shape = tf.cast(tf.image.extract_jpeg_shape(raw), tf.int64)
        return shape[0] * shape[1]

    def others():
        return headers.promised_pixels(raw)

    return tf.cond(_starts(raw, _JPEG), jpeg, others)


def _check(pixels, max_pixels):
    import tensorflow as tf

    return tf.debugging.assert_less_equal(
        pixels,
        tf.constant(max_pixels, tf.int64),
        message=f"the picture has more than `max_pixels` = {max_pixels} pixels",
    )


def _starts(raw, magic):
    import tensorflow as tf

    return tf.strings.substr(raw, 0, len(magic)) == magic


def _bytes(raw, start, count):
    """Bytes of the header as int32; zeros where the data end before."""
    import tensorflow as tf

    padded = tf.strings.join([tf.strings.substr(raw, 0, _HEADER), b"\0" * _HEADER])
    part = tf.strings.substr(padded, start, count)
    return tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int32)
