"""Power spectra of real frames: by real FFT, or by two matrix products.

TFLite's RFFT wants a power of two and 400 is the usual length in speech; the matrix
form works for any length with plain products. With n = n1 n2, sample t = n2 a + b and
bin k = k1 + n1 k2 (Cooley and Tukey 1965):

X[k1 + n1 k2] = sum_b exp(-2 pi i b k2 / n2) exp(-2 pi i b k1 / n)
sum_a x[n2 a + b] exp(-2 pi i a k1 / n1); k1 <= n1 / 2 is enough, as bin n - k has the
power of bin k. Its matrices take 34 kB for n = 2048.
"""

import numpy as np
from keras import ops


class RealFFT:
    """|X|^2 of frames `(n, n_fft)`, bins 0 to n_fft // 2 in their order."""

    #: Columns at which the order of the bins turns.
    turns = ()

    def __init__(self, n_fft):
        self.order = np.arange(n_fft // 2 + 1)

    def power(self, frames):
        real, imaginary = ops.rfft(frames)
        return ops.square(real) + ops.square(imaginary)


class MatrixDFT:
    """|X|^2 of frames `(n, n_fft)` by matrix products; bins as `order` says.

    `order[j]` is the bin of column j, -1 where the column repeats another. Bins rise up
    to column `turns[0]` and fall from it on.
    """

    def __init__(self, n_fft):
        # the second sum is the shorter one: in it a pure sound's leakage cancels
        second = max(i for i in range(1, int(n_fft**0.5) + 1) if n_fft % i == 0)
        first = n_fft // second
        half = first // 2 + 1
        self._sizes = (first, second, half)
        k1, b = np.arange(half), np.arange(second)
        self._first = _turns(np.outer(k1, np.arange(first)), first)
        self._between = _turns(np.outer(k1, b), n_fft)
        self._second = _turns(np.outer(b, b), second)
        whole = (k1 + first * b[:, None]).reshape(-1)
        self.turns = (int(np.searchsorted(whole, n_fft // 2, side="right")),)
        bins = np.minimum(whole, n_fft - whole)
        self.order = np.full(len(bins), -1)
        _, first_seen = np.unique(bins, return_index=True)
        self.order[first_seen] = bins[first_seen]

    def power(self, frames):
        # real and imaginary parts apart: TFLite is slow to take them out of one tensor
        first, second, half = self._sizes
        x = ops.reshape(frames, (-1, first, second))
        cosine, sine = self._first
        real, imaginary = ops.matmul(cosine, x), -ops.matmul(sine, x)
        cosine, sine = self._between
        real, imaginary = (
            ops.reshape(x, (-1, second))
            for x in (
                real * cosine + imaginary * sine,
                imaginary * cosine - real * sine,
            )
        )
        cosine, sine = self._second
        x = ops.square(ops.matmul(real, cosine) + ops.matmul(imaginary, sine))
        x = x + ops.square(ops.matmul(imaginary, cosine) - ops.matmul(real, sine))
        x = ops.transpose(ops.reshape(x, (-1, half, second)), (0, 2, 1))
        return ops.reshape(x, (-1, second * half))


def _turns(parts, whole):
    """Cosine and sine of so many parts of a whole turn, float32."""
    angle = 2 * np.pi * (parts % whole) / whole
    return np.cos(angle).astype("float32"), np.sin(angle).astype("float32")


DFTS = {"rfft": RealFFT, "matmul": MatrixDFT}
