"""EMAP against plain loops over all rows, and models whose interaction is known."""

import itertools

import keras
import numpy as np
import pytest
from sklearn import metrics as sk

import mmkeras
from mmkeras.analysis import modality_report
from mmkeras.analysis.emap import Sample, projection
from mmkeras.analysis.subsets import Trunk
from mmkeras.fusion.base import Fusion
from tests.analysis import standins


class Formula:
    """What `projection` needs of a model: a function of numpy arrays."""

    def __init__(self, function, names):
        self.function, self.names, self.rows = function, tuple(names), 0

    def answer(self, features, presence):
        self.rows += len(presence[self.names[0]])
        shown = [features[x] * presence[x][:, None] for x in self.names]
        return self.function(*shown)


def numbers(names, rows, seed=0):
    rng = np.random.default_rng(seed)
    features = {x: rng.normal(size=(rows, 3)) for x in names}
    presence = {x: (rng.random(rows) > 0.2).astype("float32") for x in names}
    return features, presence


def naive(ask, modalities, rows):
    """sum_m E[f | x_m] - (M - 1) E[f], every tuple of rows asked one by one.

    `ask` takes the row that each modality comes from.
    """
    every = list(itertools.product(range(rows), repeat=modalities))
    f = {x: ask(x) for x in every}
    mean = np.mean([f[x] for x in every], axis=0)
    found = []
    for i in range(rows):
        total = -(modalities - 1) * mean
        for m in range(modalities):
            total = total + np.mean([f[x] for x in every if x[m] == i], axis=0)
        found.append(total)
    return np.array(found)


def tangled(*x):
    """Products and sums of all modalities, two outputs."""
    first, second = x[0][:, 0] * x[-1][:, 1], sum(y[:, 2] for y in x)
    return np.stack([first + second**2, np.tanh(first * second)], axis=1)


def asker(cut, features, presence):
    def ask(rows):
        index = dict(zip(cut.names, rows, strict=True))
        one = {x: features[x][[i]] for x, i in index.items()}
        return cut.answer(one, {x: presence[x][[i]] for x, i in index.items()})[0]

    return ask


def test_two_modalities_are_exact(monkeypatch):
    cut = Formula(tangled, "ab")
    rows = numbers("ab", 11)
    expected = naive(asker(cut, *rows), 2, 11)
    for batch in (1024, 25, 4):  # several partners a run, several runs a partner
        monkeypatch.setattr("mmkeras.analysis.emap._BATCH", batch)
        cut.rows = 0
        found, partners = projection(cut, *rows)
        assert partners is None and cut.rows == 11 * 11
        np.testing.assert_allclose(found, expected, atol=1e-12)
    found, partners = projection(cut, *rows, samples=11)
    assert partners is None
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(found - tangled(*rows[0].values())).max() > 1


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_samples_come_near_on_average(names):
    """Over many seeds the mean is the exact one, and more partners are nearer."""
    cut = Formula(tangled, names)
    rows = numbers(names, 7)
    expected = naive(asker(cut, *rows), len(names), 7)
    errors = {}
    for samples in (2, 6):
        found = [projection(cut, *rows, samples, seed)[0] for seed in range(200)]
        error = np.array(found) - expected
        spread = error.std(axis=0) / 200**0.5
        assert (np.abs(error.mean(axis=0)) < 5 * spread + 1e-12).all()
        errors[samples] = np.sqrt((error**2).mean())
    assert errors[6] < 0.8 * errors[2]


@pytest.mark.parametrize("samples", [None, 1, 3, 50])
@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_sum_over_modalities_is_its_own_projection(names, samples):
    def additive(*x):
        return sum(np.sin(y) * (i + 1) for i, y in enumerate(x))

    rows = numbers(names, 20)
    cut = Formula(additive, names)
    found, _ = projection(cut, *rows, samples)
    np.testing.assert_allclose(found, asker_all(cut, *rows), atol=1e-12)


def asker_all(cut, features, presence):
    return cut.answer(features, presence)


def test_the_seed_tells_the_partners():
    rows = numbers("abc", 30)
    cut = Formula(tangled, "abc")
    one, again, other = (projection(cut, *rows, 3, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01
    with pytest.raises(ValueError, match="`emap_samples` wants .* Received: 0"):
        projection(cut, *rows, samples=0)


@pytest.mark.parametrize("make", [standins.vector_model, standins.token_model])
def test_a_report_equals_scikit_learn_on_the_naive_projection(make):
    model = make(mmkeras.heads.classification(3).layer)
    inputs = standins.inputs_of(model, rows=6)
    labels = np.array([0, 1, 2, 2, 1, 0])
    cut = Trunk(model)
    features, presence = cut.features(inputs)
    index = np.array(list(itertools.product(range(6), repeat=len(cut.names)))).T
    every = dict(zip(cut.names, index, strict=True))
    parts = {
        x: keras.tree.map_structure(lambda y, i=i: y[i], features[x])
        for x, i in every.items()
    }
    whole = cut.answer(parts, {x: presence[x][i] for x, i in every.items()})
    answers = dict(zip(zip(*index, strict=True), whole, strict=True))
    expected = naive(answers.__getitem__, len(cut.names), 6)

    if len(cut.names) == 2:
        report = modality_report(model, (inputs, labels), emap=True)
        guess = expected.argmax(1)
        assert report.emap.partners is None
        score = sk.accuracy_score(labels, guess)
        assert report.emap.scores["accuracy"] == pytest.approx(score)
        score = sk.f1_score(labels, guess, average="macro")
        assert report.emap.scores["macro_f1"] == pytest.approx(score)
        lost = report.score() - report.emap.scores["accuracy"]
        assert report.interaction() == pytest.approx(lost)
    else:
        found, partners = projection(cut, features, presence, samples=1500)
        assert partners == 1500
        np.testing.assert_allclose(found, expected, atol=0.1 * whole.std())


class Xor(Fusion):
    """Two numbers of -1 or 1: their product, as the second logit."""

    def fused_dim(self):
        return 2

    def fuse(self, features, presence):
        a, b = (features[x] for x in self.names)
        return keras.ops.concatenate([a * 0, a * b], axis=-1)


def sign_model(fusion):
    encoders = {}
    for name in ("a", "b"):
        contract = standins.Numbers((1,))
        x = standins.tensor_input(contract, "x")
        encoders[name] = keras.Model(x, contract(x))
    head = mmkeras.heads.classification(2, dense=fusion is None).layer
    return mmkeras.multimodal(encoders, fusion or mmkeras.fusion.Concat(), head)


def test_xor_is_all_interaction():
    a, b = np.array(list(itertools.product((-1.0, 1.0), repeat=2)) * 5).T
    there = np.ones(20)
    inputs = {"a": a[:, None], "b": b[:, None], "a_present": there, "b_present": there}
    labels = (a * b > 0).astype(int)
    report = modality_report(sign_model(Xor()), (inputs, labels), emap=True)
    assert report.score() == 1
    assert report.emap.scores == {"accuracy": 0.5, "macro_f1": 1 / 3, "auc_roc": 0.5}
    assert report.interaction() == 0.5
    assert report.pairs().loc["a + b", "together"] == 0.5
    # a linear head adds up: nothing is lost, though it cannot solve the task either
    model = sign_model(None)
    standins.stir(model)
    report = modality_report(model, (inputs, labels), emap=True)
    assert [report.interaction(x) for x in report.metrics] == pytest.approx([0, 0, 0])


@pytest.fixture(scope="module")
def model():
    return standins.vector_model(mmkeras.heads.regression().layer)


def test_some_rows_at_random(model, monkeypatch):
    inputs = standins.inputs_of(model)
    labels = np.random.default_rng(1).normal(size=70)
    calls = []
    features = Trunk.features
    monkeypatch.setattr(
        Trunk, "features", lambda self, x: calls.append(1) or features(self, x)
    )
    report = modality_report(model, (inputs, labels), emap=25, emap_samples=4)
    assert len(calls) == 3  # the encoders run once, in batches of 32
    assert (report.emap.rows, report.emap.partners) == (25, 4)
    # lower is better: what the interaction helps is what the additive part errs more
    lost = report.emap.scores["mae"] - report.emap.whole["mae"]
    assert report.interaction("mae") == pytest.approx(lost)
    whole = modality_report(model, (inputs, labels), emap=True, emap_samples=4)
    assert whole.emap.rows == 70
    assert whole.emap.whole["mae"] == pytest.approx(whole.score(metric="mae"))
    with pytest.raises(ValueError, match="wants a report with EMAP"):
        modality_report(model, (inputs, labels)).interaction()
    with pytest.raises(ValueError, match="`emap` wants .* Received: emap=-1"):
        modality_report(model, (inputs, labels), emap=-1)


def test_a_sample_keeps_each_row_alike():
    counts = np.zeros(50)
    for seed in range(400):
        sample = Sample(limit=10, seed=seed)
        for start in range(0, 50, 8):
            values = np.arange(start, min(start + 8, 50))
            sample.add({"a": {"tokens": values, "mask": -values}}, {"a": values + 100})
        features, presence, index = sample.rows()
        np.testing.assert_array_equal(features["a"]["tokens"], index)
        np.testing.assert_array_equal(features["a"]["mask"], -index)
        np.testing.assert_array_equal(presence["a"], index + 100)
        assert (np.diff(index) > 0).all() and len(index) == 10
        counts[index] += 1
    # each row in a fifth of the samples; 400 * 0.2 +- 5 standard deviations
    assert (np.abs(counts - 80) < 5 * (400 * 0.2 * 0.8) ** 0.5).all()
