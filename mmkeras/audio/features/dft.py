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
        real, imaginary = np.cos(angle), -np.sin(angle)
        # x_k1 and -i x_k1: one matrix makes of them the real and the imaginary part
        first = np.array([[real, imaginary], [imaginary, -real]]).swapaxes(1, 2)
        self._first = first.reshape(-1, small).astype("float32")
        k1 = np.arange(half)[:, None, None]
        b = np.arange(large)[None, :, None]
        k2 = np.arange(large)[None, None, :]
        angle = -2 * np.pi * ((b * (k1 + small * k2)) % n_fft) / n_fft
        second = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)
        self._second = second.astype("float32")
        bins = (k1 + small * k2).reshape(-1)
        bins = np.minimum(bins, n_fft - bins)
        self.order = np.full(len(bins), -1)
        _, first_seen = np.unique(bins, return_index=True)
        self.order[first_seen] = bins[first_seen]

    def power(self, frames):
        small, large, half = self._sizes
        x = ops.reshape(frames, (-1, small, large))
        x = ops.reshape(ops.matmul(self._first, x), (-1, 2, half, 2 * large))
        x = ops.reshape(ops.transpose(x, (2, 1, 0, 3)), (half, -1, 2 * large))
        x = ops.reshape(ops.square(ops.matmul(x, self._second)), (half, 2, -1, large))
        x = ops.transpose(x[:, 0] + x[:, 1], (1, 0, 2))
        return ops.reshape(x, (-1, half * large))


DFTS = {"rfft": RealFFT, "matmul": MatrixDFT}
