import io
import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, PngImagePlugin

from mmkeras import encoders
from mmkeras.image import Pixels

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (40, 30, 4), dtype=np.uint8)


def encoded(picture, form="PNG", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def png(depth, colour_type, width, height, data, chunks=b""):
    """A PNG written by hand: PIL cannot write grey of 2 and 4 bits."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(kind, data):
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def read(raw, size):
    return Pixels(size).read(tf.constant(raw)).numpy()


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_their_pixels(form):
    options = {"lossless": True} if form == "WEBP" else {}
    raw = encoded(Image.fromarray(RGB), form, **options)
    np.testing.assert_array_equal(read(raw, (40, 30)), RGB)


def test_jpeg_is_near_what_another_decoder_gives():
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype("uint8")
    raw = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    want = np.asarray(Image.open(io.BytesIO(raw)), "float32")
    assert np.abs(read(raw, (64, 64)) - want).max() <= 3  # the DCTs differ


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA", "1"])
def test_every_mode_of_png_on_grey(mode):
    picture = Image.fromarray(RGBA, "RGBA").convert("RGB").convert(mode)
    if mode in ("LA", "RGBA"):
        picture = Image.fromarray(RGBA, "RGBA").convert(mode)
    rgba = np.asarray(picture.convert("RGBA"), "float64")
    alpha = rgba[..., 3:] / 255
    want = rgba[..., :3] * alpha + 128 * (1 - alpha)
    np.testing.assert_allclose(read(encoded(picture), (40, 30)), want, atol=1e-4)


def test_webp_alpha_on_grey():
    clear = RGBA.copy()
    clear[..., 3] = 0
    raw = encoded(Image.fromarray(clear, "RGBA"), "WEBP", lossless=True, exact=True)
    np.testing.assert_array_equal(read(raw, (40, 30)), 128.0)


def test_transparent_colours_of_png():
    picture = Image.fromarray(np.array([[0, 1]], "uint8"), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0])
    got = read(encoded(picture, transparency=0), (1, 2))[0]
    np.testing.assert_array_equal(got, [[128, 128, 128], [0, 255, 0]])


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_the_word_trns_alone_makes_no_png_transparent(mode):
    picture = Image.fromarray(RGB).convert(mode)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a tRNS chunk there is not")
    want = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(read(encoded(picture, pnginfo=info), (40, 30)), want)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_png_of_few_bits_is_opaque_but_for_its_key(depth):
    most = 2**depth - 1  # two pixels: the most and 0, after the filter byte
    row = bytes([0, most << (8 - depth)])
    np.testing.assert_array_equal(
        read(png(depth, 0, 2, 1, row), (1, 2))[0, :, 0], [255, 0]
    )
    keyed = png(depth, 0, 2, 1, row, chunk(b"tRNS", struct.pack(">H", most)))
    np.testing.assert_array_equal(read(keyed, (1, 2))[0, :, 0], [128, 0])


def test_16_bits_become_8():
    deep = Image.fromarray(np.array([[0, 256, 65535]], "uint16"))
    np.testing.assert_array_equal(read(encoded(deep), (1, 3))[0, :, 0], [0, 1, 255])


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    raw = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(raw, (4, 4))[0, 0], [255, 0, 0])


def test_one_pixel_fills_the_picture():
    raw = encoded(Image.new("RGB", (1, 1), (10, 20, 30)))
    np.testing.assert_allclose(
        read(raw, (5, 7)), np.broadcast_to([10.0, 20, 30], (5, 7, 3)), atol=1e-4
    )


def test_shrinking_by_a_whole_factor_weighs_as_a_triangle():
    """Antialiased bilinear: a tent of width 2 x factor, by hand in one dimension."""
    column = RNG.integers(0, 256, 32).astype("float64")
    raw = encoded(Image.fromarray(column.astype("uint8")[:, None]))
    at = np.arange(32) + 0.5
    weight = np.maximum(0, 1 - np.abs(at[None] - (np.arange(8)[:, None] + 0.5) * 4) / 4)
    want = (weight / weight.sum(1, keepdims=True)) @ column
    np.testing.assert_allclose(read(raw, (8, 1))[:, 0, 0], want, atol=1e-3)


def test_height_comes_first():
    tall = np.zeros((20, 10, 3), "uint8")
    tall[10:] = 255
    picture = read(encoded(Image.fromarray(tall)), (4, 6))
    assert picture.shape == (4, 6, 3)
    np.testing.assert_array_equal(picture[0], 0)
    np.testing.assert_allclose(picture[-1], 255, atol=1e-3)


def test_overshooting_kernel_stays_in_range():
    raw = encoded(Image.fromarray((RGB > 127).astype("uint8") * 255))
    for method in ("bicubic", "lanczos3"):
        picture = Pixels((90, 90), method=method).read(tf.constant(raw)).numpy()
        assert picture.min() == 0 and picture.max() == 255


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    "method", ["bilinear", "bicubic", "lanczos3", "lanczos5", "area", "nearest"]
)
def test_white_stays_white(method, antialias):
    """Weights of a kernel add up to 1 but for rounding: 255.006 was seen."""
    white = tf.io.encode_png(np.full((300, 217, 3), 255, "uint8"))
    pixels = Pixels((224, 57), method=method, antialias=antialias)
    found = pixels.read_one(white).numpy()
    assert found.max() <= 255.0
    np.testing.assert_allclose(found, 255.0, rtol=1e-4)


def test_eager_equals_every_tf_data_form_and_the_cell(tmp_path):
    forms = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
    raws = [encoded(Image.fromarray(RGB), form) for form in forms]
    raws += [encoded(Image.fromarray(RGBA, "RGBA")), b""]
    pixels = Pixels((9, 7))
    eager = pixels.read(tf.constant(raws)).numpy()
    rows = tf.data.Dataset.from_tensor_slices(raws)
    single = np.stack(list(rows.map(pixels.read).as_numpy_iterator()))
    batched = next(rows.batch(7).map(pixels.read).as_numpy_iterator())
    np.testing.assert_array_equal(eager, single)
    np.testing.assert_array_equal(eager, batched)
    np.testing.assert_array_equal(eager[-1], 0)  # absent
    path = tmp_path / "a.png"
    path.write_bytes(raws[0])
    np.testing.assert_array_equal(eager[0], pixels.read_cell(str(path)))
    np.testing.assert_array_equal(eager[0], pixels.read_cell(raws[0]))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_cut_file_is_an_error(form, part):
    big = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    raw = encoded(Image.fromarray(big), form)
    with pytest.raises(tf.errors.OpError):
        read(raw[: int(len(raw) * part)], (8, 8))


@pytest.mark.parametrize("raw", [b"x", b"no picture at all", b"BM", b"GIF8", b"RIFF"])
def test_no_picture_is_an_error(raw):
    with pytest.raises(tf.errors.OpError):
        read(raw, (8, 8))


HUGE = {
    "png": png(8, 2, 100_000, 100_000, b""),
    "gif": b"GIF89a" + b"\xff\xff\xff\xff" + bytes(40),
    "bmp": b"BM" + bytes(16) + struct.pack("<ii", 100_000, -100_000) + bytes(40),
}


@pytest.mark.parametrize("form", HUGE)
def test_huge_promise_is_refused_before_decoding(form):
    with pytest.raises(tf.errors.InvalidArgumentError, match="max_pixels"):
        read(HUGE[form], (8, 8))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_max_pixels_is_the_last_allowed(form):
    raw = tf.constant(encoded(Image.fromarray(RGB), form))
    Pixels((2, 2), max_pixels=1200).read(raw)
    with pytest.raises(tf.errors.InvalidArgumentError, match="max_pixels"):
        Pixels((2, 2), max_pixels=1199).read(raw)


@pytest.mark.parametrize("row", encoders.rows("image"), ids=lambda x: x.name)
def test_scaling_is_what_keras_applications_does(row):
    picture = RNG.uniform(0, 255, (2, 5, 4, 3)).astype("float32")
    module = getattr(keras.applications, row.family)
    want = module.preprocess_input(picture.copy())
    got = Pixels((5, 4), encoders.FAMILIES[row.family].scaling)(picture)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=2e-6 * np.abs(want).max())


def test_unit_scaling():
    picture = RNG.uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    np.testing.assert_allclose(Pixels(2, "unit")(picture), picture / 255, rtol=1e-6)


def test_half_precision_scales_before_it_rounds():
    picture = np.full((1, 2, 2, 3), 200.06, "float32")  # 200.0 in float16
    got = Pixels((2, 2), "unit", dtype="mixed_float16")(picture)
    assert got.dtype == "float16"
    np.testing.assert_array_equal(got, np.float16(picture / np.float32(255)))


def test_config_round_trip():
    pixels = Pixels((3, 5), "caffe", method="area", antialias=False, max_pixels=99)
    again = Pixels.from_config(pixels.get_config())
    assert again.get_config() == pixels.get_config()
    assert again.tensor_shape == (3, 5, 3)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"size": (0, 3)}, r"`size`.*Received: size=\(0, 3\)"),
        ({"size": (2.0, 3)}, "`size`"),
        ({"scaling": "imagenet"}, "`scaling` wants one of .*'caffe'.*Received"),
        ({"method": "cubic"}, "`method` wants one of .*'bicubic'"),
        ({"max_pixels": 0}, "`max_pixels`"),
    ],
)
def test_bad_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        Pixels(**options)
