"""Numbers in the head of a file, in few TensorFlow core ops that raise nothing."""

import numpy as np


def octets(raw, at, count):
    """Bytes as int64 `(count,)`; zeros where the data end before.

    Args:
        raw: scalar tf.string tensor.
        at: Integer, or scalar integer tensor, 0 or more.
        count: Integer.
    """
    import tensorflow as tf

    length = tf.cast(tf.strings.length(raw), tf.int64)
    piece = tf.strings.substr(raw, tf.minimum(tf.cast(at, tf.int64), length), count)
    piece = tf.strings.join([piece, b"\0" * count])
    found = tf.io.decode_raw(piece, tf.uint8)[:count]
    return tf.cast(tf.ensure_shape(found, (count,)), tf.int64)


def numbers(found, fields):
    """Unsigned integers, a list of int64 scalars.

    Args:
        found: int64 tensor, as `octets` gives.
        fields: list of (first byte, bytes) of little-endian numbers, and with a third
            value, "big", of big-endian ones.
    """
    import tensorflow as tf

    return tf.unstack(vector(found, fields))


def vector(found, fields):
    """As `numbers`, one int64 tensor `(fields,)`."""
    import tensorflow as tf

    weights = np.zeros((len(fields), found.shape[0]), "int64")
    for row, (at, count, *order) in zip(weights, fields, strict=True):
        places = [256**i for i in range(count)]
        row[at : at + count] = places[::-1] if order == ["big"] else places
    return tf.linalg.matvec(tf.constant(weights), found)
