"""The contract against scikit-learn, pandas and Keras' FeatureSpace."""

import csv
import io

import keras
import numpy as np
import pandas
import pytest
import tensorflow as tf
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import mmkeras as mm
from mmkeras.tabular import Columns

NUMERIC = ["age", "price"]
CATEGORICAL = ["colour", "rooms"]


def frame(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    colours = ["red", "sea, blue", 'the "old" one', "grün", "two\nlines"]
    return pandas.DataFrame(
        {
            "colour": rng.choice(colours, rows),
            "age": rng.integers(18, 90, rows),
            "price": rng.lognormal(3, 2, rows),
            "rooms": rng.integers(1, 5, rows),
        }
    )


@pytest.fixture(scope="module")
def columns():
    return Columns.from_frame(frame(), numeric=NUMERIC, categorical=CATEGORICAL)


def lines(table):
    """Lines as Python's csv module writes them, without mmkeras."""
    stream = io.StringIO()
    rows = table[NUMERIC + CATEGORICAL].astype(object)
    made = []
    for row in rows.where(rows.notna(), "").itertuples(index=False):
        stream.seek(0), stream.truncate()
        csv.writer(stream).writerow(row)
        made.append(stream.getvalue().removesuffix("\r\n"))
    return made


def encoded(columns, raw):
    return keras.ops.convert_to_numpy(columns(columns.read(tf.constant(raw))))


def oracle(train, table):
    """What scikit-learn makes of rows without a gap; unknown categories are zeros."""
    scaler = StandardScaler().fit(train[NUMERIC].to_numpy("float64"))
    hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    hot.fit(train[CATEGORICAL].astype(str))
    names = [
        f"{column}={value}"
        for column, values in zip(CATEGORICAL, hot.categories_, strict=True)
        for value in values
    ]
    z = scaler.transform(table[NUMERIC].to_numpy("float64"))
    y = hot.transform(table[CATEGORICAL].astype(str))
    return pandas.DataFrame(np.hstack([z, y]), columns=NUMERIC + names)


def test_complete_rows_are_those_of_scikit_learn(columns):
    test = frame(20, seed=1)
    got = pandas.DataFrame(encoded(columns, lines(test)), columns=columns.slots)
    want = oracle(frame(), test)
    np.testing.assert_allclose(got[want.columns], want, atol=2e-6)
    rest = got.drop(columns=want.columns)
    assert set(rest) == {
        f"{x} {gap}"
        for x, gaps in {
            **dict.fromkeys(NUMERIC, ["missing"]),
            **dict.fromkeys(CATEGORICAL, ["missing", "unknown"]),
        }.items()
        for gap in gaps
    }
    assert not rest.to_numpy().any()


def test_complete_rows_are_those_of_feature_space(columns):
    space = keras.utils.FeatureSpace(
        features={
            **dict.fromkeys(NUMERIC, "float_normalized"),
            **dict.fromkeys(CATEGORICAL, "string_categorical"),
        },
        output_mode="dict",
    )

    def tensors(table):
        found = {x: table[x].to_numpy("float32")[:, None] for x in NUMERIC}
        return found | {
            x: table[x].astype(str).to_numpy(object)[:, None] for x in CATEGORICAL
        }

    space.adapt(tf.data.Dataset.from_tensor_slices(tensors(frame())).batch(8))
    test = frame(20, seed=1)
    want = space({k: tf.constant(x) for k, x in tensors(test).items()})
    got = pandas.DataFrame(encoded(columns, lines(test)), columns=columns.slots)
    for name in NUMERIC:
        np.testing.assert_allclose(got[name], want[name].numpy()[:, 0], atol=1e-4)
    for name in CATEGORICAL:
        vocabulary = space.preprocessors[name].get_vocabulary()
        found = [f"{name}={x}" for x in vocabulary[1:]]
        np.testing.assert_array_equal(
            got[[f"{name} unknown", *found]], want[name].numpy()
        )


def test_gaps_have_slots_of_their_own(columns):
    train = frame()
    raw = [",12.5,red,3", "30,,red,3", "30,12.5,,3", "30,12.5,red,"]
    got = pandas.DataFrame(encoded(columns, raw), columns=columns.slots)
    complete = encoded(columns, ["30,12.5,red,3"])[0]
    whole = dict(zip(columns.slots, complete, strict=True))
    assert whole["age"] == pytest.approx(
        (30 - train.age.mean()) / train.age.std(ddof=0), abs=1e-6
    )
    for row, name in enumerate([*NUMERIC, *CATEGORICAL]):
        want = {x: 0.0 if x.startswith(name) else y for x, y in whole.items()}
        assert got.loc[row].to_dict() == {**want, f"{name} missing": 1.0}


def test_unknown_categories_share_a_slot(columns):
    got = pandas.DataFrame(encoded(columns, ["1,1,pink,99"]), columns=columns.slots)
    own = [x for x in columns.slots if x.startswith(("colour", "rooms"))]
    hot = [x for x in own if got[x][0]]
    assert hot == ["colour unknown", "rooms unknown"]
    # a category of another column is unknown here
    got = encoded(columns, ["1,1,3,red"])
    np.testing.assert_array_equal(got, encoded(columns, ["1,1,pink,99"]))


@pytest.mark.parametrize("line", ["", ",,,", '"","","",""', " , ,\t,"])
def test_a_row_without_a_cell_is_absent(columns, line):
    raw = tf.constant([line, "1,2,red,3"])
    assert columns.presence(raw).numpy().tolist() == [0.0, 1.0]
    assert not columns.read(raw).numpy()[0].any()


def test_spelling_of_numbers_and_spaces_do_not_count(columns):
    want = columns.read("30,12.5,red,3").numpy()
    for line in (" 30 , 1.25e1,red ,3", '"30.0","+12.50",red,"3"', "3E1,012.5,red,3"):
        np.testing.assert_array_equal(columns.read(line).numpy(), want)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,abc,red,3", "row 1, column `price`: `abc` is no finite number"),
        ("nan,1,red,3", "row 1, column `age`: `nan`"),
        ("0x10,1,red,3", "row 1, column `age`: `0x10`"),
        ("1e39,1,red,3", "row 1, column `age`: `1e39`"),
        ("1,2,red", "Expect 4 fields but have 3"),
        ("1,2,red,3,4", "Expect 4 fields but have 5"),
    ],
)
def test_bad_lines_are_refused(columns, line, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        columns.read(["1,2,red,3", line])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        columns.compiled_read(tf.constant(["1,2,red,3", line]))


def test_what_a_refusal_shows_is_text_and_short(columns):
    """A server's answer holds it, and JSON takes no other."""
    told = columns.refusal(tf.constant(b"1,\x95\xffa,red,3")).numpy().decode("utf-8")
    assert told == "column `price`: `\ufffd\ufffda` is no finite number"
    told = columns.refusal(tf.constant("1," + 9000 * "é" + ",red,3")).numpy().decode()
    assert told == f"column `price`: `{80 * 'é'}` is no finite number"


def test_keeps_the_laws(columns):
    complete = lines(frame(3))
    bad = ["a,1,red,3", "1,2", '1,2,5" wide,3']
    mm.testing.check_modality_input(columns, [*complete, "1,,,", ",,red,"], bad)


def test_numbers_alone_and_categories_alone():
    numbers = Columns({"x": (1.0, 2.0)})
    np.testing.assert_array_equal(
        encoded(numbers, ["5", '""']),
        [[2, 0], [-0.5, 0]],  # the second: absent
    )
    mm.testing.check_modality_input(numbers, ["5", "-1e3"], ["x"])
    names = Columns(categorical={"c": ["a", "b"]})
    np.testing.assert_array_equal(
        encoded(names, ["b", "z"])[:, 1:], [[0, 0, 1], [1, 0, 0]]
    )
    mm.testing.check_modality_input(names, ["a", "b"], ["a,b"])


def test_line_reads_back(columns):
    for row in frame(20, seed=2).to_dict("records"):
        np.testing.assert_array_equal(
            columns.read_cell(columns.line(row)),
            np.float32([row["age"], row["price"], *_places(columns, row)]),
        )
    assert columns.line({}) == "" == columns.line([None, np.nan, "", pandas.NA])
    assert columns.read(columns.line({"age": 3})).numpy()[0] == 3
    with pytest.raises(ValueError, match="column 'age': 'x' is no number"):
        columns.line({"age": "x"})
    with pytest.raises(ValueError, match="does not have: \\['weight'\\]. Valid names"):
        columns.line({"weight": 1})


def _places(columns, row):
    return [columns.categorical[x].index(str(row[x])) + 1 for x in ("colour", "rooms")]


def test_kinds_are_told_from_the_cells():
    table = pandas.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [1.5, None, 2],
            "b": [True, False, True],
            "o": pandas.Series([1, None, 2.5], dtype=object),
            "n": pandas.Series([1, pandas.NA, 2], dtype="Int64"),
            "s": ["x", None, "y"],
            "c": pandas.Categorical(["u", "v", "u"]),
            "when": pandas.to_datetime(["2020-01-01"] * 3),
            "label": ["p", "q", "p"],
        }
    )
    made = Columns.from_frame(table, ["i", "f", "b", "o", "n", "s", "c"])
    assert list(made.numeric) == ["i", "f", "b", "o", "n"]
    assert made.categorical == {"s": ("x", "y"), "c": ("u", "v")}
    for name in "ifon":
        values = table[name].astype("float64")
        assert made.numeric[name] == pytest.approx((values.mean(), values.std(ddof=0)))
    other = Columns.from_frame(table, ["i", "s"], categorical=["i"], numeric=["f"])
    assert other.columns == ("f", "i", "s")
    assert other.categorical["i"] == ("1", "2", "3")
    with pytest.raises(ValueError, match="'when' holds neither numbers nor strings"):
        Columns.from_frame(table, ["when"])
    with pytest.raises(ValueError, match="3 different strings, more than"):
        Columns.from_frame(table.assign(s=["x", "y", "z"]), ["s"], max_categories=2)


def test_rare_categories_are_unknown():
    table = pandas.DataFrame({"c": list("aaabbc"), "k": [7, 7, 8, None, 7, 9]})
    made = Columns.from_frame(table, ["c"], categorical=["k"], min_count=2)
    assert made.categorical == {"k": ("7",), "c": ("a", "b")}
    made = Columns.from_frame(table, categorical=["c"], max_categories=1)
    assert made.categorical == {"c": ("a",)}


def test_a_constant_column_has_deviation_1():
    table = pandas.DataFrame({"x": [0.1] * 7})
    made = Columns.from_frame(table, ["x"])
    scaler = StandardScaler().fit(table)
    got = encoded(made, ["0.1", "2.1"])[:, 0]
    want = scaler.transform(pandas.DataFrame({"x": [0.1, 2.1]}))[:, 0]
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"wants names of columns.*must not be one. Valid names: \['x'"),
        ({"columns": ["xx"]}, r"no column 'xx'. Near names: \['x'\]"),
        ({"numeric": ["c"]}, "column 'c', row 0: 'a' is no number"),
        ({"columns": ["e"]}, "Column 'e' (has no value|holds neither)"),
        ({"numeric": ["e"]}, "Column 'e' has no value in the training rows"),
        ({"numeric": ["x"], "categorical": ["x"]}, r"\['x'\] are both in"),
        ({"categorical": ["c"], "min_count": 5}, "no category in 5 rows or more"),
    ],
)
def test_from_frame_says_what_is_wrong(arguments, message):
    table = pandas.DataFrame({"x": [1, 2], "c": ["a", "b"], "e": [None, None]})
    with pytest.raises(ValueError, match=message):
        Columns.from_frame(table, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one column"),
        ({"numeric": {"x": (0, 0)}}, r"numeric\['x'\].*above 0"),
        ({"numeric": {"x": (np.nan, 1)}}, "finite mean"),
        ({"categorical": {"c": ["a", "a"]}}, "different categories"),
        ({"categorical": {"c": []}}, "different categories"),
        ({"categorical": {"c": ["a", ""]}}, "none of them empty"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Columns(**arguments)


def test_large_numbers_under_half_precision(columns):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        wide = Columns({"x": (1e6, 1e5)}, {"c": [str(i) for i in range(3000)]})
        got = encoded(wide, ["1200000,2999"])
    finally:
        keras.config.set_dtype_policy("float32")
    assert got.dtype == "float32"
    assert got[0, 0] == 2.0 and np.flatnonzero(got[0]).tolist() == [0, 2 + 2 + 2999]
