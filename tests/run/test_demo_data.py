"""The demo set: its best accuracy by other roads, and that its files can be read."""

import csv
import io
import itertools
import wave

import numpy as np
import pytest

from mmkeras.run import demo_data, demo_render

SUBSETS = [x for n in range(4) for x in itertools.combinations(demo_data.MODALITIES, n)]


@pytest.fixture(scope="module")
def drawn():
    return demo_data.draw(400_000, np.random.default_rng(1))


@pytest.mark.parametrize("subset", SUBSETS)
def test_best_accuracy_equals_simulation(drawn, subset):
    """Count on one half which class is likeliest, guess it on the other half."""
    seen = np.zeros(len(drawn["class"]), int)
    for modality in subset:
        seen = seen * 9 + drawn[modality] + 1
    half = len(seen) // 2
    counts = np.zeros((seen.max() + 1, 8))
    np.add.at(counts, (seen[:half], drawn["class"][:half]), 1)
    guess = counts.argmax(1)[seen[half:]]
    share = np.mean(guess == drawn["class"][half:])
    error = np.sqrt(share * (1 - share) / half)
    assert demo_data.best_accuracy(subset) == pytest.approx(share, abs=4 * error)


def test_best_accuracy_by_hand():
    # photo: place right in 95 %, the flag alone says nothing: 1 of 4 for the rest
    assert demo_data.best_accuracy(["photo"], missing=False) == pytest.approx(0.95 / 4)
    # title: three independent bits
    title = 0.95 * 0.8 * 0.7
    assert demo_data.best_accuracy("title", missing=False) == pytest.approx(title)
    assert demo_data.best_accuracy("title") == pytest.approx(0.85 * title + 0.15 / 8)
    # photo + clip: place, time, and weather = flag xor siren, right if both or none err
    both = 0.95 * 0.8 * (0.97**2 + 0.03**2)
    pair = ["clip", "photo"]
    assert demo_data.best_accuracy(pair, missing=False) == pytest.approx(both)
    averaged = 0.85**2 * both + 0.1275 * (0.95 / 4 + 0.8 / 4) + 0.0225 / 8
    assert demo_data.best_accuracy(pair) == pytest.approx(averaged)


def test_the_weather_is_an_interaction():
    """Photo and clip together tell far more than what they tell apart."""
    best = demo_data.best_accuracies(missing=False)
    apart = best["photo",] * best["clip",] / best[()]  # no interaction: independent
    assert apart == pytest.approx(0.95 * 0.8 / 2)
    assert best["photo", "clip"] > 1.8 * apart


def test_missing_is_independent_of_the_class(drawn):
    for modality in demo_data.MODALITIES:
        gone = drawn[modality] < 0
        shares = [gone[drawn["class"] == y].mean() for y in range(8)]
        # 50,000 rows a class: standard error 0.0016
        np.testing.assert_allclose(shares, 0.15, atol=0.007)


def test_unknown_modality():
    with pytest.raises(ValueError, match=r"names of .*Received: \['smell'\]"):
        demo_data.best_accuracy(["photo", "smell"])


def read_photo(pixels):
    """Place and flag from pixels, without learning: colour, then count of rows."""
    pixels = pixels.astype(float)
    warm = pixels[..., 0] - pixels[..., 2]
    ink = np.abs(warm) > 60
    flag = int(warm[ink].mean() < 0)
    lines = np.flatnonzero(ink.sum(1) >= 3)
    return {"place": int(np.diff(lines).max() > 1), "flag": flag}


def read_clip(samples):
    """Time and siren: number of loud stretches, and the strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples))
    strongest = spectrum.argmax() * 16000 / len(samples)
    level = np.sqrt(np.convolve(samples**2, np.ones(160) / 160, "same"))
    loud = level > 0.4 * level.max()
    starts = int(loud[0]) + np.sum(~loud[:-1] & loud[1:])
    return {"time": int(starts > 1), "siren": int(strongest > 700)}


def read_title(text):
    found = {}
    for name in ("time", "place", "weather"):
        words = getattr(demo_render, f"_{name.upper()}")
        hits = [bit for bit in (0, 1) for w in words[bit] if w in text.split()]
        assert len(hits) == 1, text
        found[name] = hits[0]
    return found


def test_every_symbol_can_be_read_off():
    """So nothing is lost between the symbols and the files."""
    rng = np.random.default_rng(2)
    for a, b, c in list(itertools.product((0, 1), repeat=3)) * 60:
        photo = demo_render.picture(place=a, flag=b, rng=rng)
        assert read_photo(photo) == {"place": a, "flag": b}
        clip = demo_render.sound(time=a, siren=b, rng=rng)
        assert read_clip(clip) == {"time": a, "siren": b}
        title = demo_render.sentence(time=a, place=b, weather=c, rng=rng)
        assert read_title(title) == {"time": a, "place": b, "weather": c}


def test_words_tell_one_bit_each():
    words = [
        w
        for x in ("_PLACE", "_TIME", "_WEATHER")
        for y in getattr(demo_render, x)
        for w in y
    ]
    assert len(set(words)) == len(words)


def test_files_hold_what_was_drawn():
    import tensorflow as tf

    rng = np.random.default_rng(0)
    pixels = demo_render.picture(place=0, flag=1, rng=rng)
    decoded = tf.io.decode_png(demo_render.png(pixels)).numpy()
    np.testing.assert_array_equal(decoded, pixels)
    samples = demo_render.sound(time=1, siren=0, rng=rng)
    decoded, rate = tf.audio.decode_wav(demo_render.wav(samples))
    assert (rate, decoded.shape) == (16000, (8000, 1))
    np.testing.assert_allclose(decoded[:, 0], samples, atol=1e-4)


def test_write(tmp_path):
    table = demo_data.write(tmp_path / "a", {"train": 60, "test": 20}, seed=3)
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["photo", "title", "clip", "label", "split"]
    assert [x["split"] for x in rows] == ["train"] * 60 + ["test"] * 20
    assert {x["label"] for x in rows} <= set(demo_data.CLASSES)
    for name in ("photo", "clip"):
        listed = {x[name] for x in rows} - {""}
        there = {f"{name}/{x.name}" for x in (tmp_path / "a" / name).iterdir()}
        assert listed == there
        assert 40 < len(listed) < 80
    clip = next(x["clip"] for x in rows if x["clip"])
    with wave.open(io.BytesIO((tmp_path / "a" / clip).read_bytes())) as sound:
        assert sound.getframerate() * 0.5 == sound.getnframes()

    again = demo_data.write(tmp_path / "b", {"train": 60, "test": 20}, seed=3)
    assert again.read_bytes() == table.read_bytes()
    assert (tmp_path / "b" / clip).read_bytes() == (tmp_path / "a" / clip).read_bytes()
    other = demo_data.write(tmp_path / "c", {"train": 60, "test": 20}, seed=4)
    assert other.read_bytes() != table.read_bytes()


def test_labels_follow_the_symbols(tmp_path):
    """The written files, read back without the code that drew them, match the table.

    Place is told by the photo in 95 % of the rows, weather by photo and clip in 94 %.
    """
    import tensorflow as tf

    table = demo_data.write(tmp_path, {"test": 600}, seed=5)
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    place, weather, time = [], [], []
    for row in rows:
        land, _, calm = row["label"].split("-")
        if row["photo"]:
            pixels = tf.io.decode_png((tmp_path / row["photo"]).read_bytes()).numpy()
            photo = read_photo(pixels)
            place.append(photo["place"] == (land == "sea"))
        if row["title"]:
            time.append(read_title(row["title"])["time"] == ("-night-" in row["label"]))
        if row["photo"] and row["clip"]:
            with wave.open(str(tmp_path / row["clip"])) as sound:
                samples = np.frombuffer(sound.readframes(8000), "<i2") / 32768
            storm = read_clip(samples)["siren"] != photo["flag"]
            weather.append(storm == (calm == "storm"))
    for hits, expected in ((place, 0.95), (time, 0.95), (weather, 0.9418)):
        error = np.sqrt(expected * (1 - expected) / len(hits))
        assert np.mean(hits) == pytest.approx(expected, abs=4 * error)
