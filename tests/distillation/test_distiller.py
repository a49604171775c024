"""A teacher with two modalities, a student with one: what is taught, and to whom."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from tests import tiny
from tests.distillation.test_relations import angles, distances

WIDTHS = {"left": 6, "right": 4}
LABELS = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)


def build(names, units=8, head=None, encoders=None):
    head = head or mm.heads.classification(3)
    encoders = encoders or {name: tiny.encoder(WIDTHS[name]) for name in names}
    fusion = mm.fusion.GatedFusion(units, name="fused")
    return mm.multimodal({name: encoders[name] for name in names}, fusion, head.layer)


def pair(**options):
    teacher, student = build(["left", "right"]), build(["left"], units=5)
    made = mm.distillation.distiller(teacher, student, **options)
    made.compile("adam", LABELS, jit_compile=False)
    return teacher, student, made


def seen_by(model, rows):
    """Logits and fused features, float64."""
    shown = mm.model.with_features(model)
    found = shown({key: rows[key] for key in model.input}, training=False)
    return [np.asarray(x, "float64") for x in found]


def frozen_norms(model):
    """Statistics of a batch would hide what the rows give one by one."""
    for name in mm.model.encoders(model):
        mm.transfer.freeze(model, name)


def softmax(x):
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


@pytest.fixture
def rows():
    """24 rows; a left is missing in some, both in the third, NaN there."""
    x, y = tiny.rows(24)
    x["left_present"][2] = x["right_present"][2] = 0
    for name in WIDTHS:
        x[name][x[f"{name}_present"] == 0] = np.nan
    y[::4] = -1
    return x, y


def test_the_loss_is_that_of_numpy(rows):
    x, y = rows
    weights = {"logits": 0.7, "features": 0.2, "relations": 0.4}
    teacher, student = build(["left", "right"]), build(["left"], units=5)
    frozen_norms(student)
    made = mm.distillation.distiller(
        teacher, student, labels=0.3, temperature=2.0, **weights
    )
    made.compile("adam", LABELS)
    found = float(made.compute_loss(x, y))

    (t, h_t), (s, h_s) = seen_by(teacher, x), seen_by(student, x)
    known = y >= 0
    own = -np.log(softmax(s)[known, y[known]]).mean()
    p, q = softmax(t / 2), softmax(s / 2)
    logits = 4 * (p * np.log(p / q)).sum(1).mean()
    both = x["left_present"] > 0  # where the student sees, the teacher does
    kernel, bias = made.student.get_layer("distilled_projection").get_weights()
    features = ((h_s @ kernel + bias - h_t)[both] ** 2).mean()
    projected = (h_s @ kernel + bias)[both]
    relations = distances(h_t[both], projected) + 2 * angles(h_t[both], projected)
    taught = 0.7 * logits + 0.2 * features + 0.4 * relations
    np.testing.assert_allclose(found, 0.3 * own + 0.7 * taught, rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
    """A pair after one epoch of everything, and what their weights were before."""
    keras.utils.set_random_seed(0)
    teacher, student, made = pair(features=1.0, relations=1.0)
    before = tiny.values(teacher), tiny.values(student)
    x, y = tiny.rows(24)
    y[:16] = -1
    made.fit(x, y, batch_size=12, verbose=0)
    return teacher, student, made, before


def test_the_student_learns_and_the_teacher_stays(trained):
    teacher, student, made, before = trained
    after = tiny.values(teacher), tiny.values(student)
    assert all(np.array_equal(before[0][k], x) for k, x in after[0].items())
    assert not [k for k, x in after[1].items() if np.array_equal(before[1][k], x)]
    assert not any("projection" in x.name for x in student.layers)
    x, _ = tiny.rows(24)
    own = student({key: x[key] for key in student.input}, training=False)
    np.testing.assert_array_equal(made(x, training=False), own)


def test_the_student_is_a_plain_model(trained, tmp_path):
    student = trained[1]
    x, _ = tiny.rows(8)
    x = {key: x[key] for key in student.input}
    wanted = np.asarray(student(x, training=False))
    assert sorted(student.input) == ["left", "left_present"]
    student.save(tmp_path / "student.keras")
    loaded = mm.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded(x, training=False), wanted)
    mm.export.saved_model(student, tmp_path / "1")
    raw = [",".join(map(str, row)) for row in x["left"]]
    there = x["left_present"] > 0
    raw = tf.constant([a if b else "" for a, b in zip(raw, there, strict=True)])
    signatures = tf.saved_model.load(str(tmp_path / "1")).signatures
    found = signatures["serve_raw"](left=raw)["outputs"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_nan_where_absent_reaches_no_weight_behind_the_encoder(rows):
    _, student, made = pair(features=1.0, relations=1.0)
    frozen_norms(student)  # a norm in training has statistics of NaN
    with tf.GradientTape() as tape:
        made(rows[0], training=True)
        loss = made.compute_loss(*rows)
    behind = [x for x in made.student.layers if not x.name.endswith("_encoder")]
    weights = [w.value for x in behind for w in x.trainable_weights]
    slopes = [np.asarray(x) for x in tape.gradient(loss, weights)]
    assert len(slopes) == 6  # of the fusion, the projection and the head
    assert all(np.isfinite(x).all() and x.any() for x in slopes)


def test_trunks_on_features():
    teacher, student = build(["left", "right"]), build(["left"], units=5)
    for model in (teacher, student):
        frozen_norms(model)
    whole = mm.distillation.distiller(teacher, student, relations=1.0)
    trunks = [mm.transfer.trunk(x) for x in (teacher, student)]
    behind = mm.distillation.distiller(*trunks, relations=1.0)
    x, y = tiny.rows(16)
    features = {key: tf.constant(a) for key, a in x.items()}
    for name in WIDTHS:
        features[name] = mm.model.encoder(teacher, name)(x[name])
    # the student's trunk reads what its own encoder gives
    left = mm.model.encoder(student, "left")(x["left"])
    whole.compile("adam", LABELS)
    behind.compile("adam", LABELS)
    found = behind.student({**features, "left": left})
    np.testing.assert_allclose(found, whole.student(x), rtol=1e-5, atol=1e-6)
    assert sorted(behind.student.input) == sorted(features)
    assert np.isfinite(behind.compute_loss(features, y))


@pytest.mark.parametrize("kind", ["multi", "number"])
def test_other_heads(kind):
    heads = {"multi": mm.heads.multilabel, "number": mm.heads.regression}
    teacher, student = (build(x, head=heads[kind](3)) for x in (WIDTHS, ["left"]))
    frozen_norms(student)
    made = mm.distillation.distiller(teacher, student, labels=0.0)
    made.compile("adam", "mse")
    x, _ = tiny.rows(8)
    found = float(made.compute_loss(x, None))
    (t, _), (s, _) = seen_by(teacher, x), seen_by(student, x)
    if kind == "number":
        wanted = ((t - s) ** 2).mean()
    else:
        p, q = (1 / (1 + np.exp(-z)) for z in (t, s))
        wanted = -(p * np.log(q) + (1 - p) * np.log(1 - q)).mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_numbers_in_deviations_are_taught_in_deviations():
    made = mm.heads.regression(standardize=[1000.0, 3000.0])
    fresh = type(made.layer).from_config
    config = made.layer.get_config()
    teacher, student = (
        build(x, head=made._replace(layer=fresh(config))) for x in (WIDTHS, ["left"])
    )
    frozen_norms(student)
    taught = mm.distillation.distiller(teacher, student, labels=0.0)
    taught.compile("adam", made.loss)
    x, _ = tiny.rows(8)
    (t, _), (s, _) = seen_by(teacher, x), seen_by(student, x)
    wanted = ((t - s) ** 2).mean() / 1000**2
    np.testing.assert_allclose(taught.compute_loss(x, None), wanted, rtol=1e-4)


def test_classes_in_another_order_are_refused():
    one, other = (mm.heads.classification(x) for x in (["a", "b"], ["b", "a"]))
    with pytest.raises(ValueError, match="the same classes"):
        mm.distillation.distiller(build(WIDTHS, head=one), build(["left"], head=other))


def test_one_encoder_in_both_is_refused_unless_it_is_frozen():
    left = tiny.encoder(6)
    encoders = {"left": left, "right": tiny.encoder(4)}
    teacher = build(["left", "right"], encoders=encoders)
    with pytest.raises(ValueError, match="weights of its own"):
        mm.distillation.distiller(teacher, build(["left"], encoders={"left": left}))
    left.trainable = False
    student = build(["left"], encoders={"left": left})
    assert mm.distillation.distiller(teacher, student).student is not None


@pytest.mark.parametrize(
    ("error", "changed"),
    [
        ("one above 0", {"logits": 0.0}),
        ("one above 0", {"features": -1.0}),
        ("`student` wants a model of", {"student": keras.Sequential()}),
        ("one tensor for input 'left'", {"student": "wide"}),
        ("wants one output", {"student": "dict"}),
    ],
)
def test_what_is_refused(error, changed):
    teacher = build(["left", "right"])
    student = build(["left"])
    if changed.get("student") == "wide":
        changed = {"student": build(["left"], encoders={"left": tiny.encoder(7)})}
    if changed.get("student") == "dict":
        head = {"a": keras.layers.Dense(3)}
        fusion = mm.fusion.GatedFusion(4)
        made = mm.multimodal({"left": tiny.encoder(6)}, fusion, head)
        changed = {"student": made}
    with pytest.raises(ValueError, match=error):
        mm.distillation.distiller(**{"teacher": teacher, "student": student, **changed})
