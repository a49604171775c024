"""Pictures' classical features, against scikit-image's numbers, numpy and OpenCV."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pandas
import pytest
from PIL import Image

import mmkeras as mm

# scikit-image 0.26.0, `hog(x.astype("float64"), orientations, (cell, cell),
# (block, block), block_norm="L2", channel_axis=-1)` of each of `pictures` (noise; a
# smooth one with flat parts); keys are hog_CELL_BLOCK_ORIENTATIONS
REFERENCE = Path(__file__).parents[1] / "reference/hog_skimage.npz"


@pytest.mark.parametrize("key", ["8_2_9", "5_1_4", "8_3_12"])
def test_gradients_are_scikit_images(key):
    cell, block, orientations = map(int, key.split("_"))
    layer = mm.classic.OrientedGradients(orientations, cell, block, epsilon=1e-5)
    with np.load(REFERENCE) as held:
        wanted, pictures = held[f"hog_{key}"], held["pictures"]
    found = layer(pictures.astype("float32"))
    assert layer.compute_output_shape((2, 40, 32, 3)) == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_colours_are_a_histogram():
    noise = np.random.default_rng(0).uniform(0, 256, (2, 20, 30, 3))
    found = mm.classic.ColourHistogram(bins=3)(noise)
    for y, x in zip(found, noise, strict=True):
        wanted, _ = np.histogramdd(x.reshape(-1, 3), bins=3, range=[(0, 256)] * 3)
        np.testing.assert_allclose(y, np.sqrt(wanted.ravel() / 600), atol=1e-6)


def test_the_encoder_keeps_the_laws_and_is_adapted(tmp_path):
    encoder = mm.classic.picture(size=(32, 48), standardize=True)
    mm.testing.check_encoder(encoder)
    noise = np.random.default_rng(0).uniform(0, 256, (6, 32, 48, 3)).astype("float32")
    raw = mm.classic.picture(size=(32, 48))(noise).numpy()
    assert raw.shape == (6, 64 + 1 * 2 * 4 * 9)
    model = mm.multimodal(
        {"photo": encoder}, mm.fusion.Concat(), keras.layers.Identity()
    )
    there = np.array([1, 1, 0, 1, 1, 0], "float32")
    rows = {"photo": noise, "photo_present": there}
    mm.transfer.adapt(model, [rows])
    model.save(tmp_path / "model.keras")
    found = mm.load_model(tmp_path / "model.keras")(rows).numpy()
    kept = raw[there > 0].astype("float64")
    deviation = kept.std(0)
    wanted = (kept - kept.mean(0)) / np.maximum(deviation, 1e-7)
    differs = deviation > 1e-4
    np.testing.assert_allclose(
        found[there > 0][:, differs], wanted[:, differs], atol=2e-3
    )
    assert not found[there == 0].any()


@pytest.mark.parametrize(
    ("error", "make"),
    [
        ("`bins` wants", lambda: mm.classic.ColourHistogram(1)),
        ("`cell` wants", lambda: mm.classic.OrientedGradients(cell=0)),
        ("`epsilon` wants", lambda: mm.classic.OrientedGradients(epsilon=0.0)),
        ("pictures of 32 pixels", lambda: mm.classic.picture(size=16)),
        ("wants colours or gradients", lambda: mm.classic.picture(bins=0, cell=0)),
    ],
)
def test_what_is_refused(error, make):
    with pytest.raises(ValueError, match=error):
        make()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Six pictures of discs or of bars, a flat one, a missing one."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    made = []
    for i in range(6):
        canvas = np.full((96, 96, 3), 128, "uint8")
        for x, y in rng.integers(10, 80, (8, 2)).tolist():
            if i % 2:
                cv2.circle(canvas, (x, y), 6, (255, 255, 255), -1)
            else:
                cv2.rectangle(canvas, (x, y), (x + 3, y + 16), (0, 0, 0), -1)
        Image.fromarray(canvas).save(folder / f"{i}.png")
        made.append(f"{i}.png")
    Image.new("RGB", (96, 96), "grey").save(folder / "flat.png")
    frame = pandas.DataFrame({"photo": [*made, "flat.png", None]})
    frame.attrs["root"] = str(folder)
    return frame


def test_visual_words_are_counts_of_the_nearest_centres(table, tmp_path):
    words = mm.classic.VisualWords(words=5, size=96).fit(table, "photo")
    found = words.transform(table, "photo")
    assert found.shape == (8, 5) and not found[6:].any()
    np.testing.assert_allclose((found[:6] ** 2).sum(1), 1.0, rtol=1e-6)

    grey = cv2.imread(f"{table.attrs['root']}/1.png", cv2.IMREAD_GRAYSCALE)
    _, sift = cv2.SIFT_create(nfeatures=200).detectAndCompute(grey, None)
    roots = np.sqrt(sift / sift.sum(1, keepdims=True))
    np.testing.assert_allclose((roots**2).sum(1), 1.0, rtol=1e-6)
    nearest = np.linalg.norm(roots[:, None] - words.centres[None], axis=-1).argmin(1)
    wanted = np.sqrt(np.bincount(nearest, minlength=5) / len(roots))
    np.testing.assert_allclose(found[1], wanted, atol=1e-6)

    words.save(tmp_path / "words.safetensors")
    again = mm.classic.VisualWords.load(tmp_path / "words.safetensors")
    np.testing.assert_array_equal(again.transform(table, "photo"), found)


def test_visual_words_become_columns(table):
    words = mm.classic.VisualWords(words=3, size=96).fit(table, "photo")
    joined = words.join(table, "photo")
    assert joined.attrs["root"] == table.attrs["root"]
    columns = mm.tabular.Columns.from_frame(joined, words.names("photo"))
    assert columns.tensor_shape == (3,)
    np.testing.assert_array_equal(
        joined[words.names("photo")], words.transform(table, "photo")
    )


def test_visual_words_refused(table):
    with pytest.raises(ValueError, match="wants `fit` first"):
        mm.classic.VisualWords().transform(table, "photo")
    with pytest.raises(ValueError, match="fewer words than there are patches"):
        mm.classic.VisualWords(words=100_000, size=96).fit(table, "photo")
    missing = pandas.DataFrame({"photo": ["none.png"]})
    with pytest.raises(ValueError, match=r"row 0, column 'photo'.*none\.png"):
        mm.classic.VisualWords().fit(missing, "photo")
