"""A table with 50 corrupt cells of 12 kinds trains, and names them all."""

import io

import keras
import numpy as np
import pandas
import soundfile

import mmkeras as mm

ROWS, RATE = 1000, 8000


def pictures(rng):
    """A good picture, and corrupt ones: kind -> bytes."""
    from PIL import Image

    pixels = rng.integers(0, 256, (24, 24, 3)).astype("uint8")
    found = {}
    for kind in ("png", "jpeg"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        found[kind] = file.getvalue()
    png, jpeg = found["png"], found["jpeg"]
    return png, {
        "png cut off": png[: len(png) // 2],
        "jpeg cut off": jpeg[:100],
        "noise": rng.bytes(500),
        "text": b"this is not a picture",
        "huge": png[:16] + (200_000).to_bytes(4, "big") * 2 + png[24:],
    }


def sounds(rng):
    """A good clip, and corrupt ones: kind -> bytes."""
    wave = 0.3 * rng.standard_normal(400)
    wav = mm.audio.encode_wav(wave, RATE)
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="OGG")
    return wav, {
        "wav cut off": wav[: len(wav) // 2],
        "no samples": mm.audio.encode_wav(np.zeros(0), RATE),
        "nan": mm.audio.encode_wav(np.where(np.arange(400) == 7, np.nan, wave), RATE),
        "ogg cut off": file.getvalue()[:-200],
        "picture": pictures(rng)[0],
    }


def write(folder):
    """The table, and where its corrupt cells are: (row, column) -> kind."""
    rng = np.random.default_rng(0)
    (photo, broken_photos), (clip, broken_clips) = pictures(rng), sounds(rng)
    (folder / "good.png").write_bytes(photo)
    (folder / "good.wav").write_bytes(clip)
    (folder / "folder.png").mkdir()
    cells = {"photo": {"gone": "gone.png", "a folder": "folder.png"}, "clip": {}}
    for column, broken in (("photo", broken_photos), ("clip", broken_clips)):
        for i, (kind, content) in enumerate(broken.items()):
            name = f"{column}{i}.bin"
            (folder / name).write_bytes(content)
            cells[column][kind] = name
    kinds = [(column, kind) for column, found in cells.items() for kind in found]
    assert len(kinds) == 12
    table = pandas.DataFrame(
        {"photo": ["good.png"] * ROWS, "clip": ["good.wav"] * ROWS}, dtype=object
    )
    table["label"] = np.where(rng.random(ROWS) < 0.5, "a", "b")
    corrupt = {}
    for i, row in enumerate(rng.choice(ROWS, 50, replace=False)):
        column, kind = kinds[i % 12]
        table.loc[row, column] = cells[column][kind]
        corrupt[int(row), column] = kind
    table.to_csv(folder / "table.csv", index=False)
    return corrupt


def network():
    front_end = mm.audio.MFCC(RATE, 5, n_fft=256, hop_length=64, num_mel_bins=20)
    pixels = mm.image.Pixels((8, 8))
    photo = mm.modality.tensor_input(pixels, "image")
    x = keras.layers.GlobalAveragePooling2D()(pixels(photo))
    encoders = {
        "photo": keras.Model(photo, x),
        "clip": mm.audio.mfcc_statistics(RATE, seconds=0.05, front_end=front_end),
    }
    head = mm.heads.classification(["a", "b"])
    model = mm.multimodal(encoders, mm.fusion.Concat(), head.layer)
    model.compile("adam", head.loss)
    return model


def test_all_corrupt_cells_are_named_and_the_rest_trains(tmp_path):
    corrupt = write(tmp_path)
    model, bad = network(), []
    rows = mm.data.from_table(
        str(tmp_path / "table.csv"),
        model,
        "label",
        batch_size=50,
        on_bad_row="absent",
        bad_rows=bad,
    )
    history = model.fit(rows, epochs=1, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    assert {(x.row, x.column) for x in bad} == set(corrupt)
    assert len(bad) == 50
    for x in bad:  # each says where the file is and what is wrong with it
        kind = corrupt[x.row, x.column]
        assert str(tmp_path) in x.path and x.reason, kind
    reasons = {corrupt[x.row, x.column]: x.reason for x in bad}
    for kind, part in {
        "gone": "no such file",
        "a folder": "a directory",
        "no samples": "0 samples",
        "nan": "NaN",
        "wav cut off": "truncated",
        "ogg cut off": "truncated",
    }.items():
        assert part in reasons[kind], reasons[kind]
