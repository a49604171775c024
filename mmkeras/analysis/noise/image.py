"""Corruptions of pictures, float `(height, width, 3)`, RGB 0-255.

Each takes `(picture, level, rng)`, level in [0, 1], and gives a picture of the same
shape, dtype and range. Level 0 is the identity. The same `rng` seed at two levels gives
the same pattern, stronger or larger.

Reference: the kinds are of Hendrycks and Dietterich 2019, arXiv:1903.12261. Departs:
one level in physical units in place of five steps by eye.
"""

import numpy as np

from mmkeras.analysis.noise.level import corruption

SIGMA = 64.0  # grey levels, of the noise at level 1
BLUR = 0.05  # of the shorter side, the blur's sigma at level 1
WORST_QUALITY = 5  # of JPEG, at level 1
GREY = 128.0  # what an occluded pixel becomes


@corruption
def gaussian_noise(picture, level, rng):
    """Adds white noise of sigma 64 * level grey levels, and clips to 0-255.

    Example:
    >>> from mmkeras.analysis.noise import image
    >>> picture = np.full((32, 32, 3), 128.0)
    >>> noisy = image.gaussian_noise(picture, 0.25, np.random.default_rng(0))
    >>> round(float(noisy.std()))
    16
    """
    noise = rng.standard_normal(picture.shape, "float32")
    noisy = np.clip(picture + level * SIGMA * noise, 0, 255)
    return noisy.astype(picture.dtype)


@corruption
def blur(picture, level, rng=None):
    """Blurs with a Gaussian of sigma 0.05 * level times the shorter side.

    11 pixels of 224 at level 1. The kernel ends at 4 sigma, the edges are mirrored.

    Example:
    >>> from mmkeras.analysis.noise import image
    >>> picture = np.zeros((40, 40, 3))
    >>> picture[20, 20] = 255.0
    >>> blurred = image.blur(picture, 0.5)  # sigma 1 pixel
    >>> float(blurred[20, 20, 0]), float(blurred[..., 0].sum())
    (40.58..., 255.0...)
    """
    height, width = picture.shape[:2]
    sigma = level * BLUR * min(height, width)
    x = np.tensordot(_blur_matrix(height, sigma), picture, (1, 0))
    x = np.tensordot(_blur_matrix(width, sigma), x, (1, 1)).swapaxes(0, 1)
    return np.clip(x, 0, 255).astype(picture.dtype)


@corruption
def jpeg(picture, level, rng=None):
    """Encodes as JPEG of quality 100 - 95 * level, 5 at level 1, and decodes.

    Any level above 0 rounds to whole grey levels and halves the colours' resolution.

    Example:
    >>> from mmkeras.analysis.noise import image
    >>> picture = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
    >>> light, heavy = image.jpeg(picture, 0.1), image.jpeg(picture, 1.0)
    >>> bool(np.abs(heavy - picture).mean() > np.abs(light - picture).mean())
    True
    """
    import tensorflow as tf

    quality = round(100 - (100 - WORST_QUALITY) * level)
    pixels = np.rint(np.clip(picture, 0, 255)).astype("uint8")
    encoded = tf.io.encode_jpeg(pixels, quality=quality)
    decoded = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return decoded.numpy().astype(picture.dtype)


@corruption
def occlusion(picture, level, rng):
    """Covers the share `level` of the area with a grey (128) rectangle.

    It has the picture's aspect ratio and lies inside; the one of a lower level lies
    inside that of a higher. Level 1 covers everything.

    Example:
    >>> from mmkeras.analysis.noise import image
    >>> picture = np.zeros((100, 100, 3))
    >>> covered = image.occlusion(picture, 0.25, np.random.default_rng(0))
    >>> float((covered == 128).mean())
    0.25
    """
    side, covered = level**0.5, picture.copy()
    place = []
    for length, where in zip(picture.shape, rng.random(2), strict=False):
        # an end moves outwards as the level rises, and so does what it is rounded to
        first = where * (1 - side) * length
        place.append(slice(round(first), round(first + side * length)))
    covered[tuple(place)] = GREY
    return covered


def _blur_matrix(length, sigma):
    """The blur of one axis as a matrix `(length, length)`; rows sum to 1."""
    reach = int(4 * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    weight /= weight.sum()
    place = (np.arange(length)[:, None] + offset) % (2 * length)
    place = np.where(place < length, place, 2 * length - 1 - place)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], place), weight)
    return matrix.astype("float32")
