"""Whatever comes in: an answer or an error as documented, never a crash."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from tests.export import fuzz, parts


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`(model, folder, signatures)` with "absent", and the limits at their defaults."""
    keras.utils.set_random_seed(0)
    model = parts.model()
    folder = tmp_path_factory.mktemp("fuzz") / "1"
    mm.export.saved_model(model, folder, on_bad_value="absent")
    return model, folder, tf.saved_model.load(str(folder))


def ask(served, raw, endpoint="serve_raw"):
    _, _, loaded = served
    got = loaded.signatures[endpoint](**{k: tf.constant(x) for k, x in raw.items()})
    return {name: x.numpy() for name, x in got.items()}


def test_300_requests(tmp_path):
    mm.export.saved_model(fuzz.model(), tmp_path / "1", on_bad_value="absent")
    served = None, None, tf.saved_model.load(str(tmp_path / "1"))
    requests = fuzz.Requests()
    found, raised = [], 0
    for _ in range(300):
        kinds, raw = requests.one()
        answer = error = None
        try:
            answer = ask(served, raw)
        except tf.errors.InvalidArgumentError as caught:
            error, raised = caught, raised + 1
        found += fuzz.problems(kinds, answer, error)
    assert found == []
    assert raised < 100  # the test reads answers, not errors alone


def test_refused_counts_as_absent(served):
    raw, _ = parts.rows()
    pictures, _ = fuzz.pictures()
    broken = {name: [*values] for name, values in raw.items()}
    hidden = {name: [*values] for name, values in raw.items()}
    broken["photo"][0] = pictures["huge png"]
    broken["clip"][2] = raw["clip"][2][:-2]
    broken["title"][5] = b"x" * 100_001
    hidden["photo"][0] = hidden["clip"][2] = hidden["title"][5] = b""
    got, wanted = ask(served, broken), ask(served, hidden)
    np.testing.assert_array_equal(got["outputs"], wanted["outputs"])
    told = got["photo_status"][0].decode()
    assert told == (
        "refused: it has 20000 x 20000 pixels, more than `max_pixels` = 50000000"
    )
    assert got["photo_status"].tolist()[1:] == [
        b"absent", b"read", b"read", b"absent", b"read"
    ]  # fmt: skip
    assert b"it is truncated: 2398 of 2400" in got["clip_status"][2]
    assert got["title_status"][5] == b"refused: it has 100001 bytes, more than 100000"
    features = ask(served, broken, "features")
    np.testing.assert_array_equal(features["clip_status"], got["clip_status"])


@pytest.mark.slow
def test_raise_names_modality_and_row(tmp_path):
    model = parts.model()
    limits = {"title": 30, "photo": 1500}  # less than a made-up picture has
    mm.export.saved_model(model, tmp_path / "1", max_bytes=limits)
    card = mm.export.read_card(tmp_path / "1")
    assert card["on_bad_value"] == "raise"
    assert card["limits"] == {
        "photo": {"bytes": 1500, "pixels": 50_000_000},
        "title": {"bytes": 30},
        "clip": {"bytes": 50_000_000, "seconds": 0.3},
    }
    made = None, None, tf.saved_model.load(str(tmp_path / "1"))
    pictures, _ = fuzz.pictures()
    good, _ = parts.rows()
    cases = [
        ("photo", pictures["huge jpeg"], "it has 20000 x 20000 pixels, more than"),
        ("photo", good["photo"][0][:-20], "it is cut off"),
        ("photo", b"GIF", "it is no JPEG, PNG, GIF, BMP or WebP file"),
        ("photo", b"x" * 1501, "it has 1501 bytes, more than 1500"),
        ("title", b"a" * 31, "it has 31 bytes, more than 30"),
        ("clip", good["clip"][0][:1000], "it is truncated"),
    ]
    for name, bad, why in cases:
        raw = {key: [*values] for key, values in good.items()}
        raw[name][2] = bad
        expected = rf"(?s)`{name}` cannot be read.*row 2: {why}"
        with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
            ask(made, raw)
    assert "photo_status" not in ask(made, good)


def test_eight_threads(served):
    """One loaded SavedModel, asked by eight threads, answers as for one."""
    raw, _ = parts.rows()
    batches = [{k: x[i : i + 2] for k, x in raw.items()} for i in range(5)]
    wanted = [ask(served, batch) for batch in batches]
    wrong = []

    def work(first):
        for i in range(first, first + 15):
            got = ask(served, batches[i % 5])
            difference = np.abs(got["outputs"] - wanted[i % 5]["outputs"]).max()
            same = (got["class"] == wanted[i % 5]["class"]).all()
            if difference > 1e-6 or not same:
                wrong.append((i, difference))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_bad_limits(tmp_path):
    model = parts.model()
    for wrong in ({"film": 10}, {"photo": 0}, {"photo": 1.5}, {"photo": 2**31}):
        with pytest.raises(ValueError, match=r"`max_bytes` wants .*'photo'"):
            mm.export.saved_model(model, tmp_path / "1", max_bytes=wrong)
    with pytest.raises(ValueError, match=r"`on_bad_value` wants one of .*'absent'"):
        mm.export.saved_model(model, tmp_path / "1", on_bad_value="skip")
