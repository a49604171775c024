"""Corruptions of pictures against scipy, Pillow and their stated units."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from mmkeras.analysis.noise import image

LEVELS = (0.1, 0.3, 0.6, 1.0)


def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[:60, :80]
    waves = 128 + 60 * np.sin(x / 3)[..., None] * np.cos(y / 5)[..., None]
    return (waves + [20, 0, -20]).astype("float32")


def test_noise_has_the_stated_sigma():
    grey = np.full((90, 90, 3), 127.5)
    for level in (0.1, 0.25, 0.5):  # below 4 sigma nothing is cut off
        noise = image.gaussian_noise(grey, level, rng()) - 127.5
        spread = 64 * level
        assert abs(noise.std() - spread) < 4 * spread / np.sqrt(2 * noise.size)
    loud = image.gaussian_noise(grey, 1.0, rng())
    assert loud.min() == 0 and loud.max() == 255
    soft = image.gaussian_noise(grey, 0.1, rng()) - 127.5
    hard = image.gaussian_noise(grey, 0.2, rng()) - 127.5
    np.testing.assert_allclose(hard, 2 * soft, atol=1e-10)  # the same pattern


@pytest.mark.parametrize("level", LEVELS)
def test_blur_is_scipys(picture, level):
    sigma = 0.05 * 60 * level
    expected = gaussian_filter(picture.astype(float), (sigma, sigma, 0), mode="reflect")
    found = image.blur(picture, level)
    np.testing.assert_allclose(found, expected, atol=255 * 1e-5)


def test_blur_wider_than_the_picture():
    small = rng().uniform(0, 255, (200, 3, 3))
    found = image.blur(small, 1.0)
    sigma = 0.05 * 3
    expected = gaussian_filter(small, (sigma, sigma, 0), mode="reflect")
    np.testing.assert_allclose(found, expected, atol=255 * 1e-5)


def test_jpeg_is_as_bad_as_pillows(picture):
    errors = []
    for level in LEVELS:
        found = image.jpeg(picture, level)
        encoded = io.BytesIO()
        pixels = Image.fromarray(picture.round().astype("uint8"))
        quality = round(100 - 95 * level)
        pixels.save(encoded, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.asarray(Image.open(encoded)).astype(float)
        errors.append(np.abs(found - picture).mean())
        assert np.abs(found - expected).mean() < 0.1 * errors[-1] + 0.5
    assert errors == sorted(errors) and errors[-1] > 2 * errors[0]
    assert found.min() >= 0 and found.max() <= 255


def test_occlusion_covers_the_stated_share(picture):
    covered = []
    for level in LEVELS:
        found = image.occlusion(picture + 300, level, rng())
        hidden = (found == 128).all(-1)
        assert abs(hidden.mean() - level) <= (60 + 80) / (60 * 80)  # a pixel's edge
        np.testing.assert_array_equal(found[~hidden], (picture + 300)[~hidden])
        covered.append(hidden)
    for few, more in zip(covered, covered[1:], strict=False):
        assert not (few & ~more).any()
    assert covered[-1].all()
    assert not np.array_equal(
        image.occlusion(picture, 0.3, rng()),
        image.occlusion(picture, 0.3, np.random.default_rng(8)),
    )


@pytest.mark.parametrize("damage", [image.gaussian_noise, image.blur, image.jpeg])
def test_more_level_more_damage(picture, damage):
    errors = [((damage(picture, x, rng()) - picture) ** 2).mean() for x in LEVELS]
    assert errors == sorted(errors)
    assert errors[-1] > 5 * errors[0] > 0
