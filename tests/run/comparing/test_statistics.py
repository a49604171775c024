"""Paired tests, intervals and the linear models against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from mmkeras.run.comparing import linear, paired
from mmkeras.run.comparing.linear import Linear


@pytest.mark.parametrize("first, second", [(9, 2), (1, 1), (0, 30), (0, 0), (700, 800)])
def test_mcnemar_is_the_binomial_test_of_the_rows_that_differ(first, second):
    right = np.repeat([1, 0, 1, 0], [first, second, 5, 7])
    other = np.repeat([0, 1, 1, 0], [first, second, 5, 7])
    wanted = 1.0
    if first + second:
        wanted = stats.binomtest(first, first + second).pvalue
    assert paired.mcnemar(right, other) == pytest.approx(wanted, rel=1e-9)


def test_corrected_t_widens_the_plain_one():
    d = np.array([1.0, 3.0, 2.0, 2.5, -1.0])
    mean, low, high, p = paired.corrected_t(d, train=60, test=20)
    plain = stats.ttest_1samp(d, 0)
    t = plain.statistic * np.sqrt((1 / 5) / (1 / 5 + 20 / 60))
    assert p == pytest.approx(2 * stats.t.sf(t, 4))
    assert mean == pytest.approx(1.5) and p > plain.pvalue
    wide, one = high - low, plain.confidence_interval(0.95)
    assert wide == pytest.approx((one.high - one.low) * np.sqrt(1 + 5 * 20 / 60))
    # by hand: var 2.5, (1 / 5 + 1 / 3) * 2.5 = 4 / 3
    assert (high - mean) == pytest.approx(2.7764451 * np.sqrt(4 / 3))


def test_corrected_t_without_spread():
    assert paired.corrected_t([0.0, 0.0, 0.0], 60, 30) == (0.0, 0.0, 0.0, 1.0)
    assert paired.corrected_t([2.0, 2.0, 2.0], 60, 30) == (2.0, 2.0, 2.0, 0.0)


def outputs(right, labels, classes=3):
    """Logits that are right where `right` says so."""
    guess = np.where(right, labels, (labels + 1) % classes)
    return np.eye(classes)[guess]


def test_bootstrap_draws_groups_whole():
    """Rows that are right or wrong by the group are as few as there are groups."""
    groups = np.repeat(np.arange(60), 5).astype(object)
    groups[groups == 0] = None  # missing: five groups of one row
    labels, right = np.arange(300) % 3, np.arange(300) // 5 % 2 > 0
    boot = paired.Bootstrap(labels, "accuracy", groups=groups)
    sizes = {len(x) for x in boot.rows}
    assert {x % 5 for x in sizes} == {0, 1, 2, 3, 4}
    draws = boot.draws([outputs(right, labels)])
    assert draws.std() == pytest.approx(np.sqrt(0.25 / 60), rel=0.1)
    for rows in boot.rows[:20]:
        counts = np.bincount(rows, minlength=300).reshape(60, 5)
        assert (counts[1:] == counts[1:, :1]).all()


def test_bootstrap_spreads_as_the_binomial_and_pairs_by_row():
    labels = np.arange(300) % 3
    right = np.arange(300) % 5 > 0  # 80 %
    boot = paired.Bootstrap(labels, "accuracy")
    draws = boot.draws([outputs(right, labels)])
    assert draws.std() == pytest.approx(np.sqrt(0.8 * 0.2 / 300), rel=0.1)
    # one row more is right: in every resample that holds it, never worse
    other = right.copy()
    other[0] = True
    gap = boot.draws([outputs(other, labels)]) - draws
    assert gap.min() == 0
    assert gap.std() == pytest.approx(1 / 300, rel=0.1)  # how often it is drawn


def test_bootstrap_of_a_score_that_is_no_mean():
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 20)
    boot = paired.Bootstrap(labels, "auc_roc")
    np.testing.assert_array_equal(boot.draws([labels * 2.0 - 1]), 1.0)


def test_draws_without_a_score_are_no_evidence():
    draws = np.array([-1.0, 1.0, 2.0] + [np.nan] * 97)
    assert paired.share_beyond(draws) == paired.share_beyond(draws[:3]) == 1.0
    assert np.isnan(paired.share_beyond(np.full(5, np.nan)))


def test_the_spread_over_seeds_is_in_the_interval():
    labels = np.zeros(400, int)
    even = np.ones(400, bool)
    apart = [outputs(even, labels), outputs(~even, labels)]
    low, high = paired.interval(paired.Bootstrap(labels, "accuracy").draws(apart))
    assert (low, high) == (0.0, 1.0)


def blocks(rows, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(3, 2, (rows, 4)), rng.normal(-1, 5, (rows, 2))
    labels = (x[:, 0] + z[:, 1] / 2 + rng.normal(0, 1, rows) > 2.5).astype(int)
    there = np.ones(rows)
    return {"left": (x, there), "right": (z, there)}, labels


def test_logistic_regression_is_scikit_learns():
    (train, y), (val, u), (test, _) = blocks(120), blocks(60, 1), blocks(50, 2)
    model = Linear("single", 2).fit(train, y, val, u)
    scaled = {k: StandardScaler().fit(x) for k, (x, _) in train.items()}
    # a standardised block of d columns has the mean length root d
    best, wanted = np.inf, None
    for plain in (True, False):
        widths = [1 if plain else x.shape[1] ** 0.5 for x, _ in train.values()]
        x, v, t = (
            np.hstack(
                [
                    scaled[k].transform(p[k][0]) / w
                    for k, w in zip(p, widths, strict=True)
                ]
            )
            for p in (train, val, test)
        )
        for c in (1e-3, 1e-2, 0.1, 1.0) if plain else (0.1, 1.0, 10.0, 100.0):
            one = LogisticRegression(C=c, max_iter=5000).fit(x, y)
            loss = -one.predict_log_proba(v)[np.arange(60), u].mean()
            if loss < best:
                best, wanted = loss, one.predict_proba(t)
    found = np.exp(model(test))
    np.testing.assert_allclose(found, wanted, atol=2e-3)  # the solvers' own tolerance
    assert model.count == 2 * 7


def test_more_columns_than_rows_give_the_same_as_without_the_span():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 50)), np.arange(30) % 3
    v, u = rng.normal(size=(20, 50)), np.arange(20) % 3
    there, seen = np.ones(30), np.ones(20)
    model = Linear("single", 3).fit({"a": (x, there)}, y, {"a": (v, seen)}, u)
    scale = StandardScaler().fit(x)
    length = np.sqrt((scale.transform(x) ** 2).sum(1).mean())
    one = LogisticRegression(C=1 / model.penalty, max_iter=5000)
    one.fit(scale.transform(x) / length, y)
    wanted = one.predict_proba(scale.transform(v) / length)
    np.testing.assert_allclose(np.exp(model({"a": (v, seen)})), wanted, atol=2e-3)


def test_what_is_absent_does_not_matter():
    (train, y), (val, u) = blocks(80), blocks(40, 1)
    there = (np.arange(80) % 4 > 0).astype(float)
    junk = np.where(there[:, None] > 0, train["right"][0], 1e6)
    found = []
    for values in (train["right"][0], junk):
        part = {"left": train["left"], "right": (values, there)}
        found.append(Linear("single", 2).fit(part, y, val, u)(val))
    np.testing.assert_allclose(*found, atol=1e-6)


def test_a_class_without_training_rows_gets_no_chance():
    (train, y), (val, u) = blocks(60), blocks(30, 1)
    found = Linear("single", 3).fit(train, y, val, u)(val)
    assert found.shape == (30, 3) and (found.argmax(1) < 2).all()


def test_several_labels_a_row_and_numbers():
    (train, y), (val, u) = blocks(80), blocks(40, 1)
    many = np.stack([y, 1 - y, np.zeros_like(y)], 1)
    wanted = np.stack([u, 1 - u, np.zeros_like(u)], 1)
    found = Linear("multi", 3).fit(train, many, val, wanted)(val)
    np.testing.assert_allclose(found[:, 0], -found[:, 1], atol=0.05)
    assert (found[:, 2] < -10).all()

    numbers, answers = train["left"][0][:, :1], val["left"][0][:, :1]
    model = Linear("number", 1).fit(train, numbers, val, answers)
    x, _ = train["left"]
    scale = StandardScaler().fit(x)
    one = Ridge(0.01).fit(scale.transform(x) / 2, numbers[:, 0])
    found = model({**val, "right": (0 * val["right"][0], val["right"][1])})
    wanted = one.predict(scale.transform(val["left"][0]) / 2)
    assert np.corrcoef(found[:, 0], wanted)[0, 1] > 0.999


def test_subsets_are_all_and_all_but_one():
    assert linear.subsets(["a", "b"]) == [("a", "b")]
    wanted = [("a", "b", "c"), ("b", "c"), ("a", "c"), ("a", "b")]
    assert linear.subsets(["a", "b", "c"]) == wanted
