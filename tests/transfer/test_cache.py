"""The feature cache on disk: never stale, nothing twice, whole or not at all."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras import transfer
from mmkeras.data import shards
from mmkeras.transfer import cache
from tests import tiny
from tests.transfer import tables


@pytest.fixture
def counter(monkeypatch):
    made = tables.Counter(cache.forward)
    monkeypatch.setattr(cache, "forward", made)
    return made


@pytest.fixture
def frame(tmp_path):
    return tables.table(tmp_path)


def fill(model, data, folder, **options):
    options = {"batch_size": 8, **options}
    return transfer.cache_features(model, data, folder / "cache", **options)


def direct(model, frame, **options):
    """The same rows without a cache."""
    return transfer.cache_features(model, frame, batch_size=8, **options)


def same(found, wanted):
    keras.tree.assert_same_structure(found, wanted)
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


def test_equals_memory_to_the_last_bit(frame, tmp_path):
    model, extras = tables.model(), {"label": "label", "sample_weight": "weight"}
    wanted = direct(model, frame, **extras)
    for _ in range(2):  # computed, then found
        features = fill(model, frame, tmp_path, **extras)
        assert len(features) == 24
        same(features.arrays(), wanted)
    inputs, labels, weights = wanted
    assert inputs["photo"].shape == (24, 8) and inputs["left"].shape == (24, 5)
    np.testing.assert_array_equal(labels, np.arange(24) % 3)
    np.testing.assert_array_equal(weights, frame.weight.astype("float32"))


def test_nothing_is_computed_twice(frame, tmp_path, counter):
    model = tables.model()
    fill(model, frame, tmp_path)
    assert counter.taken() == {"photo": 24, "left": 24}
    fill(tables.model(), frame, tmp_path)  # another build of the same network
    assert counter.taken() == {}


def test_new_rows_alone_are_computed(frame, tmp_path, counter):
    model = tables.model()
    fill(model, frame.iloc[:10], tmp_path)
    counter.taken()
    features = fill(model, frame.iloc[::-1], tmp_path)
    assert counter.taken() == {"photo": 14, "left": 14}
    inputs = fill(model, frame, tmp_path).arrays()
    same(inputs, direct(model, frame))
    reverse = {key: x[::-1] for key, x in inputs.items()}
    same(features.arrays(), reverse)


def test_equal_cells_are_computed_once(frame, tmp_path, counter):
    frame["left"] = [tables.numbers(i % 2) for i in range(24)]
    frame.loc[5, "photo"] = frame.photo[7]
    (tmp_path / "copy.raw").write_bytes((tmp_path / "7.raw").read_bytes())
    frame.loc[6, "photo"] = "copy.raw"
    frame.loc[8, "photo"] = None
    frame["photo"] = frame.photo.astype(object)
    frame.at[9, "photo"] = (tmp_path / "7.raw").read_bytes()
    features = fill(tables.model(), frame, tmp_path)
    assert counter.taken() == {"photo": 20, "left": 2}
    same(features.arrays(), direct(tables.model(), frame))


def test_a_changed_weight(frame, tmp_path, counter):
    model = tables.model()
    fill(model, frame, tmp_path)
    counter.taken()
    dense = model.get_layer("left_encoder").get_layer("block1_dense")
    kernel = dense.kernel.numpy()
    kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(9))
    dense.kernel.assign(kernel)
    same(fill(model, frame, tmp_path).arrays(), direct(model, frame))
    assert counter.taken() == {"left": 24}


def test_a_changed_contract(frame, tmp_path, counter):
    fill(tables.model(), frame, tmp_path)
    counter.taken()
    other = tables.model(photo={"divisor": 127.0})
    found = fill(other, frame, tmp_path).arrays()
    assert counter.taken() == {"photo": 24}
    same(found, direct(other, frame))


def test_a_changed_file(frame, tmp_path, counter):
    """The same name, size and time of modification: only the content differs."""
    model, path = tables.model(), tmp_path / "3.raw"
    time.sleep(2.6)  # old enough for the manifest to vouch for them
    fill(model, frame, tmp_path)
    assert str(path) in (tmp_path / "cache" / "manifest.json").read_text()
    counter.taken()
    stat, content = os.stat(path), bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert os.stat(path).st_size == stat.st_size
    assert os.stat(path).st_mtime_ns == stat.st_mtime_ns
    found = fill(model, frame, tmp_path).arrays()
    assert counter.taken() == {"photo": 1}
    same(found, direct(model, frame))


def test_a_file_changed_at_once(frame, tmp_path, counter):
    """Within a tick of the file system's clock no time tells of the change."""
    model = tables.model()
    fill(model, frame, tmp_path)
    counter.taken()
    tables.picture(tmp_path / "3.raw", 99)
    found = fill(model, frame, tmp_path).arrays()
    assert counter.taken() == {"photo": 1}
    same(found, direct(model, frame))


def test_an_edited_row(frame, tmp_path, counter):
    model = tables.model()
    fill(model, frame, tmp_path)
    counter.taken()
    frame.loc[4, "left"] = "1,2,3,4,5,6"
    frame.loc[5, "photo"] = None
    found = fill(model, frame, tmp_path).arrays()
    assert counter.taken() == {"left": 1}
    assert found["photo_present"].tolist() == [1.0] * 5 + [0.0] + [1.0] * 18
    same(found, direct(model, frame))


def test_absent_cells(frame, tmp_path):
    frame["left"] = [None, np.nan, "", *frame.left[3:]]
    model = tables.model()
    found = fill(model, frame, tmp_path).arrays()
    assert found["left_present"].tolist() == [0.0] * 3 + [1.0] * 21
    same(found, direct(model, frame))


def test_bad_cells_are_told_each_time_and_never_kept(frame, tmp_path, counter):
    (tmp_path / "2.raw").write_bytes(b"cut")
    (tmp_path / "3.raw").unlink()
    model = tables.model()
    with pytest.raises(ValueError, match=r"row 3, column 'photo'"):
        fill(model, frame, tmp_path)
    assert counter.taken() == {"left": 24}
    for count in ({"photo": 22}, {}):
        bad = []
        options = {"on_bad_row": "absent", "bad_rows": bad}
        found = fill(model, frame, tmp_path, **options).arrays()
        assert sorted(x.row for x in bad) == [2, 3]
        assert counter.taken() == count
        same(found, direct(model, frame, on_bad_row="absent"))
    tables.picture(tmp_path / "2.raw", 2)  # mended
    tables.picture(tmp_path / "3.raw", 3)
    same(fill(model, frame, tmp_path).arrays(), direct(model, frame))
    assert counter.taken() == {"photo": 2}


def test_a_file_that_changes_while_it_is_read(frame, tmp_path, monkeypatch):
    stolen = itertools.count()

    def changing(self, path, of=cache.Hashes.of):
        found = of(self, path)
        if str(path).endswith("3.raw") and not next(stolen):
            tables.picture(Path(path), 77)
        return found

    monkeypatch.setattr(cache.Hashes, "of", changing)
    with pytest.raises(OSError, match=r"3\.raw' changed while it was read"):
        fill(tables.model(), frame, tmp_path)


def test_an_error_keeps_what_is_finished(frame, tmp_path, counter):
    (tmp_path / "17.raw").write_bytes(b"cut")
    model = tables.model()
    with pytest.raises(tf.errors.InvalidArgumentError, match="row 17"):
        fill(model, frame, tmp_path)
    assert counter.taken() == {"photo": 16, "left": 24}
    tables.picture(tmp_path / "17.raw", 17)
    fill(model, frame, tmp_path)
    assert counter.taken() == {"photo": 8}


def test_a_full_disk_is_named_and_keeps_what_is_finished(
    frame, tmp_path, monkeypatch, counter
):
    written = itertools.count()

    def full(path, content, write=shards.write):
        if next(written):
            raise OSError(28, "No space left on device")
        write(path, content)

    model = tables.model()
    with monkeypatch.context() as disk:
        disk.setattr("mmkeras.data.shards.write", full)
        text = r"not be written to '.*cache.*No space left.* whole and kept: make room"
        with pytest.raises(OSError, match=text):
            fill(model, frame, tmp_path, shard_rows=8)
    assert counter.taken() == {"left": 16}  # the second shard found no room
    features = fill(model, frame, tmp_path)
    assert counter.taken() == {"left": 16, "photo": 24}
    same(features.arrays(), direct(model, frame))


def test_tokens_and_mask(frame, tmp_path):
    model = tables.model(
        photo={"tokens": True},
        fusion=Pooled(),
    )
    features = fill(model, frame, tmp_path)
    found = features.arrays()
    assert found["photo_tokens"].shape == (24, 4, 2)
    same(found, direct(model, frame))
    np.testing.assert_allclose(
        transfer.trunk(model).predict(features.dataset(8), verbose=0),
        model.predict(mm.data.from_table(frame, model, batch_size=8), verbose=0),
        atol=1e-6,
    )


class Pooled(mm.fusion.base.Fusion):
    """The means of tokens side by side."""

    takes_tokens = True

    def fuse(self, features, presence):
        means = [keras.ops.mean(x["tokens"], 1) for _, x in sorted(features.items())]
        masks = [keras.ops.sum(x["mask"], 1)[:, None] for x in features.values()]
        return keras.ops.concatenate(means + masks, -1)

    def fused_dim(self):
        return sum(self.dims.values()) + len(self.dims)


def test_a_dataset_of_tensors(tmp_path, counter):
    model = transfer.freeze(tiny.model(), "left")
    data = (*tiny.rows(48), np.arange(48, dtype="float32"))
    batches = tf.data.Dataset.from_tensor_slices(data).batch(16)
    wanted = transfer.cache_features(model, batches)
    counter.taken()
    for count in ({"left": 48}, {}):
        features = fill(model, batches, tmp_path, batch_size=16)
        assert counter.taken() == count
        same(features.arrays(), wanted)
    data[0]["left"][7, 0] += 1
    changed = tf.data.Dataset.from_tensor_slices(data).batch(16)
    found = fill(model, changed, tmp_path, batch_size=16).arrays()
    assert counter.taken() == {"left": 1}
    assert found[0]["right"].shape == (48, 4)


def test_encoders_that_train_are_read_from_the_table(frame, tmp_path):
    model = tables.model()
    transfer.unfreeze(model, "photo")
    features = fill(model, frame, tmp_path, label="label")
    wanted = direct(model, frame, label="label")
    same(features.arrays(), wanted)
    whole = [
        np.concatenate(x) for x in zip(*_rows(features, shuffle=True), strict=True)
    ]
    order = mm.data.order(24, 3, 0)
    np.testing.assert_array_equal(whole[0], wanted[0]["photo"][order])
    np.testing.assert_array_equal(whole[1], wanted[0]["left"][order])
    np.testing.assert_array_equal(whole[2], wanted[1][order])


def _rows(features, shuffle):
    for inputs, label in features.dataset(7, shuffle=shuffle, seed=3):
        yield inputs["photo"].numpy(), inputs["left"].numpy(), label.numpy()


def test_the_stream_is_the_arrays_in_each_order(frame, tmp_path):
    features = fill(tables.model(), frame, tmp_path, shard_rows=5, label="label")
    inputs, labels = features.arrays()
    stream = features.dataset(batch_size=7, shuffle=True, seed=3)
    assert len(stream) == 4
    for epoch in range(2):
        found = [np.concatenate(x) for x in zip(*_pairs(stream), strict=True)]
        order = mm.data.order(24, 3, epoch)
        np.testing.assert_array_equal(found[0], inputs["left"][order])
        np.testing.assert_array_equal(found[1], labels[order])
    alone = next(iter(fill(tables.model(), frame, tmp_path).dataset()))
    assert sorted(alone) == ["left", "left_present", "photo", "photo_present"]


def _pairs(stream):
    for inputs, label in stream:
        yield inputs["left"].numpy(), label.numpy()


def test_training_on_the_stream_equals_end_to_end(frame, tmp_path):
    ends = []
    for cached in (True, False):
        model = tables.model()
        part, data = (
            model,
            mm.data.from_table(
                frame, model, label="label", batch_size=8, shuffle=True, seed=1
            ),
        )
        if cached:
            part = transfer.trunk(model)
            part.compile("sgd", model.loss)
            data = fill(model, frame, tmp_path, label="label")
            data = data.dataset(batch_size=8, shuffle=True, seed=1)
        part.fit(data, epochs=3, verbose=0, shuffle=False)
        rows = mm.data.from_table(frame, model, batch_size=8)
        ends.append(model.predict(rows, verbose=0))
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_modality_dropout_acts_on_features(frame, tmp_path):
    """In training `left` is always hidden, so nothing that it gives is learned."""
    model = tables.model(modality_dropout={"left": 1.0}, fusion=mm.fusion.Concat())
    features = fill(model, frame, tmp_path, label="label")
    assert features.arrays()[0]["left_present"].all()
    trunk = transfer.trunk(model)
    trunk.compile("sgd", model.loss)
    kernel = model.layers[-1].trainable_weights[0]
    before = kernel.numpy()
    trunk.fit(features.dataset(8), epochs=2, verbose=0, shuffle=False)
    moved = np.abs(kernel.numpy() - before).max(axis=1) > 0
    assert moved.sum() == 8  # photo's rows of the kernel; not left's 5


def test_progress_is_told(frame, tmp_path):
    told = []

    class Progress:
        def track(self, items, total, label):
            told.append((label, total, len(list(items_ := list(items)))))
            return items_

    fill(tables.model(), frame, tmp_path, progress=Progress())
    fill(tables.model(), frame, tmp_path, progress=Progress())
    assert told == [
        ("Encoding 24 of 24 cells of 'left'", 3, 3),
        ("Encoding 24 of 24 cells of 'photo'", 3, 3),
    ]


def test_table_options_want_a_table(tmp_path):
    model = transfer.freeze(tiny.model())
    with pytest.raises(TypeError, match=r"\['label'\] are for a table"):
        transfer.cache_features(model, [tiny.rows()], tmp_path, label="kind")


def test_killed_in_the_middle(frame, tmp_path, counter):
    """kill -9: finished shards stay, the rest is computed, the features are equal."""
    model = tables.model()
    model.save(tmp_path / "model.keras")
    frame.to_csv(tmp_path / "table.csv", index=False)
    command = [sys.executable, "-m", "tests.transfer.caching_process", str(tmp_path)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not (done := list((tmp_path / "cache").glob("*/shard-*"))):
        assert child.poll() is None, child.stderr.read().decode()[-2000:]
        assert time.monotonic() < end
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stderr.close()
    done = list((tmp_path / "cache").glob("*/shard-*"))
    assert 8 <= 8 * len(done) < 48
    features = fill(model, frame, tmp_path, batch_size=4, shard_rows=8)
    assert sum(counter.taken().values()) == 48 - 8 * len(done)
    whole = transfer.cache_features(model, frame, tmp_path / "other", batch_size=4)
    same(features.arrays(), whole.arrays())
