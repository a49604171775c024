"""What an exported file is asked, and what is said of the rows that a user gives."""

import keras
import numpy as np
import pandas
import pytest

import mmkeras as mm
from mmkeras.export import lite_check
from tests import tiny
from tests.export import everything


@pytest.fixture(scope="module")
def model():
    return tiny.model()


def answering(model, wrong):
    """A file that answers as the model does, but for the rows that `wrong` names."""

    def file(batch):
        outputs = model.predict(batch, verbose=0)
        rows = wrong(batch)
        outputs[rows] = np.roll(outputs[rows], 1, axis=-1)
        return {"outputs": outputs, "scores": np.asarray(keras.ops.softmax(outputs))}

    return file


@pytest.mark.parametrize("noise", [True, False])
def test_agreement_is_that_of_the_rows_that_were_given(model, noise):
    """Made-up rows and gaps count for the differences alone."""
    rows, labels = tiny.rows(6)
    asked = lite_check.questions(model, rows, noise)

    def others(batch):
        found = [(x == rows["left"]).all(1).any() for x in batch["left"][:, None]]
        own = np.array(found) & (len(batch["left"]) == 6)
        return ~own

    file = answering(model, others)
    largest, _, agreement, scores = lite_check.compare(model, file, asked, labels)
    assert agreement == 1.0 and largest["outputs"] > 1e-3
    right = np.mean(model.predict(rows, verbose=0).argmax(1) == labels)
    assert scores["accuracy"] == (right, right)

    def second(batch):
        return np.arange(len(batch["left"])) == 1

    _, _, agreement, _ = lite_check.compare(model, answering(model, second), asked)
    assert agreement == pytest.approx(5 / 6)


def test_gaps_of_the_first_row_are_asked_too(model):
    rows, _ = tiny.rows(6)
    rows["left_present"][0] = rows["right_present"][0] = 1
    gaps, given = lite_check.questions(model, rows, noise=False)
    assert (gaps.given, given.given) == (False, True)
    assert gaps.inputs["left_present"].tolist() == [0, 1, 0]
    assert gaps.inputs["right_present"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(gaps.inputs["left"], rows["left"][[0, 0, 0]])
    np.testing.assert_array_equal(given.inputs["left"], rows["left"])


def test_without_rows_agreement_is_that_of_made_up_ones(model):
    asked = lite_check.questions(model)
    file = answering(model, lambda batch: np.array([0]))
    _, _, agreement, _ = lite_check.compare(model, file, asked)
    same = [x.outputs["outputs"].argmax(1) for x in asked]
    same = [
        x == file(question.inputs)["outputs"].argmax(1)
        for x, question in zip(same, asked, strict=True)
    ]
    assert agreement == np.concatenate(same).mean() < 1


def test_rows_of_a_table_one_by_one():
    model = everything.model(names=("title", "facts"))
    frame = pandas.DataFrame({"title": everything.TITLES, **everything.FACTS})
    frame["label"] = [everything.CLASSES[i % 3] for i in range(len(frame))]
    batched, single = (
        mm.data.from_table(frame, model, label="label", batch_size=size)
        for size in (4, None)
    )
    for limit in (5, 100):
        wanted, truth = lite_check.real_rows(model, batched, limit)
        got, labels = lite_check.real_rows(model, single, limit)
        assert set(got) == set(wanted) and len(got["title"]) == min(limit, 7)
        for name, x in wanted.items():
            np.testing.assert_array_equal(got[name], x)
        np.testing.assert_array_equal(labels, truth)
    inputs = single.map(lambda x, _: x)
    assert lite_check.real_rows(model, inputs)[1] is None
    row = {name: np.asarray(x) for name, x in next(iter(inputs)).items()}
    assert len(lite_check.real_rows(model, row)[0]["title"]) == 1


def test_one_input_without_a_dict():
    model = tiny.encoder(6, 5)
    x = np.arange(18.0).reshape(3, 6)
    for given in (x, list(x), [x[:2], x[2:]], [(x, np.zeros(3))]):
        rows, _ = lite_check.real_rows(model, given)
        np.testing.assert_array_equal(rows["numbers_in"], x)


def test_what_is_wanted_is_said(model):
    x, y = tiny.rows(4)
    for given in ((x, y), (x["left"], y)):
        with pytest.raises(ValueError, match=r"a tuple of 2.*\[\(x, y\)\]"):
            lite_check.real_rows(model, given)
    with pytest.raises(ValueError, match="model's inputs .*Received: ndarray"):
        lite_check.real_rows(model, x["left"])
    with pytest.raises(ValueError, match="as many rows of each.*'left': 2.*batch_size"):
        lite_check.real_rows(model, {**x, "left": x["left"][:2]})
    with pytest.raises(ValueError, match="'left_present': None"):
        lite_check.real_rows(model, {**x, "left_present": np.float32(1)})
    with pytest.raises(ValueError, match=r"a label a row.*4 rows .*\(3,\)"):
        lite_check.real_rows(model, [(x, y[:3])])
    rows, labels = lite_check.real_rows(model, [(x, y)])
    assert len(rows["left"]) == len(labels) == 4
