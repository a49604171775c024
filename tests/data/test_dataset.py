import gc

import keras
import numpy as np
import pandas
import pytest
import soundfile
import tensorflow as tf

import mmkeras as mm
from tests.data.rows import CLASSES, columns


def picture(path):
    return tf.io.decode_png(tf.io.read_file(str(path)), 3).numpy().astype("float32")


def test_values_are_those_of_an_independent_decoder(folder, contracts):
    rows = mm.data.from_table(
        folder / "table.csv", contracts, label="label", classes=CLASSES
    )
    assert len(rows) == 10
    inputs, labels = columns(rows)
    assert sorted(inputs) == sorted(
        [x + y for x in ("photo", "title", "clip") for y in ("", "_present")]
    )
    np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    for i in range(10):
        np.testing.assert_allclose(
            inputs["photo"][i], picture(folder / f"{i}.png"), atol=1e-4
        )
        assert bytes(inputs["title"][i].astype("uint8")) == f"no. {i}".encode()[
            :6
        ].ljust(6, b"\0")
        wave, _ = soundfile.read(folder / f"{i}.wav", dtype="float32")
        np.testing.assert_allclose(inputs["clip"][i, :60], wave, atol=1e-6)
        assert not inputs["clip"][i, 60:].any()
    for name in contracts:
        np.testing.assert_array_equal(inputs[f"{name}_present"], 1.0)


def test_batches_hold_the_same_rows(folder, contracts):
    source = folder / "table.csv"
    alone, _ = columns(
        mm.data.from_table(source, contracts, label="label", classes=CLASSES)
    )
    batches = mm.data.from_table(
        source, contracts, label="label", classes=CLASSES, batch_size=4
    )
    assert len(batches) == 3
    parts = [x for x, _ in batches.as_numpy_iterator()]
    assert [len(x["photo"]) for x in parts] == [4, 4, 2]
    for key, want in alone.items():
        np.testing.assert_array_equal(np.concatenate([x[key] for x in parts]), want)


def test_user_may_shuffle_and_batch(folder, contracts):
    rows = mm.data.from_table(folder / "table.csv", contracts)
    batches = rows.shuffle(1000).batch(4)
    assert int(batches.cardinality()) == 3
    assert sum(len(x["title"]) for x in batches) == 10


@pytest.mark.parametrize("batch_size", [None, 4])
def test_order_is_a_function_of_seed_and_epoch(frame, contracts, batch_size):
    def passes(seed, count=2):
        rows = mm.data.from_table(
            frame.assign(label=range(10)),
            {"title": contracts["title"]},
            label="label",
            shuffle=True,
            seed=seed,
            batch_size=batch_size,
        )
        return [
            np.hstack([y for _, y in rows.as_numpy_iterator()]) for _ in range(count)
        ]

    one, two = passes(1), passes(2)
    np.testing.assert_array_equal(one, passes(1))
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one[0], two[0])
    for epoch in range(2):
        assert sorted(one[epoch]) == list(range(10))
        np.testing.assert_array_equal(one[epoch], mm.data.order(10, 1, epoch))


def test_empty_cells_are_absent(frame, contracts):
    frame["photo"] = ["", None, float("nan"), pandas.NA, *frame["photo"][4:]]
    frame["title"] = [None, "", *frame["title"][2:]]
    frame["clip"] = [b"", None, *frame["clip"][2:]]
    rows = mm.data.from_table(frame, contracts, label="label", classes=CLASSES)
    inputs, _ = columns(rows)
    np.testing.assert_array_equal(inputs["photo_present"], [0] * 4 + [1] * 6)
    np.testing.assert_array_equal(inputs["title_present"], [0] * 2 + [1] * 8)
    np.testing.assert_array_equal(inputs["clip_present"], [0] * 2 + [1] * 8)
    assert not inputs["photo"][:4].any()
    assert not inputs["title"][:2].any()
    assert not inputs["clip"][:2].any()


def test_cells_may_be_bytes_and_absolute_paths(folder, frame, contracts):
    frame["photo"] = [(folder / x).read_bytes() for x in frame["photo"]]
    frame["clip"] = [folder / x for x in frame["clip"]]
    frame["title"] = [x.encode() for x in frame["title"]]
    frame.attrs.clear()
    given, _ = columns(
        mm.data.from_table(frame, contracts, label="label", classes=CLASSES)
    )
    want, _ = columns(
        mm.data.from_table(
            folder / "table.csv", contracts, label="label", classes=CLASSES
        )
    )
    for key in want:
        np.testing.assert_array_equal(given[key], want[key])


def test_root_and_file_urls(folder, frame, contracts):
    frame["photo"] = [f"file://{folder}/{x}" for x in frame["photo"]]
    frame.attrs.clear()
    rows = mm.data.from_table(
        frame, contracts, label="label", classes=CLASSES, root=folder
    )
    inputs, _ = columns(rows)
    np.testing.assert_allclose(inputs["photo"][9], picture(folder / "9.png"), atol=1e-4)


def test_two_columns_of_one_kind(folder, frame, contracts):
    frame["image path"] = frame["photo"][::-1].to_list()
    rows = mm.data.from_table(
        frame,
        {"front": contracts["photo"], "back": contracts["photo"]},
        label="label",
        classes=CLASSES,
        columns={"front": "photo", "back": "image path"},
    )
    inputs, _ = columns(rows)
    np.testing.assert_array_equal(inputs["front"], inputs["back"][::-1])
    assert inputs["front"].any()


def test_wide_table_and_one_row(frame, contracts):
    wide = pandas.concat(
        [frame, pandas.DataFrame(0, index=frame.index, columns=range(400))], axis=1
    )[:1]
    wide.attrs.update(frame.attrs)
    rows = mm.data.from_table(wide, contracts, label="label", classes=CLASSES)
    inputs, labels = columns(rows)
    assert len(labels) == 1
    assert inputs["photo_present"].tolist() == [1.0]


def test_weights_come_third(frame, contracts):
    frame["w"] = np.linspace(0, 2, 10)
    for weight in ("w", list(frame["w"])):
        rows = mm.data.from_table(
            frame, contracts, label="label", classes=CLASSES, sample_weight=weight
        )
        got = [float(w) for _, _, w in rows]
        np.testing.assert_allclose(got, frame["w"], rtol=1e-6)
    with pytest.raises(ValueError, match="one a row"):
        mm.data.from_table(
            frame, contracts, label="label", classes=CLASSES, sample_weight=[1.0]
        )
    frame.loc[3, "w"] = -1.0
    with pytest.raises(ValueError, match=r"0 or more.*row 3 \(1 in all\)"):
        mm.data.from_table(
            frame, contracts, label="label", classes=CLASSES, sample_weight="w"
        )


def test_fit_evaluate_predict(folder, frame, network):
    frame.loc[2, ["photo", "title", "clip"]] = None  # all absent
    head = mm.heads.classification(CLASSES)
    model = network(head.layer)
    model.compile("sgd", head.loss, metrics=head.metrics)
    train = mm.data.from_table(
        frame,
        model,
        label="label",
        batch_size=4,
        shuffle=True,
        sample_weight=[1.0] * 10,
    )
    history = model.fit(train, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    rows = mm.data.from_table(frame, model, label="label")
    scores = model.evaluate(rows.batch(5), return_dict=True, verbose=0)
    outputs = model.predict(mm.data.from_table(frame, model, batch_size=3), verbose=0)
    assert outputs.shape == (10, 3)
    want = frame["label"].map(CLASSES.index)
    np.testing.assert_allclose(
        scores["accuracy"], np.mean(outputs.argmax(1) == want), atol=1e-6
    )


def test_several_outputs(frame, network):
    frame["price"] = np.arange(10.0)
    model = network(
        {
            "sort": mm.heads.classification(CLASSES).layer,
            "cost": keras.layers.Dense(1, name="cost"),
        }
    )
    rows = mm.data.from_table(
        frame,
        model,
        label={"sort": "label", "cost": "price"},
        batch_size=10,
        sample_weight=[1.0] * 10,
    )
    _, labels, weight = next(iter(rows))
    np.testing.assert_array_equal(labels["sort"], np.arange(10) % 3)
    np.testing.assert_array_equal(labels["cost"][:, 0], np.arange(10))
    assert sorted(weight) == ["cost", "sort"]
    loss = {"sort": keras.losses.SparseCategoricalCrossentropy(True), "cost": "mse"}
    model.compile("sgd", loss)
    history = model.fit(rows, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    with pytest.raises(ValueError, match=r"dict, output.*\['cost', 'sort'\]"):
        mm.data.from_table(frame, model, label="label")
    with pytest.raises(ValueError, match=r"\['kind'\].*Valid names: \['cost', 'sort'"):
        mm.data.from_table(frame, model, label={"kind": "label"})


def test_bad_arguments(frame, contracts):
    with pytest.raises(ValueError, match="`on_bad_row` wants one of.*'skip'"):
        mm.data.from_table(frame, contracts, on_bad_row="skip")
    with pytest.raises(TypeError, match="`bad_rows` wants a list"):
        mm.data.from_table(frame, contracts, bad_rows=())
    with pytest.raises(ValueError, match="want a `label`"):
        mm.data.from_table(frame, contracts, sample_weight=[1.0] * 10)
    renamed = frame.rename(columns={"photo": "photos"})
    with pytest.raises(ValueError, match=r"no column 'photo'.*Near names: .'photos'"):
        mm.data.from_table(renamed, contracts)
    with pytest.raises(ValueError, match=r"\['foto'\].*Valid names: .'clip', 'photo'"):
        mm.data.from_table(frame, contracts, columns={"foto": "photo"})
    with pytest.raises(ValueError, match="at least one row"):
        mm.data.from_table(frame[:0], contracts)
    with pytest.raises(TypeError, match="a path or a pandas.DataFrame.*list"):
        mm.data.from_table([1], contracts)
    twice = pandas.concat([frame, frame[["photo"]]], axis=1)
    with pytest.raises(ValueError, match="2 columns called 'photo'"):
        mm.data.from_table(twice, contracts)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_no_thread_that_tunes_lengthens_a_pass(folder, contracts, batch_size):
    """TensorFlow joins its autotuning thread at the end of a pass, asleep or not."""
    rows = mm.data.from_table(folder / "table.csv", contracts, batch_size=batch_size)
    assert rows.options().autotune.enabled is False
    # nor one of what the caller appends
    mapped = rows.map(lambda x: x["clip"], num_parallel_calls=tf.data.AUTOTUNE)
    assert mapped.options().autotune.enabled is False
    assert len(list(mapped)) == len(rows)


def test_texts_alone_are_read_after_the_dataset_is_forgotten(folder, contracts):
    title = {"title": contracts["title"]}
    source = folder / "table.csv"
    batches = iter(mm.data.from_table(source, title, batch_size=4))
    gc.collect()
    assert sum(len(x["title"]) for x in batches) == 10
