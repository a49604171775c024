"""Draws of dropout and ensembles against enumeration and numpy."""

import itertools

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import entropy

import mmkeras as mm
from mmkeras.analysis import ensemble, mc_dropout
from mmkeras.dropout import Dropout
from mmkeras.modality import tensor_input
from tests import tiny

ROWS = 300


def numbers(width, layers=(), name="plain"):
    """An encoder that hands its numbers on, through `layers`."""
    contract = tiny.Numbers(width, name="numbers")
    x = inputs = tensor_input(contract, "numbers_in")
    x = contract(x)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x, name=name)


def joined(head, **layers):
    parts = {name: numbers(3, made) for name, made in layers.items()}
    return mm.multimodal(parts, mm.fusion.Concat(), head)


def same(row, rows=ROWS, **names):
    """One row many times, so that each draw is independent."""
    inputs = {x: np.tile(np.float32(row), (rows, 1)) for x in names}
    return inputs | {f"{x}_present": np.ones(rows, "float32") for x in names}


@pytest.fixture(scope="module")
def drawn():
    """A model whose only dropout stands before its head, and 300 x 30 draws."""
    head = mm.heads.classification(["a", "b"], dropout=0.25).layer
    model = joined(head, left=[keras.layers.BatchNormalization()])
    kernel = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 3.0]])
    head.set_weights([kernel, np.array([0.5, 0.0])])
    head.temperature = 2.0
    rows = same([1.0, 2.0, -1.0], left=1)
    before = [np.array(x) for x in model.variables]
    return model, rows, kernel, before, mc_dropout(model, rows, 30, seed=1)


def test_draws_are_those_of_all_masks(drawn):
    """The mean over the 8 masks, each by its probability; no running statistic used."""
    model, rows, kernel, _, found = drawn
    x = np.array([1.0, 2.0, -1.0]) / np.sqrt(1.001)  # the norm's statistics: 0, 1
    every = np.array(list(itertools.product((0, 1), repeat=3)))
    chance = (0.75**every * 0.25 ** (1 - every)).prod(1)
    p = softmax((x * every / 0.75 @ kernel + [0.5, 0.0]) / 2.0, 1)
    mean = chance @ p
    square = (p[:, 0] - mean[0]) ** 2
    apart = 5 * np.sqrt(chance @ square / (30 * ROWS))  # of the mean of all draws
    np.testing.assert_allclose(found.mean.mean(0), mean, atol=apart, rtol=0)
    apart = 5 * np.sqrt(chance @ (square - chance @ square) ** 2 / (30 * ROWS))
    variance = (found.spread**2).mean(0) * 30 / 29
    np.testing.assert_allclose(variance, chance @ square, atol=apart, rtol=0)
    expected = (found.entropy - found.mutual_information).mean()
    each = entropy(p, axis=1)
    limit = 5 * each.std() / np.sqrt(30 * ROWS)
    assert expected == pytest.approx(chance @ each, abs=limit)
    assert not np.allclose(mean, softmax(model.predict_on_batch(rows)[0] / 2.0))
    assert len(np.unique(found.mean[:, 0])) > 50  # rows draw apart


def test_the_report_says_entropy_and_information(drawn):
    *_, found = drawn
    np.testing.assert_allclose(found.entropy, entropy(found.mean, axis=1), rtol=1e-6)
    assert (found.mutual_information > 0).all()
    assert (found.mutual_information < found.entropy).all()
    frame = found.to_frame()
    assert list(frame) == ["class", "a", "b", "entropy", "mutual_information"]
    assert (frame["class"] == np.where(frame.a >= frame.b, "a", "b")).all()
    assert f"{ROWS} rows, 30 members" in str(found)


def test_the_model_is_left_as_it_was(drawn):
    model, rows, _, before, found = drawn
    assert any("seed" in x.path for x in model.variables)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert not any("call" in vars(x) for x in model._flatten_layers())
    plain = model.predict_on_batch(rows)
    np.testing.assert_array_equal(plain, model.predict_on_batch(rows))
    assert np.ptp(plain, axis=0).max() == 0
    again = mc_dropout(model, rows, 30, seed=1)
    np.testing.assert_array_equal(again.mean, found.mean)
    other = mc_dropout(model, rows, 30, seed=2)
    assert np.abs(other.mean - found.mean).max() > 1e-3


def test_an_encoder_without_draws_runs_once(monkeypatch):
    """Frozen dropout rests; the other encoder's draws though the head has none."""
    head = mm.heads.multilabel(["x", "y"]).layer
    model = joined(head, left=[Dropout(0.5)], right=[keras.layers.Dropout(0.5)])
    mm.transfer.freeze(model, "left")
    rng = np.random.default_rng(0)
    rows = {x: rng.normal(size=(20, 3)).astype("float32") for x in ("left", "right")}
    rows |= {f"{x}_present": np.ones(20, "float32") for x in ("left", "right")}
    asked = []
    left = model.get_layer("left_encoder")
    run = left.predict_on_batch
    monkeypatch.setattr(left, "predict_on_batch", lambda x: asked.append(x) or run(x))
    found = mc_dropout(model, (rows, np.zeros(20)), samples=5, seed=0, batch_size=20)
    assert len(asked) == 1 and (found.spread > 0).any()
    assert list(found.to_frame()) == ["x", "y", "entropy", "mutual_information"]
    one = {**rows, "right": np.zeros((20, 3), "float32")}  # what draws has nothing
    found = mc_dropout(model, one, samples=2)
    assert found.spread.max() == 0 and found.mutual_information.max() == 0
    mm.transfer.freeze(model, "right")
    with pytest.raises(ValueError, match="wants dropout that draws.*rests in frozen"):
        mc_dropout(model, rows)
    with pytest.raises(ValueError, match="integer above 1. Received: 1"):
        mc_dropout(model, rows, samples=1)


def test_an_ensemble_is_the_mean_of_its_members():
    rng = np.random.default_rng(3)
    models = [joined(mm.heads.classification(4).layer, left=[]) for _ in range(3)]
    for i, model in enumerate(models):
        head = mm.heads.output_contract(model)
        head.kernel.assign(rng.normal(size=head.kernel.shape))
        head.temperature = 1.0 + i
    rows = {"left": rng.normal(size=(50, 3)).astype("float32")}
    rows["left_present"] = np.ones(50, "float32")
    p = np.stack(
        [
            softmax(x.predict_on_batch(rows).astype("float64") / (1.0 + i), 1)
            for i, x in enumerate(models)
        ]
    )
    batches = [{k: x[i : i + 20] for k, x in rows.items()} for i in (0, 20, 40)]
    found = ensemble(models, batches)
    assert found.members == 3 and found.kind == "single"
    np.testing.assert_allclose(found.mean, p.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.spread, p.std(0), atol=1e-6)
    total = entropy(p.mean(0), axis=1)
    np.testing.assert_allclose(found.entropy, total, rtol=1e-5)
    inside = entropy(p, axis=2).mean(0)
    np.testing.assert_allclose(found.mutual_information, total - inside, atol=1e-5)
    alike = ensemble(models[:1] * 2, rows)
    assert alike.mutual_information.max() < 1e-12
    with pytest.raises(ValueError, match="`models` wants two or more"):
        ensemble(models[:1], rows)
    with pytest.raises(ValueError, match="at least one batch"):
        ensemble(models, [])


def test_ensembles_of_labels_and_numbers():
    rows = same([1.0, 0.5, -2.0], rows=2, left=1)
    labels = [joined(mm.heads.multilabel(["x", "y"]).layer, left=[]) for _ in "ab"]
    found = ensemble(labels, rows)
    p = expit(np.float64([x.predict_on_batch(rows) for x in labels]))
    every = np.stack([p, 1 - p])
    wanted = entropy(every.mean(1), axis=0).sum(-1)
    np.testing.assert_allclose(found.entropy, wanted, rtol=1e-5)
    numbers = [joined(mm.heads.regression(["price"]).layer, left=[]) for _ in "ab"]
    found = ensemble(numbers, rows)
    values = np.float64([x.predict_on_batch(rows) for x in numbers])
    frame = found.to_frame()
    np.testing.assert_allclose(frame.price, values.mean(0)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(frame.price_std, values.std(0)[:, 0], rtol=1e-5)
    assert found.entropy is None and "standard deviation" in str(found)
    with pytest.raises(ValueError, match="same classes in the same order"):
        ensemble([labels[0], numbers[0]], rows)
