"""Bootstrap scores against scikit-learn on the rows drawn; intervals that cover."""

import re

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

import mmkeras
from mmkeras import scores
from mmkeras.analysis import bootstrap, modality_report, shapley
from tests.analysis import standins


def drawn_rows(column):
    return np.repeat(np.arange(len(column)), column.astype(int))


def single(rows=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    outputs = np.round(rng.normal(size=(rows, classes)), 1)  # rounded: with ties
    return labels, outputs + np.eye(classes)[labels]


def block_of(rows, draws=25, **kwargs):
    (block,) = bootstrap.weights(rows, draws, **kwargs)
    return block


@pytest.mark.parametrize(
    "groups",
    [[3.0, np.nan, 3.0, np.nan], np.array(["a", None, "a", np.nan], object)],
)
def test_rows_without_a_group_are_drawn_alone(groups):
    block = block_of(4, groups=groups)
    assert (block[0] == block[2]).all()
    assert (block[1] != block[3]).any()
    assert (block[[0, 1, 3]].sum(0) == 3).all()


def test_single_label_equals_scikit_learn():
    labels, outputs = single()
    guess, shares = outputs.argmax(1), softmax(outputs, 1)
    block = block_of(60)
    found = {
        x: bootstrap.drawn(scores.SCORES[x], labels, outputs, block)
        for x in scores.OF_KIND["single"]
    }
    for i, w in enumerate(block.T):
        score = sk.accuracy_score(labels, guess, sample_weight=w)
        assert found["accuracy"][i] == pytest.approx(score)
        score = sk.f1_score(labels, guess, average="macro", sample_weight=w)
        assert found["macro_f1"][i] == pytest.approx(score)
        score = sk.roc_auc_score(labels, shares, multi_class="ovr", sample_weight=w)
        assert found["auc_roc"][i] == pytest.approx(score)


def test_several_labels_equal_scikit_learn():
    rng = np.random.default_rng(1)
    labels = (rng.random((60, 4)) < 0.4).astype("float32")
    outputs = np.round(rng.normal(size=(60, 4)) + labels, 1)
    block = block_of(60)
    area = bootstrap.drawn(scores.auc_roc, labels, outputs, block)
    f1 = bootstrap.drawn(scores.macro_f1, labels, outputs, block)
    for i, w in enumerate(block.T):
        score = sk.roc_auc_score(labels, outputs, average="macro", sample_weight=w)
        assert area[i] == pytest.approx(score)
        score = sk.f1_score(labels, outputs > 0, average="macro", sample_weight=w)
        assert f1[i] == pytest.approx(score)


def test_numbers_equal_scikit_learn():
    rng = np.random.default_rng(2)
    labels, outputs = rng.normal(size=(2, 60, 2))
    block = block_of(60)
    for name, expected in (
        ("mae", sk.mean_absolute_error),
        ("rmse", lambda *x, **w: sk.mean_squared_error(*x, **w) ** 0.5),
    ):
        found = bootstrap.drawn(scores.SCORES[name], labels, outputs, block)
        for i, w in enumerate(block.T):
            score = expected(labels, outputs, sample_weight=w)
            assert found[i] == pytest.approx(score)


def test_draws_that_lack_classes_equal_the_scores_of_their_rows():
    labels = np.array([0, 0, 0, 1, 2, 1])
    outputs = np.random.default_rng(0).normal(size=(6, 4))
    block = block_of(6, 200)
    for function in (scores.macro_f1, scores.auc_roc):
        found = bootstrap.drawn(function, labels, outputs, block)
        for i, w in enumerate(block.T):
            rows = drawn_rows(w)
            expected = function(labels[rows], outputs[rows])
            assert found[i] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(found).any()  # one class only: no area
    low, high = bootstrap.Draws({}, {}, 0.9).interval(found)
    assert 0 <= low < high <= 1
    nothing = bootstrap.Draws({}, {}, 0.9).interval(np.full(3, np.nan))
    assert np.isnan(nothing).all()


def test_functions_of_ones_own_see_the_rows_drawn():
    labels, outputs = single()
    block = block_of(60)

    def own(truth, logits):
        return (logits.argmax(1) == truth).mean()

    expected = bootstrap.drawn(scores.accuracy, labels, outputs, block)
    found = bootstrap.drawn(own, labels, outputs, block)
    np.testing.assert_allclose(found, expected)


def test_weights(monkeypatch):
    block = block_of(7, 3000)
    np.testing.assert_array_equal(block.sum(0), 7)
    # a row is left out with probability (1 - 1/7)^7
    share, expected = (block == 0).mean(), (6 / 7) ** 7
    assert share == pytest.approx(expected, abs=5 * (0.25 / 3000) ** 0.5)
    monkeypatch.setattr(bootstrap, "_CELLS", 7 * 50)
    blocks = list(bootstrap.weights(7, 120))
    assert [x.shape[1] for x in blocks] == [50, 50, 20]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), block[:, :120])
    other = np.concatenate(list(bootstrap.weights(7, 120, seed=1)), axis=1)
    assert (other != block[:, :120]).any()


def test_groups_are_drawn_together():
    groups = np.array(["x", "y", "x", "z", "z"])
    block = block_of(5, 400, groups=groups)
    for name in "xyz":
        rows = block[groups == name]
        np.testing.assert_array_equal(rows, np.tile(rows[0], (len(rows), 1)))
    firsts = block[[0, 1, 3]]
    np.testing.assert_array_equal(firsts.sum(0), 3)
    with pytest.raises(ValueError, match=r"each of the 5 rows.* shape \(4,\)"):
        next(bootstrap.weights(5, groups=groups[:4]))


def test_copies_of_rows_do_not_narrow_a_grouped_interval():
    """Five copies of 100 rows are 100 rows: without groups they pass for 500."""
    rng = np.random.default_rng(3)
    right = np.repeat(rng.random(100) < 0.7, 5)
    labels, outputs = np.zeros(500, int), np.stack([right, ~right], axis=1)

    def width(groups):
        block = block_of(500, 2000, groups=groups)
        found = bootstrap.drawn(scores.accuracy, labels, outputs, block)
        low, high = bootstrap.Draws({}, {}, 0.95).interval(found)
        return high - low

    ratio = width(np.repeat(np.arange(100), 5)) / width(None)
    assert ratio == pytest.approx(5**0.5, rel=0.1)


def test_the_interval_covers_as_often_as_it_says():
    """300 data sets whose true accuracy is 0.7: about 90 % of the intervals hold it."""
    rng = np.random.default_rng(4)
    block = block_of(150, 500)
    hits = 0
    for _ in range(300):
        right = rng.random(150) < 0.7
        outputs = np.stack([right, ~right], axis=1)
        found = bootstrap.drawn(scores.accuracy, np.zeros(150, int), outputs, block)
        low, high = bootstrap.Draws({}, {}, 0.9).interval(found)
        hits += low <= 0.7 <= high
    # 5 standard deviations of a count, and 2 points for 150 rows being few
    assert hits / 300 == pytest.approx(0.9, abs=5 * (0.09 / 300) ** 0.5 + 0.02)


@pytest.fixture(scope="module")
def made():
    model = standins.vector_model(mmkeras.heads.classification(3).layer)
    data = standins.inputs_of(model, rows=40), np.arange(40) % 3
    options = {"emap": True, "emap_samples": 5, "bootstrap": 60, "confidence": 0.8}
    return model, data, modality_report(model, data, **options)


def test_a_report_scores_what_its_rows_score(made):
    model, (inputs, labels), report = made
    block = block_of(40, 60)
    for i in (0, 59):
        rows = drawn_rows(block[:, i])
        part = {key: x[rows] for key, x in inputs.items()}
        again = modality_report(model, (part, labels[rows]))
        for metric in report.metrics:
            drawn = report.draws.table[metric]
            for subset in report.table:
                score = again.score(subset, metric)
                assert drawn[subset][i] == pytest.approx(score, rel=1e-5)
            values = {x: y[i] for x, y in drawn.items()}
            assert shapley.values(values) == pytest.approx(again.shapley(metric))


def test_a_report_shows_its_intervals(made):
    report = made[2]
    drawn = report.draws.table["accuracy"]
    low, high = report.interval(["clip", "photo"])
    expected = np.quantile(drawn["clip", "photo"], [0.1, 0.9])
    assert (low, high) == pytest.approx(tuple(expected))
    frame = report.to_frame()
    assert list(frame.columns[:3]) == ["accuracy", "accuracy_low", "accuracy_high"]
    assert frame.loc["clip + photo", "accuracy_low"] == low
    parts = report.parts()
    names = report.modalities
    unique = drawn[names] - drawn[names[1:]]
    expected = np.quantile(unique, [0.1, 0.9])
    ends = parts.loc[names[0], ["unique_low", "unique_high"]]
    np.testing.assert_allclose(list(ends), expected)
    assert (parts["shapley_low"] < parts["shapley_high"]).all()
    assert list(report.pairs().columns) == ["together", "together_low", "together_high"]
    low, high = report.interaction_interval()
    assert low <= high
    lost = np.quantile(report.draws.interaction["accuracy"], [0.1, 0.9])
    assert (low, high) == pytest.approx(tuple(lost))


def test_a_report_in_words(made):
    report = made[2]
    lines = str(report).splitlines()
    assert len({len(x) for x in lines}) == 1 and len(lines[0]) <= 80
    pattern = r"modalities +accuracy +80 % +macro_f1 +auc_roc +rows"
    assert re.fullmatch(pattern, lines[0])
    assert re.search(r" 0\.\d{4} +0\.\d{3} to 0\.\d{3} ", lines[1])
    text = report.summary()
    assert text.startswith(str(report))
    assert max(map(len, text.splitlines())) <= 80
    for words in ("modality +shapley", "clip \\+ photo", "On 40 rows, 5 partners"):
        assert re.search(words, text)
    assert f"{report.shapley()['clip']:.4f}" in text
    assert f"Interaction: {report.interaction():.4f}" in text


def test_without_a_bootstrap(made):
    model, data, _ = made
    report = modality_report(model, data)
    assert not [x for x in report.to_frame() if x.endswith("_low")]
    assert list(report.parts()) == ["shapley", "unique", "solo"]
    assert "%" not in report.summary() and "EMAP" not in report.summary()
    with pytest.raises(ValueError, match="wants a report with a bootstrap"):
        report.interval()
    with pytest.raises(ValueError, match=r"`confidence` wants .* confidence=95"):
        modality_report(model, data, confidence=95)
    with pytest.raises(ValueError, match=r"`bootstrap` wants .* bootstrap=1.5"):
        modality_report(model, data, bootstrap=1.5)
    with pytest.raises(ValueError, match="each of the 40 rows"):
        modality_report(model, data, bootstrap=5, groups=[1, 2])
