"""Power spectra of real frames: by real FFT, or by two matrix products.

TFLite's RFFT wants a power of two and 400 is the usual length in speech; the matrix
form works for any length with plain products. With n = n1 n2, sample t = n2 a + b and
bin k = k1 + n1 k2 (Cooley and Tukey 1965):

X[k1 + n1 k2] = sum_b exp(-2 pi i (b k1 / n + b k2 / n2)) sum_a x[n2 a + b]
exp(-2 pi i a k1 / n1); k1 <= n1 / 2 is enough, as bin n - k has the power of bin k.
"""

import numpy as np
from keras import ops


class RealFFT:
    """|X|^2 of frames `(n, n_fft)`, bins 0 to n_fft // 2 in their order."""

    def __init__(self, n_fft):
        self.order = np.arange(n_fft // 2 + 1)

    def power(self, frames):
        real, imaginary = ops.rfft(frames)
        return ops.square(real) + ops.square(imaginary)


class MatrixDFT:
    """|X|^2 of frames `(n, n_fft)` by matrix products; bins as `order` says.

    `order[j]` is the bin of column j, -1 where the column repeats another.
    """

    def __init__(self, n_fft):
        small = max(i for i in range(1, int(n_fft**0.5) + 1) if n_fft % i == 0)
        large = n_fft // small
        half = small // 2 + 1
        self._sizes = (small, large, half)
        angle = 2 * np.pi * np.outer(np.arange(half), np.arange(small)) / small
        self._first = np.concatenate([np.cos(angle), -np.sin(angle)]).astype("float32")
        k1 = np.arange(half)[:, None, None]
        b = np.arange(large)[None, :, None]
        k2 = np.arange(large)[None, None, :]
        angle = -2 * np.pi * ((b * (k1 + small * k2)) % n_fft) / n_fft
        cos, sin = np.cos(angle), np.sin(angle)
        top = np.concatenate([cos, sin], axis=2)
        bottom = np.concatenate([-sin, cos], axis=2)
        self._second = np.concatenate([top, bottom], axis=1).astype("float32")
        bins = (k1 + small * k2).reshape(-1)
        bins = np.minimum(bins, n_fft - bins)
        self.order = np.full(len(bins), -1)
        _, first_seen = np.unique(bins, return_index=True)
        self.order[first_seen] = bins[first_seen]

    def power(self, frames):
        small, large, half = self._sizes
        x = ops.reshape(frames, (-1, small, large))
        x = ops.matmul(self._first, x)
        x = ops.transpose(ops.reshape(x, (-1, 2, half, large)), (2, 0, 1, 3))
        x = ops.matmul(ops.reshape(x, (half, -1, 2 * large)), self._second)
        x = ops.reshape(ops.square(x), (half, -1, 2, large))
        x = ops.transpose(x[:, :, 0] + x[:, :, 1], (1, 0, 2))
        return ops.reshape(x, (-1, half * large))


DFTS = {"rfft": RealFFT, "matmul": MatrixDFT}
