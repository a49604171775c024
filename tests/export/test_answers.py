"""Every named answer of an endpoint is compared, by numpy on the predictions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.export import answers as named
from mmkeras.export import endpoints
from mmkeras.export.raw import Reader
from tests import tiny


def test_a_wrong_class_is_not_written(tmp_path, monkeypatch):
    true = endpoints.with_scores

    def wrong(*args):
        found = true(*args)
        return {**found, "class": tf.fill(tf.shape(found["class"]), "WRONG")}

    monkeypatch.setattr(endpoints, "with_scores", wrong)
    with pytest.raises(ValueError, match="by inf, .*most in `class` of `serve`"):
        mm.export.saved_model(tiny.model(), tmp_path / "new/1")
    assert not list(tmp_path.iterdir())


WRONG = {
    "shape": lambda x: x * 1.01,
    "tags": lambda x: x * 1.01,
    "shape_scores": lambda x: 0 * x,
    "shape_class": lambda x: tf.roll(x, 1, 0),
    "shape_classes": lambda x: tf.reverse(x, [-1]),
    "tags_scores": lambda x: 1 - x,
    "tags_chosen": lambda x: tf.concat([x[:1], ~x[1:]], 0),
    "tags_class": lambda x: tf.strings.join([x, "|"]),
    "tags_classes": lambda x: tf.strings.upper(x),
    "price": lambda x: x * 1.01,
}


def test_every_named_answer_is_compared():
    tasks = {
        "shape": mm.heads.classification(["a", "b"]),
        "tags": mm.heads.multilabel(["big", "old"]),
        "price": mm.heads.regression(),
    }
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}
    head = mm.heads.several(tasks).layer
    head["shape"].temperature, head["tags"].temperature = 2.0, 0.7
    model = mm.multimodal(encoders, mm.fusion.Concat(), head)
    outputs = {
        "shape": np.array([[0.0, 3.0], [2.0, 1.0], [-900.0, 900.0]], "float32"),
        "tags": np.array([[-1.0, 1.0], [2.0, -3.0], [900.0, -900.0]], "float32"),
        "price": np.array([[3.0], [4.0], [5.0]], "float32"),
    }
    limits = {"tags": [0.5, 0.3]}
    right = endpoints.with_scores(model, outputs, limits)
    assert set(right) == set(WRONG)
    expected = named.expected(model, outputs, limits)

    def gaps(answer):
        answer = {key: np.asarray(x) for key, x in answer.items()}
        return {key: x for key, (x, _) in named.gaps(expected, answer).items()}

    assert max(gaps(right).values()) < 1e-6
    for name, change in WRONG.items():
        found = gaps({**right, name: change(right[name])})
        assert found[name] > 0.005, name
        # the joined names are held against what the answer itself chose
        others = {k for k, x in found.items() if x > 1e-6} - {name}
        assert others <= ({"tags_class"} if name == "tags_chosen" else set())


def test_the_names_of_classify_are_compared(tmp_path, monkeypatch):
    true = endpoints.classes_and_scores

    def wrong(head, outputs):
        classes, scores = true(head, outputs)
        return tf.reverse(classes, [-1]), scores

    monkeypatch.setattr(endpoints, "classes_and_scores", wrong)
    monkeypatch.setattr(named.Words, "gap", _only_of_classify(named.Words.gap))
    with pytest.raises(ValueError, match="most in `classes` of `classify`"):
        mm.export.saved_model(tiny.model(), tmp_path / "new/1")


def _only_of_classify(gap):
    def asked(self, found, answer):
        return gap(self, found, answer) if len(answer) == 2 else np.zeros(found.shape)

    return asked


def test_a_tie_may_fall_either_way():
    scores = np.array([[0.5, 0.5], [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]])
    winner = named.Winner(["a", "b"], scores)
    told = np.array([b"b", b"b", b"a", b"c"], "O")
    np.testing.assert_allclose(winner.gap(told, {}), [0, 0, 0.4, np.inf])
    chosen = named.Chosen(scores[:2], [0.5 + 1e-7, 0.5])
    found = np.array([[True, True], [False, False]])
    np.testing.assert_allclose(chosen.gap(found, {}), [[1e-7, 0], [0, 0.2]], atol=1e-12)
    # names follow what the answer itself says is chosen
    joined = named.Joined(["a", "b"], "chosen", scores[:2, 0])
    texts = np.array([b"a|b", b"b"], "O")
    assert joined.gap(texts, {"chosen": found}).tolist() == [0, np.inf]


def test_statuses_are_compared(tmp_path, monkeypatch):
    true = Reader.__call__

    def wrong(self, raw):
        tensors, told = true(self, raw)
        return tensors, {**told, "left_status": tf.zeros_like(told["left_status"])}

    monkeypatch.setattr(Reader, "__call__", wrong)
    with pytest.raises(ValueError, match="most in `left_status` of `serve_raw`"):
        mm.export.saved_model(tiny.model(), tmp_path / "1", on_bad_value="absent")


def test_answers_of_one_name(tmp_path):
    encoders = {"left": tiny.encoder(6, 5), "right": tiny.encoder(4, 7)}

    def model(head):
        return mm.multimodal(encoders, mm.fusion.Concat(), head)

    price = mm.heads.Prediction(["low", "high"])
    both = model({"price": price, "price_class": keras.layers.Dense(2)})
    told = (
        "'price_class' is the output 'price_class' and the class of output 'price'.*"
        "another name"
    )
    with pytest.raises(ValueError, match=told):
        mm.export.saved_model(both, tmp_path / "1")
    status = model({"left_status": keras.layers.Dense(1), "x": price})
    told = "'left_status' is the output .* and the status of modality 'left'"
    with pytest.raises(ValueError, match=told):
        mm.export.saved_model(status, tmp_path / "1", on_bad_value="absent")
    endpoints.check_names(status, ())  # without statuses there is room
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "expected, answer, difference",
    [
        ([0.5, 0.2], [0.5, 0.3], 0.1),
        ([100.0, 0.2], [101.0, 0.2], 0.01),  # relative where numbers are large
        ([-4.0, 0.0], [-4.0, 2.0], 0.5),
        ([np.nan, 0.2], [np.nan, 0.2], np.inf),
        ([0.5, 0.2], [np.nan, 0.2], np.inf),
        ([], [], 0.0),
    ],
)
def test_difference(expected, answer, difference):
    wanted = {"outputs": named.Numbers(np.array(expected, "float32"))}
    gaps = named.gaps(wanted, {"outputs": np.array(answer, "float32")})
    largest, mean = gaps["outputs"]
    assert largest == pytest.approx(difference, rel=1e-6)
    assert mean == pytest.approx(difference / max(1, len(expected)), rel=1e-6)


def test_what_is_missing_or_not_expected():
    wanted = {"a": named.Numbers([1.0]), "b": named.Numbers([1.0])}
    found = {"a": np.ones(1), "c": np.ones(1), "b": np.ones((1, 1))}
    gaps = named.gaps(wanted, found)
    assert gaps == {"a": (0, 0), "b": (np.inf, np.inf), "c": (np.inf, np.inf)}
