"""Relational distillation against plain loops of float64 numpy."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm

relations = mm.distillation


def huber(z):
    return z * z / 2 if abs(z) <= 1 else abs(z) - 0.5


def distances(teacher, student):
    pairs = list(itertools.permutations(range(len(teacher)), 2))

    def relative(x):
        found = {p: np.linalg.norm(x[p[0]] - x[p[1]]) for p in pairs}
        mean = np.mean(list(found.values()))
        return {p: d / mean for p, d in found.items()}

    t, s = relative(teacher), relative(student)
    return np.mean([huber(t[p] - s[p]) for p in pairs])


def angles(teacher, student):
    triples = list(itertools.permutations(range(len(teacher)), 3))

    def cosine(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    return np.mean([huber(cosine(teacher, *t) - cosine(student, *t)) for t in triples])


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    scale = np.array([[1.0], [0.1], [30.0], [2.0], [1.0], [5.0], [0.3]])
    return rng.normal(size=(7, 4)) * scale, rng.normal(size=(7, 3))


FORMULAS = [
    (relations.distance_loss, distances),
    (relations.angle_loss, angles),
]


@pytest.mark.parametrize(("ours", "wanted"), FORMULAS)
def test_the_formula(ours, wanted, rows):
    np.testing.assert_allclose(float(ours(*rows)), wanted(*rows), rtol=1e-12)
    single = [x.astype("float32") for x in rows]
    np.testing.assert_allclose(float(ours(*single)), wanted(*rows), rtol=1e-5)


@pytest.mark.parametrize(("ours", "wanted"), FORMULAS)
def test_an_absent_row_is_as_if_left_out_and_gets_no_gradient(ours, wanted, rows):
    there = np.array([1, 1, 0, 1, 1, 0, 1.0])
    teacher, student = (np.where(there[:, None] > 0, x, np.nan) for x in rows)
    known = [x[there > 0] for x in rows]
    student = tf.Variable(student)
    with tf.GradientTape() as tape:
        loss = ours(teacher, student, there)
    np.testing.assert_allclose(float(loss), wanted(*known), rtol=1e-12)
    slopes = tape.gradient(loss, student).numpy()
    assert not slopes[there == 0].any()
    assert np.abs(slopes[there > 0]).min() > 0


@pytest.mark.parametrize("ours", [x for x, _ in FORMULAS])
def test_turned_moved_and_scaled_is_the_same(ours, rows):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    assert float(ours(rows[0], 5 * rows[0] @ turn + 3)) < 1e-20
    assert float(ours(*rows)) > 1e-3


@pytest.mark.parametrize("ours", [x for x, _ in FORMULAS])
@pytest.mark.parametrize("case", ["one row", "equal rows"])
def test_nothing_to_relate_is_zero_and_finite(ours, case):
    x = tf.Variable(np.ones((1 if case == "one row" else 4, 3)))
    with tf.GradientTape() as tape:
        loss = ours(x.numpy(), x)
    assert float(loss) == 0
    assert np.isfinite(tape.gradient(loss, x)).all()


def test_the_loss_weighs_both_and_teaches_the_student_alone(rows):
    loss = relations.RelationalDistillation(3.0, 0.5)
    teacher, student = tf.Variable(rows[0]), tf.Variable(rows[1])
    there = np.array([1, 1, 1, 0, 1, 1, 1.0])
    with tf.GradientTape() as tape:
        found = loss.compute_loss((teacher, there), (student, np.ones(7)))
    known = [x[there > 0] for x in rows]
    wanted = 3 * distances(*known) + 0.5 * angles(*known)
    np.testing.assert_allclose(float(found), wanted, rtol=1e-12)
    slopes = tape.gradient(found, [teacher, student])
    assert slopes[0] is None
    assert np.abs(slopes[1].numpy()).max() > 0


def test_the_loss_is_saved():
    loss = relations.RelationalDistillation(0.0, 1.5, "a", "b")
    config = keras.saving.serialize_keras_object(loss)
    assert keras.saving.deserialize_keras_object(config).get_config() == {
        "distances": 0.0,
        "angles": 1.5,
        "teacher_layer_name": "a",
        "student_layer_name": "b",
    }


@pytest.mark.parametrize(
    ("error", "given"),
    [
        ("one above 0", {"distances": 0, "angles": 0}),
        ("one above 0", {"distances": -1.0}),
        ("both or neither", {"teacher_layer_name": "a"}),
    ],
)
def test_what_is_refused(error, given):
    with pytest.raises(ValueError, match=error):
        relations.RelationalDistillation(**given)
