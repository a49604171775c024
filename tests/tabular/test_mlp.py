"""The encoder, and the whole road: a table with another modality, saved and served."""

import keras
import numpy as np
import pandas
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.tabular import Columns, mlp
from mmkeras.testing import process
from tests.export import parts


def table(rows=48):
    """Age and colour tell the class; the title does not. Some cells are missing."""
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, rows).round(2).astype(object)
    colour = rng.choice(["red", "blue"], rows).astype(object)
    label = np.where((age > 40) ^ (colour == "red"), "yes", "no")
    title = rng.choice(["red", "green and blue"], rows).astype(object)
    age[0] = colour[1] = title[2] = None
    age[3] = colour[3] = None
    return pandas.DataFrame(
        {"age": age, "colour": colour, "title": title, "label": label}
    )


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    contract = Columns.from_frame(table(), ["age", "colour"])
    head = mm.heads.classification(["no", "yes"])
    made = mm.multimodal(
        {
            "facts": mlp(contract, units=(16, 8)),
            "title": parts.title(),
        },
        mm.fusion.Concat(),
        head.layer,
    )
    made.compile(keras.optimizers.Adam(0.03), head.loss, metrics=head.metrics)
    return made


@pytest.fixture(scope="module")
def trained(model):
    inputs = tensors(table(), model)
    model.fit(inputs, labels(), batch_size=16, epochs=30, verbose=0)
    return model


def labels():
    return (table().label == "yes").to_numpy("int32")


def contract():
    return Columns.from_frame(table(), ["age", "colour"])


def tensors(rows, of, **options):
    batches = mm.data.from_table(rows, of, batch_size=16, **options)
    parts = list(batches.as_numpy_iterator())
    return {k: np.concatenate([x[k] for x in parts]) for k in parts[0]}


def test_is_an_encoder():
    encoder = mlp(contract(), units=(6, 4), rate=0.5)
    assert encoder.output_shape == (None, 4)
    mm.testing.check_encoder(encoder)


def test_is_a_matrix_product_of_the_slots():
    columns = contract()
    encoder = mlp(columns, units=3, activation="tanh")
    lines = ["33,red", ",blue", "1,"]
    kernel, bias = encoder.get_weights()
    want = np.tanh(columns(columns.read(lines)).numpy() @ kernel + bias)
    np.testing.assert_allclose(encoder(columns.read(lines)), want, atol=1e-6)


def test_wants_columns():
    with pytest.raises(TypeError, match="`Columns.from_frame"):
        mlp(["age"])
    with pytest.raises(ValueError, match="at least one width"):
        mlp(contract(), units=())


def test_rows_of_a_table(model):
    rows = table()
    got = tensors(rows, model)
    there = rows[["age", "colour"]].notna()
    np.testing.assert_array_equal(got["facts_present"], there.any(axis=1))
    np.testing.assert_array_equal(got["title_present"], rows.title.notna())
    want = np.stack(
        [
            rows.age.astype("float32"),
            rows.colour.map({"blue": 1.0, "red": 2.0}).astype("float32"),
        ],
        axis=1,
    )
    want[~there.any(axis=1)] = 0
    np.testing.assert_array_equal(got["facts"], want)
    assert np.isnan(got["facts"]).sum() == 2


def test_it_learns_from_the_columns(trained):
    logits = trained.predict(tensors(table(), trained), verbose=0)
    assert (logits.argmax(-1) == labels()).mean() > 0.9


def test_columns_under_other_names():
    rows, model = table(), {"facts": contract()}
    want = tensors(rows, model)["facts"]
    names = {"age": "Alter", "colour": "Farbe"}
    other = rows.rename(columns=names)
    for columns, source in (
        (["colour", "age"], rows),  # its own columns, in any order
        (["Alter", "Farbe"], other),  # others, in the contract's
    ):
        got = tensors(source, model, columns={"facts": columns})["facts"]
        np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match=r"wants 2 columns.*\['age', 'colour'\]"):
        tensors(rows, model, columns={"facts": ["age"]})
    with pytest.raises(ValueError, match="no column 'age' for modality 'facts'"):
        tensors(other, model)


def test_one_column_by_its_name():
    one = {"facts": Columns({"age": (0, 1)})}
    got = tensors(pandas.DataFrame({"years": [3, 4]}), one, columns={"facts": "years"})
    np.testing.assert_array_equal(got["facts"], [[3], [4]])


def test_a_bad_cell_is_told_or_missing():
    rows, model = table(), {"facts": contract()}
    rows.loc[17, "age"] = "abc"
    rows.loc[20, "age"] = float("inf")
    with pytest.raises(ValueError, match="row 17, column 'age': 'abc' is no number"):
        tensors(rows, model)
    bad = []
    got = tensors(rows, model, on_bad_row="absent", bad_rows=bad)
    assert [(x.row, x.column) for x in bad] == [(17, "age"), (20, "age")]
    assert np.isnan(got["facts"][[17, 20], 0]).all()
    assert not np.isnan(got["facts"][[17, 20], 1]).any()
    assert got["facts_present"][[17, 20]].all()


def test_an_absent_row_is_not_read(model):
    inputs = tensors(table()[:4], model)
    want = model.predict(inputs, verbose=0)
    inputs["facts"] = np.where(
        inputs["facts_present"][:, None] > 0, inputs["facts"], np.float32("nan")
    )
    np.testing.assert_array_equal(model.predict(inputs, verbose=0), want)


def test_saved_and_loaded_in_safe_mode(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    inputs = tensors(table(), loaded)
    np.testing.assert_array_equal(
        loaded.predict(inputs, verbose=0), trained.predict(inputs, verbose=0)
    )


def test_served_as_predicted(trained, tmp_path):
    """A line of CSV at the raw endpoint, numbers and places at the other."""
    rows = table()[:8].fillna("")
    lines = [
        f"{age},{colour}" for age, colour in zip(rows.age, rows.colour, strict=True)
    ]
    lines[5] = "41.5,pink"  # unknown
    raw = {"facts": lines, "title": list(rows.title)}
    report = mm.export.saved_model(trained, tmp_path / "1", examples=raw)
    assert report.max_difference < 1e-5 and not report.custom_ops
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serve_raw"]
    got = served(**{k: tf.constant(x) for k, x in raw.items()})["outputs"].numpy()
    want = trained.predict(tensors(table()[:8], trained), verbose=0)
    keep = [i for i in range(8) if i != 5]
    np.testing.assert_allclose(got[keep], want[keep], atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="column `age`: `old`"):
        served(facts=tf.constant(["old,red"]), title=tf.constant([""]))
    card = mm.export.read_card(tmp_path / "1")["modalities"]["facts"]
    assert card["kind"] == "table"
    assert card["columns"] == [
        {"name": "age", "kind": "number"},
        {"name": "colour", "kind": "category", "categories": ["blue", "red"]},
    ]


def test_features_are_cached_by_content(model, tmp_path):
    rows = table()
    mm.transfer.freeze(model, "facts")
    try:
        cached = mm.transfer.cache_features(model, rows, tmp_path, label="label")
        got, labels = cached.arrays()
        written = {x: x.stat().st_mtime_ns for x in tmp_path.rglob("*.safetensors")}
        # a number in another spelling is the same row; the same cells, the same file
        again = rows.assign(age=[x and str(x) for x in rows.age])
        mm.transfer.cache_features(model, again, tmp_path, label="label")
        now = {x: x.stat().st_mtime_ns for x in tmp_path.rglob("*.safetensors")}
        changed = rows.copy()
        changed.loc[5, "age"] += 1
        other, _ = mm.transfer.cache_features(
            model, changed, tmp_path, label="label"
        ).arrays()
    finally:
        mm.transfer.unfreeze(model, "facts")
    assert written and now == written
    inputs = tensors(rows, model)
    encoder = model.get_layer("facts_encoder")
    there = inputs["facts_present"] > 0
    want = encoder.predict(inputs["facts"], verbose=0)
    np.testing.assert_allclose(got["facts"][there], want[there], atol=1e-6)
    np.testing.assert_array_equal(got["facts_present"], inputs["facts_present"])
    differs = (other["facts"] != got["facts"]).any(axis=1)
    assert np.flatnonzero(differs).tolist() == [5]


@pytest.mark.slow
def test_a_fresh_process_predicts_the_same(trained, tmp_path):
    inputs = tensors(table(), trained)
    trained.save(tmp_path / "model.keras")
    np.savez(tmp_path / "model.npz", **inputs)
    # a test that froze the shared model left it the optimizer of mmkeras.transfer
    modules = ("mmkeras.tabular", "mmkeras.transfer", "tests.export.parts")
    process.run("mmkeras.testing.fresh", tmp_path, *modules)
    np.testing.assert_allclose(
        np.load(tmp_path / "model.npy"), trained(inputs), rtol=1e-6, atol=1e-6
    )
