"""WAV files in TensorFlow core ops, for tf.data and for serving.

`tf.audio.decode_wav` takes 16-bit PCM alone. Here: PCM of 8, 16, 24 and 32 bits and
float of 32 and 64, plain or WAVE_FORMAT_EXTENSIBLE, any number of channels (their mean
is taken), any chunks before the data. The rest is refused with a message.
"""

import functools
import operator
import struct
import typing

import numpy as np

from mmkeras.octets import numbers, octets

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
#: A program that writes to a pipe knows no size and states one beyond this.
_STREAMED = 0x7FFFF000
#: Chunks that are looked through for the data: millions of empty ones take minutes.
_CHUNKS = 1000
_KINDS = "PCM of 8, 16, 24 or 32 bits, or float of 32 or 64"


class Header(typing.NamedTuple):
    """What a WAV file says of itself: int64 scalar tensors, `wave` a bool one."""

    wave: object  # RIFF and WAVE, with a format and a data chunk
    format: object  # 1 PCM, 3 float
    channels: object
    sampling_rate: object  # Hz
    bits: object  # a sample
    block: object  # bytes of one sample of all channels, as stated
    start: object  # byte where the data begin
    stated: object  # bytes of data by the header
    there: object  # bytes of data in the file


def header(raw):
    """Walks the chunks of a WAV file up to its data.

    Args:
        raw: scalar tf.string tensor, the whole file.

    Returns:
        `Header`; its numbers are 0 where the file does not hold them.
    """
    import tensorflow as tf

    length = tf.cast(tf.strings.length(raw), "int64")
    none = tf.constant(-1, "int64")

    def more(at, form, data, chunks):
        return (data < 0) & (at + 8 <= length) & (chunks < _CHUNKS)

    def step(at, form, data, chunks):
        name, size = numbers(octets(raw, at, 8), [(0, 4), (4, 4)])
        form = tf.where(name == _of(b"fmt "), at + 8, form)
        data = tf.where(name == _of(b"data"), at + 8, data)
        # a chunk of odd size is padded
        return at + 8 + size + size % 2, form, data, chunks + 1

    first = tf.constant(12, "int64")
    start = (first, none, none, tf.constant(0))
    _, form, data, _ = tf.while_loop(more, step, start)
    riff, wave = numbers(octets(raw, 0, 12), [(0, 4), (8, 4)])
    riff = (riff == _of(b"RIFF")) & (wave == _of(b"WAVE"))
    fields = [(0, 2), (2, 2), (4, 4), (14, 2), (12, 2), (24, 2)]
    found = numbers(octets(raw, tf.maximum(form, 0), 26), fields)
    code, channels, rate, bits, block, extended = found
    (stated,) = numbers(octets(raw, tf.maximum(data - 4, 0), 4), [(0, 4)])
    stated = tf.where(data < 0, none + 1, stated)
    return Header(
        wave=riff & (form >= 0) & (data >= 0),
        format=tf.where(code == _EXTENSIBLE, extended, code),
        channels=channels,
        sampling_rate=rate,
        bits=bits,
        block=block,
        start=data,
        stated=stated,
        there=tf.minimum(stated, length - tf.maximum(data, 0)),
    )


def header_of(file):
    """`header` in Python, of an open file: only the chunks' heads are read.

    Args:
        file: binary file that can seek.

    Returns:
        `Header` of Python integers.
    """
    length = file.seek(0, 2)

    def number(at, size):
        file.seek(min(at, length))
        return int.from_bytes(file.read(size), "little")

    def name(at):
        file.seek(min(at, length))
        return file.read(4)

    at, form, data, chunks = 12, -1, -1, 0
    while data < 0 and at + 8 <= length and chunks < _CHUNKS:
        if name(at) == b"fmt ":
            form = at + 8
        elif name(at) == b"data":
            data = at + 8
        size = number(at + 4, 4)
        at += 8 + size + size % 2
        chunks += 1
    first = max(form, 0)
    code = number(first, 2)
    stated = number(data - 4, 4) if data >= 0 else 0
    return Header(
        wave=name(0) == b"RIFF" and name(8) == b"WAVE" and form >= 0 and data >= 0,
        format=number(first + 24, 2) if code == _EXTENSIBLE else code,
        channels=number(first + 2, 2),
        sampling_rate=number(first + 4, 4),
        bits=number(first + 14, 2),
        block=number(first + 12, 2),
        start=data,
        stated=stated,
        there=min(stated, length - max(data, 0)),
    )


def holds(head, sampling_rate):
    """What must hold of a WAV file: five bools, or bool tensors, as `head` is.

    Args:
        head: `Header`, of tensors or of Python integers.
        sampling_rate: Integer, the wanted rate in Hz.
    """
    known = [_kind(head) == key for key, _ in _decoders()]
    fits = head.block == head.channels * head.bits // 8
    return [
        head.wave,
        functools.reduce(operator.or_, known) & (head.channels > 0) & fits,
        (head.stated <= head.there) | (head.stated >= _STREAMED),
        head.there >= head.block,
        head.sampling_rate == sampling_rate,
    ]


def reasons(head, sampling_rate):
    """What to say where one of `holds` does not hold: tf.string scalars."""
    import tensorflow as tf

    def text(*parts):
        parts = [x if isinstance(x, str) else tf.strings.as_string(x) for x in parts]
        return tf.strings.join(parts)

    kind = (head.format, ", ", head.bits, " bits, ", head.channels, " channels, ")
    return [
        text("it is not a WAV file (RIFF, format chunk, data chunk)"),
        text(f"it wants {_KINDS}. Received: WAV format ", *kind, head.block, " bytes"),
        text("it is truncated: ", head.there, " of ", head.stated, " data bytes"),
        text("it holds 0 samples"),
        text(f"it wants {sampling_rate} Hz. Received: ", head.sampling_rate, " Hz"),
    ]


def samples(raw, head, limit):
    """The mean of the channels, as float32 in [-1, 1]; all of `holds` must hold.

    Args:
        raw: scalar tf.string tensor, the whole file.
        head: `Header` of it.
        limit: Integer, how many samples to read at most.

    Returns:
        float32 tensor `(n,)`, n <= limit.
    """
    import tensorflow as tf

    block = tf.maximum(head.block, 1)  # a graph may run this before it refuses
    count = tf.minimum(head.there // block, limit)
    data = tf.strings.substr(raw, head.start, count * block)
    decoders = _decoders()
    which = tf.argmax(tf.cast(_kind(head) == [key for key, _ in decoders], "int32"))

    def branch(decode):
        return lambda: decode(data)

    flat = tf.switch_case(
        tf.cast(which, "int32"), [branch(decode) for _, decode in decoders]
    )
    return tf.reduce_mean(tf.reshape(flat, tf.stack([count, head.channels])), axis=1)


def decode(raw, sampling_rate, limit):
    """Reads a WAV file in a graph; refuses what does not fit with a message.

    Args:
        raw: scalar tf.string tensor, the whole file.
        sampling_rate: Integer, the wanted rate in Hz.
        limit: Integer, how many samples to read at most.

    Returns:
        float32 tensor `(n,)`, n <= limit.

    Raises:
        tf.errors.InvalidArgumentError: see `reasons`; or a sample is not finite.
    """
    import tensorflow as tf

    head = header(raw)
    found = holds(head, sampling_rate), reasons(head, sampling_rate)
    with tf.control_dependencies(_refuse(zip(*found, strict=True))):
        wave = samples(tf.identity(raw), head, limit)
    finite = tf.reduce_all(tf.math.is_finite(wave))
    with tf.control_dependencies(_refuse([(finite, "a sample is NaN or infinite")])):
        return tf.identity(wave)


def refusal(raw, sampling_rate, limit):
    """Why `decode` refuses a file, as a scalar tf.string; "" where it does not.

    Args as `decode`.
    """
    import tensorflow as tf

    head = header(raw)
    held = holds(head, sampling_rate)
    why = tf.constant("")
    for fine, reason in zip(held, reasons(head, sampling_rate), strict=True):
        why = tf.where((why == "") & ~tf.convert_to_tensor(fine), reason, why)

    def finite():
        wave = samples(raw, head, limit)
        whole = tf.reduce_all(tf.math.is_finite(wave))
        return tf.where(whole, "", "a sample is NaN or infinite")

    def told():
        return why

    # numbers of 16 bits and the like cannot be NaN
    return tf.cond((why == "") & (head.format == _FLOAT), finite, told)


def encode_wav(samples, sampling_rate, subtype="float"):
    """Writes samples as the bytes of a WAV file.

    Example:
    >>> raw = mmkeras.audio.encode_wav(np.zeros(16000), 16000, subtype="pcm16")
    >>> len(raw)
    32044

    Args:
        samples: float array `(samples,)` or `(samples, channels)`, in [-1, 1].
        sampling_rate: Integer, in Hz.
        subtype: "float" (32 bits, exact) or "pcm16" (rounded, clipped at the ends).

    Returns:
        bytes.
    """
    samples = np.asarray(samples, "float32")
    if samples.ndim not in (1, 2):
        raise ValueError(
            f"`samples` wants shape (samples,) or (samples, channels). Received: "
            f"shape {samples.shape}. Write one clip at a time."
        )
    if subtype == "pcm16":
        code, bits = _PCM, 16
        data = np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2")
    elif subtype == "float":
        code, bits, data = _FLOAT, 32, samples.astype("<f4")
    else:
        raise ValueError(
            f"`subtype` wants 'float' or 'pcm16'. Received: subtype={subtype!r}"
        )
    channels = samples.shape[1] if samples.ndim == 2 else 1
    block = channels * bits // 8
    rate = int(sampling_rate)
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits)
    body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"data", data.tobytes())
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _refuse(wanted):
    import tensorflow as tf

    return [
        # in eager mode an assertion that holds is None
        x
        for x in (
            tf.debugging.Assert(holds, ["`Waveform` cannot read the clip:", why])
            for holds, why in wanted
        )
        if x is not None
    ]


def _of(name):
    """Four bytes as a number."""
    return int.from_bytes(name, "little")


def _kind(head):
    return 100 * head.format + head.bits


def _decoders():
    """Pairs of (100 * format + bits, function of the data bytes)."""
    return [
        (108, _pcm8),
        (116, _pcm16),
        (124, _pcm24),
        (132, _pcm32),
        (332, _float32),
        (364, _float64),
    ]


def _pcm8(data):
    return (_raw(data, "uint8") - 128.0) / 128.0


def _pcm16(data):
    return _raw(data, "int16") / 32768.0


def _pcm24(data):
    import tensorflow as tf

    octets = tf.reshape(tf.io.decode_raw(data, "uint8"), (-1, 3))
    low, middle, high = tf.unstack(tf.cast(octets, "int32"), axis=1)
    value = low + 256 * middle + 65536 * (high - 256 * (high // 128))
    return tf.cast(value, "float32") / 8388608.0


def _pcm32(data):
    return _raw(data, "int32") / 2147483648.0


def _float32(data):
    return _raw(data, "float32")


def _float64(data):
    return _raw(data, "float64")


def _raw(data, dtype):
    import tensorflow as tf

    return tf.cast(tf.io.decode_raw(data, dtype), "float32")
