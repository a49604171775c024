"""Waveforms cut into overlapping frames, in `keras.ops`.

Arithmetic on lengths works on integers (a known length) and on tensors alike.
"""

import math
from numbers import Integral

import numpy as np
from keras import ops

#: Below this gcd of frame and hop, rows are so small that slices beat a gather: by 4 %
#: in a graph, by 40 % under XLA (400 / 160).
_SMALLEST_ROW = 256


def frame_count(samples, n_fft, hop_length, center=True):
    """How many frames a clip of `samples` has: 1 + samples // hop when centred.

    Args:
        samples: Integer, integer tensor, or None (unknown).
        n_fft: Integer, length of a frame in samples.
        hop_length: Integer, samples from one frame to the next.
        center: whether frame t is centred on sample t * hop_length.

    Returns:
        As `samples`.
    """
    if samples is None:
        return None
    padding = 2 * (n_fft // 2) if center else 0
    count = 1 + (samples + padding - n_fft) // hop_length
    # a clip shorter than a frame has none
    return _max(count, 0)


def _max(number, least):
    """The larger one of an integer, or an integer tensor, and `least`."""
    if isinstance(number, Integral):
        return max(number, least)
    return ops.maximum(number, least)


def blank_beyond(wave, lengths):
    """Zeros after each clip's end, whatever lay there (NaN too)."""
    rows, starts, places = _in_rows(wave)
    left = lengths[:, None] - starts
    rows = ops.where(places < left[:, :, None], rows, 0.0)
    if len(starts) == 1:
        return rows[:, 0]
    return ops.reshape(rows, (-1, len(starts) * len(places)))


def sound_length(wave):
    """The place of each wave's last sample that is not 0, plus 1: `(batch,)`, int32."""
    rows, starts, places = _in_rows(wave)
    ends = ops.max(ops.where(rows != 0, places, -1), axis=2) + 1
    return ops.max(ops.where(ends > 0, ends + starts, 0), axis=1)


def _in_rows(wave):
    """Waves cut into rows, so that places in them are few numbers in a file.

    Args:
        wave: tensor `(batch, samples)`; of unknown samples it is one row.

    Returns:
        `(batch, rows, length)`, where the rows start `(rows,)` and the places in a row
        `(length,)`, both int32.
    """
    samples = ops.shape(wave)[1]
    if not isinstance(samples, Integral) or samples < 1:
        places = ops.arange(samples, dtype="int32")
        return wave[:, None], np.zeros(1, "int32"), places
    count = max(i for i in range(1, math.isqrt(samples) + 1) if samples % i == 0)
    length = samples // count
    starts = np.arange(0, samples, length, dtype="int32")
    rows = ops.reshape(wave, (-1, count, length))
    return rows, starts, np.arange(length, dtype="int32")


def at_least(wave, samples):
    """Waves with zeros at their end where they have fewer than `samples`."""
    missing = samples - ops.shape(wave)[1]
    if isinstance(missing, Integral) and missing <= 0:
        return wave
    return ops.pad(wave, [[0, 0], [0, _max(missing, 0)]])


def samples_at(wave, lengths, place, pad_mode):
    """Samples of each clip at `place`, as if blanked beyond its end and padded.

    Args:
        wave: float tensor `(batch, samples)`.
        lengths: int32 tensor `(batch,)`, or None where all clips are full.
        place: int32 tensor `(n,)`, below 0 and beyond the end as well.
        pad_mode: "constant" or "reflect".

    Returns:
        float tensor `(batch, n)`.
    """
    wave = at_least(wave, 1)
    samples = ops.shape(wave)[1]
    if pad_mode == "constant":
        ends = samples if lengths is None else lengths[:, None]
        inside = ops.logical_and(place[None] >= 0, place[None] < ends)
        wave = ops.take(wave, ops.clip(place, 0, samples - 1), axis=1)
        return ops.where(inside, wave, 0.0)
    if lengths is None:
        return ops.take(wave, _mirror(place, samples), axis=1)
    index = _mirror(place[None], lengths[:, None])
    wave = ops.take_along_axis(wave, index, axis=1)
    return ops.where(lengths[:, None] > 0, wave, 0.0)


def pad_center(wave, lengths, n_fft, pad_mode):
    """Pads both ends by n_fft // 2: zeros, or each clip mirrored at its own ends.

    Args:
        wave: float tensor `(batch, samples)`, zero after each clip's end.
        lengths: int32 tensor `(batch,)`, or None where all clips are full.
        n_fft: Integer.
        pad_mode: "constant" or "reflect".

    Returns:
        float tensor `(batch, samples + 2 * (n_fft // 2))`.
    """
    half = n_fft // 2
    if pad_mode == "constant":
        return ops.pad(wave, [[0, 0], [half, half]])
    samples = ops.shape(wave)[1]
    place = ops.arange(-half, samples + half, dtype="int32")
    if lengths is None:
        return ops.take(wave, _mirror(place, samples), axis=1)
    index = _mirror(place[None], lengths[:, None])
    return ops.take_along_axis(wave, index, axis=1)


def first(frames, count):
    """The first `count` frames of `(batch, frames, dim)`."""
    if isinstance(count, Integral) and count == frames.shape[1]:
        return frames
    return frames[:, :count]


def _mirror(place, length):
    """Index in [0, length) of a signal reflected to and fro without its end points."""
    last = ops.maximum(length - 1, 0)
    period = ops.maximum(2 * last, 1)
    place = ops.mod(place, period)
    return ops.minimum(place, ops.maximum(period - place, 0) * ops.sign(last))


def by_clips(function, wave, lengths, size):
    """`function(wave, lengths)` of so many clips at a time, put together again.

    Args:
        function: gives `(clips, frames, dim)`.
        wave: float tensor `(batch, samples)`.
        lengths: int tensor `(batch,)`, or None.
        size: Integer, clips at a time.
    """
    batch = ops.shape(wave)[0]
    if isinstance(batch, Integral):
        size = max(min(size, batch), 1)
    pieces = _max((batch + size - 1) // size, 1)
    missing = pieces * size - batch
    parts = [ops.pad(wave, [[0, missing], [0, 0]])]
    parts[0] = ops.reshape(parts[0], (pieces, size, ops.shape(wave)[1]))
    if lengths is not None:
        parts.append(ops.reshape(ops.pad(lengths, [[0, missing]]), (pieces, size)))

    def piece(parts):
        return function(*parts) if len(parts) > 1 else function(*parts, None)

    found = ops.map(piece, tuple(parts))
    shape = ops.shape(found)
    return ops.reshape(found, (pieces * size, shape[2], shape[3]))[:batch]


def frame(wave, length, hop, slices=False):
    """Overlapping frames of a waveform.

    Args:
        wave: float tensor `(batch, samples)`.
        length: Integer, samples of a frame.
        hop: Integer, samples from one frame to the next.
        slices: whether to put slices side by side in place of gathering rows.

    Returns:
        float tensor `(batch * frames, length)` and the number of frames.
    """
    count = 1 + (ops.shape(wave)[1] - length) // hop
    row = math.gcd(length, hop)
    if slices or row < _SMALLEST_ROW:
        return _frame_by_slices(wave, length, hop, count), count
    rows, step = length // row, hop // row
    total = (count - 1) * step + rows
    wave = ops.reshape(wave[:, : total * row], (-1, total, row))
    first = ops.arange(count, dtype="int32") * step
    index = first[:, None] + np.arange(rows, dtype="int32")[None]
    return ops.reshape(ops.take(wave, index, axis=1), (-1, length)), count


def _frame_by_slices(wave, length, hop, count):
    """Rows of one hop, put side by side: for lengths with no large common divisor."""
    rows = -(-length // hop)
    total = count + rows - 1
    wave = ops.pad(wave, [[0, 0], [0, max(rows * hop - length, 0)]])
    wave = ops.reshape(wave[:, : total * hop], (-1, total, hop))
    pieces = [wave[:, i : i + count, : min(hop, length - i * hop)] for i in range(rows)]
    return ops.reshape(ops.concatenate(pieces, axis=-1), (-1, length))
