"""Windows and mel filter banks as arrays, and their product without its zeros."""

import numpy as np
from keras import ops

#: Most of the mel matrix is zeros: from this n_fft on it is multiplied in blocks.
_BLOCKS = {256: 2, 1024: 4}
#: The same where the matrix is to take little room in a file.
_SMALL_BLOCKS = {256: 4, 1024: 16}

TRIANGLES = ("hz", "mel")
#: Kaldi's own window, a Hann window to this power: between Hann and Hamming.
_POVEY = 0.85


def window(name, length, periodic=True):
    """Window of `length` samples, float64: "povey", or one of `scipy.signal`'s.

    Args:
        name: what `scipy.signal.get_window` takes, or "povey" (Kaldi's).
        length: Integer, in samples.
        periodic: whether sample `length` would be the first again (scipy, librosa,
            tf.signal) in place of the last being its mirror (Kaldi, HTK).
    """
    from scipy.signal import get_window

    if name == "povey":
        return get_window("hann", length, fftbins=periodic) ** _POVEY
    return get_window(name, length, fftbins=periodic)


def mel_filters(
    sampling_rate, n_fft, num_mel_bins, fmin, fmax, htk, norm, triangles="hz"
):
    """Mel filter bank as a matrix `(n_fft // 2 + 1, num_mel_bins)`, float32.

    The corners of the triangles are equally spaced in mel; between them the weights
    fall linearly in Hz (librosa) or in mel (HTK, Kaldi, tf.signal, YAMNet).
    """
    import librosa

    if triangles == "hz":
        return librosa.filters.mel(
            sr=sampling_rate,
            n_fft=n_fft,
            n_mels=num_mel_bins,
            fmin=fmin,
            fmax=fmax,
            htk=htk,
            norm=norm,
        ).T
    fmax = sampling_rate / 2 if fmax is None else fmax
    ends = librosa.hz_to_mel([fmin, fmax], htk=htk)
    corners = np.linspace(*ends, num_mel_bins + 2)
    bins = np.arange(n_fft // 2 + 1) * sampling_rate / n_fft
    bins = librosa.hz_to_mel(bins, htk=htk)[:, None]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    up, down = (bins - left) / (middle - left), (right - bins) / (right - middle)
    weights = np.maximum(np.minimum(up, down), 0)
    if norm == "slaney":
        hertz = librosa.mel_to_hz(corners, htk=htk)
        weights = weights * (2 / (hertz[2:] - hertz[:-2]))
    return weights.astype("float32")


def in_blocks(mel, n_fft, turns=()):
    """The mel matrix as lists of (first row, end row, block), a list a group of bands.

    Args:
        mel: array `(bins, num_mel_bins)`.
        n_fft: Integer.
        turns: rows at which the order of the bins turns; a band has a block a piece.
    """
    table = _SMALL_BLOCKS if turns else _BLOCKS
    blocks = max((count for least, count in table.items() if n_fft >= least), default=1)
    if blocks == 1:
        return [[(0, len(mel), mel)]]
    groups = np.array_split(np.arange(mel.shape[1]), blocks)
    ends = [0, *turns, len(mel)]
    return [
        [
            _tight(mel[:, group], low, high)
            for low, high in zip(ends[:-1], ends[1:], strict=True)
        ]
        for group in groups
        if len(group)
    ]


def _tight(columns, low, high):
    """Columns of the mel matrix between two rows, without the zero rows at the ends."""
    rows = low + np.flatnonzero(columns[low:high].any(axis=1))
    low, high = (rows[0], rows[-1] + 1) if len(rows) else (low, low + 1)
    return int(low), int(high), columns[low:high]


def apply(blocks, spectrum):
    """Mel spectrum `(n, num_mel_bins)` of power spectra `(n, bins)`."""
    bands = []
    for pieces in blocks:
        parts = [ops.matmul(spectrum[:, low:high], x) for low, high, x in pieces]
        bands.append(sum(parts[1:], parts[0]))
    return bands[0] if len(bands) == 1 else ops.concatenate(bands, axis=-1)
