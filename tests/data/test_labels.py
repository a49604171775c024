import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras.data.labels import targets
from tests.tiny import encoder


def model(head):
    return mm.multimodal({"size": encoder()}, mm.fusion.Concat(), head)


def encode(values, head=None, classes=None):
    frame = pandas.DataFrame({"label": values})
    return targets(frame, "label", {} if head is None else model(head), classes)


def single(*names):
    return mm.heads.classification(list(names)).layer


def dense(units):
    return keras.layers.Dense(units)


SINGLE = {
    "names of the head": (["b", "a", "b"], single("b", "a", "c"), None, [0, 1, 0]),
    "names of the call": (["b", "a"], dense(3), ["b", "a", "c"], [0, 1]),
    "head without names": (
        ["b", "a"],
        mm.heads.classification(2).layer,
        ["b", "a"],
        [0, 1],
    ),
    "no model": (["b", "a"], None, ["b", "a"], [0, 1]),
    "found": (["b", "a", "c", "a"], dense(3), None, [1, 0, 2, 0]),
    "found numbers": (["10", "9"], dense(2), None, [1, 0]),
    "ids": ([2, 0], dense(3), None, [2, 0]),
    "ids of a named head": ([1, 0], single("b", "a"), None, [1, 0]),
    "ids as floats": ([2.0, 0.0], dense(3), None, [2, 0]),
    "ids without a model": ([2, 0], None, None, [2, 0]),
    "integers that are names": ([20, 10], single("10", "20"), None, [1, 0]),
    "nullable integers": (pandas.array([1, 0], "Int64"), dense(2), None, [1, 0]),
    "bools": ([True, False], single("no", "yes"), None, [1, 0]),
    "bools that are names": ([True, False], single("True", "False"), None, [0, 1]),
    "categories": (pandas.Categorical(["b", "a"]), dense(2), None, [1, 0]),
}


@pytest.mark.parametrize("case", SINGLE)
def test_single(case):
    values, head, classes, want = SINGLE[case]
    got = encode(values, head, classes)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "values",
    [["a|c", "b", "|", "c | a"], [["a", "c"], ("b",), [], {"c", "a"}]],
)
@pytest.mark.parametrize("named", [True, False])
def test_multi(values, named):
    names = ["a", "b", "c"]
    head = mm.heads.multilabel(names).layer if named else dense(3)
    got = encode(values, head)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]])


def test_multi_names_its_rows():
    with pytest.raises(ValueError, match=r"classes \['a', 'b'\].*'a\|x' in row 1"):
        encode(["a", "a|x"], mm.heads.multilabel(["a", "b"]).layer)


@pytest.mark.parametrize(
    ("values", "want"),
    [([1, 2], [[1], [2]]), (["1.5", "2"], [[1.5], [2]]), ([True, False], [[1], [0]])],
)
def test_numbers(values, want):
    for head in (mm.heads.regression().layer, dense(1)):
        if head.name == "head" or not isinstance(values[0], str):
            got = encode(values, head)
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, want)


def test_several_numbers():
    want = [[1, 3], [2, 4]]
    np.testing.assert_array_equal(encode([[1, 3], [2, 4]], dense(2)), want)
    frame = pandas.DataFrame({"x": [1, 2], "y": [3, 4]})
    for head in (dense(2), mm.heads.regression(["x", "y"]).layer):
        np.testing.assert_array_equal(targets(frame, ["x", "y"], model(head)), want)
    with pytest.raises(ValueError, match=r"wants 3 number\(s\) a row.*Received: 2"):
        targets(frame, ["x", "y"], model(dense(3)))
    with pytest.raises(ValueError, match="one column: the head is for one class"):
        targets(frame, ["x", "y"], model(single("a", "b")))


def test_two_classes_for_one_output():
    np.testing.assert_array_equal(encode(["no", "yes"], dense(1)), [[0.0], [1.0]])


NAN = float("nan")
# what is wrong -> (labels, head, classes, message)
BAD = {
    "unseen": (
        ["a", "x", "b", "x"],
        single("a", "b"),
        None,
        r"\['a', 'b'\].*'x' in row 1, row 3 \(2 in all\)",
    ),
    "missing": (
        ["a", None, "b", ""],
        single("a", "b"),
        None,
        r"none in row 1, row 3 \(2 in all\).*dropna",
    ),
    "nan": (
        [1.0, NAN],
        dense(1),
        None,
        r"none in row 1 \(1 in all\)",
    ),
    "range": (
        [0, 3, -1],
        dense(3),
        None,
        r"from 0 to 2.*3 in row 1, row 2",
    ),
    "negative": (
        [0, -1],
        None,
        None,
        r"-1 in row 1",
    ),
    "range of a named head": (
        [0, 2],
        single("a", "b"),
        None,
        r"\['a', 'b'\].*2 in row 1",
    ),
    "half": (
        [0.5, 1.0],
        single("a", "b"),
        None,
        r"class ids.*0.5 in row 0",
    ),
    "one class": (
        ["a", "a"],
        dense(3),
        None,
        "two or more classes.*'a' in every row",
    ),
    "one id": (
        [1, 1],
        dense(3),
        None,
        "two or more classes.*1 in every row",
    ),
    "width": (
        ["a", "b"],
        dense(3),
        None,
        "2 classes and the model's head has 3 outputs.*`classes`",
    ),
    "no names": (
        ["a", "b"],
        None,
        None,
        "holds strings: pass `classes`",
    ),
    "number of names": (
        ["a", "b"],
        dense(3),
        ["a", "b"],
        "`classes` wants 3 names.*2 names",
    ),
    "other names": (
        ["a"],
        single("a", "b"),
        ["b", "a"],
        "`classes` differs.*The head's",
    ),
    "names twice": (
        ["a"],
        dense(2),
        ["a", "a"],
        "different names",
    ),
    "text": (
        [1, "x"],
        mm.heads.regression().layer,
        None,
        "finite numbers.*'x' in row 1",
    ),
    "infinite": (
        [1.0, float("inf")],
        dense(1),
        None,
        "finite numbers.*inf in row 1",
    ),
    "too large": (
        [1.0, 1e300],
        dense(1),
        None,
        "finite numbers.*row 1",
    ),
    "floats for classes": (
        [0.5, 1.0],
        dense(3),
        None,
        r"3 number\(s\) a row.*Received: 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_labels_name_rows_and_remedy(case):
    values, head, classes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        encode(values, head, classes)


def test_bad_labels_name_the_index():
    frame = pandas.DataFrame({"label": ["a", None]}, index=[7, 9])
    with pytest.raises(ValueError, match=r"row 1 \(index 9\)"):
        targets(frame, "label", model(single("a", "b")))
    with pytest.raises(ValueError, match=r"no column 'labels'.*\['label'\]"):
        targets(frame, "labels", model(single("a", "b")))


def test_one_class_of_a_named_head_is_fine():
    np.testing.assert_array_equal(encode(["a", "a"], single("b", "a")), [1, 1])
    np.testing.assert_array_equal(encode([1], dense(3)), [1])
