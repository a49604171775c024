"""Class folders as a table, against Keras' reader of the same folders."""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm


@pytest.fixture
def folder(tmp_path):
    """Pictures of two classes, one with its text and its sound."""
    rng = np.random.default_rng(0)
    for name in ("dog/2.png", "dog/10.png", "cat/1.png", "cat/in/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        pixels = rng.integers(0, 256, (4, 4, 3)).astype("uint8")
        keras.utils.save_img(tmp_path / name, pixels, scale=False)
    (tmp_path / "dog/2.txt").write_text("\ufeffit barks\n", encoding="utf-8")
    (tmp_path / "dog/2.wav").write_bytes(mm.audio.encode_wav(np.ones(800) / 2, 8000))
    (tmp_path / "dog/3.txt").write_text("it sleeps")
    (tmp_path / "dog/.hidden.png").write_bytes((tmp_path / "dog/2.png").read_bytes())
    return tmp_path


def test_pictures_and_classes_are_those_of_keras(folder):
    got = mm.data.table_from_directory(folder)
    want = keras.utils.image_dataset_from_directory(
        folder, image_size=(4, 4), shuffle=False, verbose=False
    )
    pictures, pairs = got.dropna(subset="image"), ["image", "label"]
    ours = {str(folder / x): y for x, y in pictures[pairs].to_numpy()}
    labels = np.concatenate([y for _, y in want.as_numpy_iterator()])
    theirs = {
        path: want.class_names[y]
        for path, y in zip(want.file_paths, labels, strict=True)
        if ".hidden" not in path
    }
    assert ours == theirs


def test_files_of_one_name_are_one_row(folder):
    table = mm.data.table_from_directory(folder)
    dog = table[table.label == "dog"].set_index("image")
    assert dog.loc["dog/2.png", "text"] == "it barks"
    assert dog.loc["dog/2.png", "audio"] == "dog/2.wav"
    assert dog.loc["dog/10.png", ["text", "audio"]].isna().all()
    assert list(table.columns) == ["image", "audio", "text", "label"]
    assert len(table) == 5
    pandas.testing.assert_frame_equal(mm.data.read_table(folder), table)


def test_the_table_is_read_as_any_other(folder):
    table = mm.data.table_from_directory(folder)
    contracts = {"image": mm.image.Pixels((4, 4)), "audio": mm.audio.Waveform(8000, 1)}
    rows = mm.data.from_table(table, contracts, "label", classes=["cat", "dog"])
    found = [(float(x["image_present"]), float(x["audio_present"])) for x, _ in rows]
    assert found == [(1, 0), (1, 0), (1, 0), (1, 1), (0, 0)]


def test_splits(folder):
    for name in ("train", "Validation"):
        (folder / name).mkdir()
        for label in ("cat", "dog"):
            (folder / name / label).mkdir()
            (folder / name / label / "a.txt").write_text(name)
    for name in ("cat", "dog"):
        (folder / name).rename(folder / "train" / f"{name}_too")
    table = mm.data.table_from_directory(folder)
    assert set(table.split) == {"train", "val"}
    assert (table[table.split == "val"].text == "Validation").all()
    assert set(table.label) == {"cat", "dog", "cat_too", "dog_too"}


def test_other_kinds_are_named(folder):
    (folder / "cat" / "notes.pdf").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 files .*cat/notes.pdf"):
        mm.data.table_from_directory(folder)


def test_errors(folder, tmp_path_factory):
    with pytest.raises(ValueError, match="a folder that is there.*gone"):
        mm.data.table_from_directory(folder / "gone")
    with pytest.raises(ValueError, match="holds no folders"):
        mm.data.table_from_directory(folder / "cat" / "in")
    (folder / "dog" / "2.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2\.png' is a second image.*dog/2\.jpg"):
        mm.data.table_from_directory(folder)
    (folder / "dog" / "2.jpg").unlink()
    (folder / "dog" / "3.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"dog/3\.txt' is not UTF-8"):
        mm.data.table_from_directory(folder)
    (folder / "dog" / "3.txt").unlink()
    (folder / "bird").mkdir()
    with pytest.raises(ValueError, match="bird' holds no files"):
        mm.data.table_from_directory(folder)
    (folder / "bird").rmdir()
    (folder / "lost.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"lost\.png' lies beside"):
        mm.data.table_from_directory(folder)
