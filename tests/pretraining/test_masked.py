"""Masked modality modelling: what is predicted, from what, and who learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.modality import tensor_input
from tests import tiny

WIDTHS = {"left": 6, "right": 5}


def encoder(width):
    """The numbers as they are: a frozen encoder."""
    contract = tiny.Numbers(width)
    inputs = tensor_input(contract, "numbers_in")
    return keras.Model(inputs, contract(inputs))


def build(fusion=None, **options):
    made = {name: encoder(width) for name, width in WIDTHS.items()}
    fusion = fusion or mm.fusion.GatedFusion(8)
    model = mm.multimodal(made, fusion, mm.heads.classification(3).layer)
    return model, mm.pretraining.masked_modality(model, **options)


def rows(count, seed=0):
    """Two turned views of five hidden numbers, so each tells the other exactly."""
    maps = np.random.default_rng(9)
    hidden = np.random.default_rng(seed).normal(size=(count, 5))
    x = {}
    for name, width in WIDTHS.items():
        turn = np.linalg.qr(maps.normal(size=(width, 5)))[0]  # orthonormal columns
        x[name] = hidden @ turn.T
        x[f"{name}_present"] = np.ones(count)
    return {key: np.asarray(value, "float32") for key, value in x.items()}


def some_absent():
    """12 rows: without left, without right, without both here and there; NaN there."""
    x = rows(12)
    x["left_present"][[1, 5]] = 0
    x["right_present"][[5, 6, 9]] = 0
    for name in WIDTHS:
        x[name][x[f"{name}_present"] == 0] = np.nan
    return x


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def info_nce(guesses, targets, temperature):
    logits = unit(guesses) @ unit(targets).T / temperature
    right = np.diag(logits)
    there = np.log(np.exp(logits).sum(1)).mean() + np.log(np.exp(logits).sum(0)).mean()
    return there / 2 - right.mean()


@pytest.mark.parametrize("loss", ["cosine", "contrastive"])
def test_the_loss_is_that_of_the_rows_with_both(loss):
    _, pretraining = build(loss=loss, temperature=0.5)
    x = some_absent()
    found = pretraining(x, training=False)
    (value,) = pretraining.losses
    both = (x["left_present"] * x["right_present"]) > 0  # else nothing to learn from
    wanted = []
    for name in WIDTHS:
        guess = np.asarray(found[name], "float64")[both]
        target = x[name][both].astype("float64")
        if loss == "cosine":
            wanted.append(1 - (unit(guess) * unit(target)).sum(1).mean())
        else:
            wanted.append(info_nce(guess, target, 0.5))
    np.testing.assert_allclose(float(value), np.mean(wanted), rtol=1e-5)


def test_a_prediction_does_not_see_what_it_predicts():
    _, pretraining = build()
    x = rows(6)
    before = pretraining(x, training=False)
    after = pretraining({**x, "left": x["left"] + 1}, training=False)
    np.testing.assert_array_equal(before["left"], after["left"])
    assert np.abs(before["right"] - after["right"]).min() > 0


def test_no_gradient_reaches_the_target():
    layer = mm.pretraining.MaskedPrediction("contrastive")
    x = {k: tf.Variable(v) for k, v in rows(6).items() if k in WIDTHS}
    guesses = {k: tf.Variable(v + 1) for k, v in x.items()}
    there = {"left": tf.constant([1, 1, 1, 0, 1, 1.0])}
    with tf.GradientTape() as tape:
        layer(guesses, x, there)
        (loss,) = layer.losses
    to_targets, to_guesses = tape.gradient(loss, [x, guesses])
    assert all(slope is None for slope in to_targets.values())
    for slope in to_guesses.values():
        lengths = np.linalg.norm(slope, axis=1)
        assert lengths[3] == 0  # left is absent: no target, and right has no other
        assert np.delete(lengths, 3).min() > 0


def test_nan_where_absent_reaches_no_weight():
    _, pretraining = build(loss="cosine")
    with tf.GradientTape() as tape:
        pretraining(some_absent(), training=True)
        (loss,) = pretraining.losses
    weights = [w.value for w in pretraining.trainable_weights]
    slopes = tape.gradient(loss, weights)
    assert all(np.isfinite(x).all() for x in slopes)


@pytest.fixture(scope="module")
def trained():
    """A linear relation, and a fusion that can hold it."""
    keras.utils.set_random_seed(0)
    model, pretraining = build(mm.fusion.Concat(), loss="cosine")
    pretraining.compile(keras.optimizers.Adam(0.02))
    pretraining.fit(rows(512), batch_size=64, epochs=30, verbose=0)
    return model, pretraining


def test_a_linear_relation_is_found(trained):
    x = rows(64, seed=1)
    found = trained[1](x, training=False)
    for name in WIDTHS:
        cosines = (unit(np.asarray(found[name])) * unit(x[name])).sum(1)
        assert cosines.min() > 0.99


def test_the_fusion_is_that_of_the_model_and_its_head_stays():
    model, pretraining = build()
    assert mm.model.fusion(model) is mm.model.fusion(pretraining)
    pretraining.compile("adam", jit_compile=False)
    before = tiny.values(model)
    pretraining.fit(rows(16), verbose=0)
    after = tiny.values(model)
    moved = {k.split(":")[1] for k in before if not np.array_equal(before[k], after[k])}
    fusion = {w.path for w in mm.model.fusion(model).weights}
    # of two modalities one is left, which no gate has to weigh against another
    assert moved == {path for path in fusion if "projection" in path}
    assert len(moved) == 4


def test_saved_loaded_and_gone_on_with(trained, tmp_path):
    pretraining = trained[1]
    pretraining.save(tmp_path / "masked.keras")
    loaded = mm.load_model(tmp_path / "masked.keras")
    x = some_absent()
    wanted = pretraining(x, training=False)
    for name, found in loaded(x, training=False).items():
        np.testing.assert_array_equal(found, wanted[name])
    for made in (pretraining, loaded):
        made.fit(rows(64, seed=2), batch_size=32, shuffle=False, verbose=0)
    wanted = tiny.values(pretraining).values()
    for found, value in zip(tiny.values(loaded).values(), wanted, strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    ("error", "options"),
    [("`loss` wants one of", {"loss": "mse"}), ("positive", {"temperature": 0})],
)
def test_what_is_refused(error, options):
    with pytest.raises(ValueError, match=error):
        build(**options)


def test_three_modalities():
    widths = {**WIDTHS, "third": 3}
    made = {name: encoder(width) for name, width in widths.items()}
    head = mm.heads.classification(3).layer
    model = mm.multimodal(made, mm.fusion.GatedFusion(4), head)
    pretraining = mm.pretraining.masked_modality(model)
    x = rows(4) | {"third": np.ones((4, 3), "float32"), "third_present": np.ones(4)}
    found = pretraining({k: tf.constant(v, "float32") for k, v in x.items()})
    assert {name: y.shape[-1] for name, y in found.items()} == widths
