"""The loss functions: values and gradients against numpy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.cross_decomposition import CCA

from mmkeras import losses
from tests.losses import reference

LABELS = np.array([0, 1, 0, 2, 1, 0, 3])


def pairs(rows=7, dim=3, other=3, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rows, dim))
    return a, 3 * a @ rng.normal(size=(dim, other)) + rng.normal(size=(rows, other))


def _supervised(function):
    """Of the rows of `a` alone, called as the losses of pairs are."""

    def of_pairs(a, b, *arguments, **presence):
        return function(a, LABELS[: len(a)], *arguments, **presence)

    return of_pairs


# ours, numpy's, arguments
CASES = {
    "info_nce": (losses.info_nce, reference.info_nce, (0.2,)),
    "siglip": (losses.siglip, reference.siglip, (0.3, -1.5)),
    "supervised_contrastive": (
        _supervised(losses.supervised_contrastive),
        _supervised(reference.supervised_contrastive),
        (0.4,),
    ),
    "correlation": (losses.correlation, reference.correlation, (0.01,)),
    "top_correlation": (losses.correlation, reference.correlation, (0.01, 2)),
}
each = pytest.mark.parametrize("name", CASES)


def gradients(function, a, b):
    a, b = tf.constant(a), tf.constant(b)
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        loss = function(a, b)
    zero = tf.UnconnectedGradients.ZERO
    return float(loss), tape.gradient(loss, [a, b], unconnected_gradients=zero)


@each
def test_value_and_gradients(name):
    ours, numpys, arguments = CASES[name]
    a, b = pairs()
    value, (to_a, to_b) = gradients(lambda a, b: ours(a, b, *arguments), a, b)
    np.testing.assert_allclose(value, numpys(a, b, *arguments), rtol=1e-10)
    wanted = reference.slope(lambda x: numpys(x, b, *arguments), a)
    np.testing.assert_allclose(to_a, wanted, atol=1e-7)
    wanted = reference.slope(lambda x: numpys(a, x, *arguments), b)
    np.testing.assert_allclose(to_b, wanted, atol=1e-7)


@each
def test_an_absent_row_is_as_if_it_were_not_there(name):
    """NaN in it or not; it is no negative and no mean either."""
    ours, numpys, arguments = CASES[name]
    a, b = pairs()
    there = np.array([1, 1, 1, 1, 1, 1, 0.0])
    wanted = numpys(a[:6], b[:6], *arguments)
    a[6] = np.nan
    value, slopes = gradients(lambda a, b: ours(a, b, *arguments, presence=there), a, b)
    np.testing.assert_allclose(value, wanted, rtol=1e-10)
    for slope in slopes:
        assert np.isfinite(slope).all()
        assert not np.any(slope[6])


# one pair is right or wrong on its own in siglip; the others compare
NONE = [(name, 0) for name in CASES] + [(x, 1) for x in CASES if x != "siglip"]


@pytest.mark.parametrize("name, present", NONE)
def test_nothing_to_compare_gives_zero(name, present):
    ours, _, arguments = CASES[name]
    a, b = pairs()
    there = np.eye(7)[0] * present
    value, slopes = gradients(lambda a, b: ours(a, b, *arguments, presence=there), a, b)
    assert value == 0
    for slope in slopes:
        np.testing.assert_array_equal(slope, 0)


@each
def test_half_precision_with_its_largest_numbers(name):
    """As float32 of the same numbers; constant rows and zeros stay finite too."""
    ours, numpys, arguments = CASES[name]
    a, b = (np.round(x / np.abs(x).max() * 64) * 1023 for x in pairs())
    half = [x.astype("float16") for x in (a, b)]
    value, slopes = gradients(lambda a, b: ours(a, b, *arguments), *half)
    exact = numpys(*(x.astype("float64") for x in half), *arguments)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in slopes)
    for x in (np.zeros((7, 3), "float16"), np.full((7, 3), 6e4, "float16")):
        value, slopes = gradients(lambda a, b: ours(a, b, *arguments), x, x)
        assert np.isfinite(value)
        assert all(np.isfinite(x).all() for x in slopes)


@each
def test_an_overflow_gives_nan_and_no_error(name):
    """So that the optimizer's loss scale can skip the step."""
    ours, _, arguments = CASES[name]
    a, b = pairs()
    a[0, 0] = np.inf
    value, (slope, _) = gradients(lambda a, b: ours(a, b, *arguments), a, b)
    assert np.isnan(value)
    assert not np.isfinite(slope).all()


def test_supervised_contrastive_by_hand():
    """Three rows at right angles but for two alike; temperature 1."""
    x = np.array([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]])
    # anchors 0 and 1: -log(e^1 / (e^1 + e^0)); row 2 has no positive and is no anchor
    wanted = np.log(1 + np.exp(-1))
    got = losses.supervised_contrastive(x, np.array([4, 4, 9]), 1.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-10)
    # all of one class: anchor 2 has two positives with cosine 0
    third = np.log(2)
    both = -(np.log(np.e / (np.e + 1)) + np.log(1 / (np.e + 1))) / 2
    got = losses.supervised_contrastive(x, np.zeros(3, int), 1.0)
    np.testing.assert_allclose(got, (2 * both + third) / 3, rtol=1e-10)
    # an anchor's weight: row 1 is a positive still, and no anchor to speak of
    weights = np.array([3.0, 1.0, 1.0])
    got = losses.supervised_contrastive(x, np.zeros(3, int), 1.0, weights)
    np.testing.assert_allclose(got, (4 * both + third) / 5, rtol=1e-10)


def test_views_are_more_rows_of_the_same_class():
    a, b = pairs()
    got = losses.supervised_contrastive(np.stack([a, b], axis=1), LABELS, 0.5)
    rows, labels = np.concatenate([a, b]), np.concatenate([LABELS, LABELS])
    wanted = reference.supervised_contrastive(rows, labels, 0.5)
    np.testing.assert_allclose(got, wanted, rtol=1e-10)
    there = np.ones((7, 2))
    there[2, 1] = there[5, 0] = 0
    got = losses.supervised_contrastive(np.stack([a, b], axis=1), LABELS, 0.5, there)
    kept = there.T.ravel() > 0
    wanted = reference.supervised_contrastive(rows[kept], labels[kept], 0.5)
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


def correlated(rows=4000):
    """Two sides that share signals with the correlations 0.9, 0.6 and 0."""
    rng = np.random.default_rng(0)
    z, noise = rng.normal(size=(2, rows, 3))
    rho = np.array([0.9, 0.6, 0.0])
    a, b = z, rho * z + np.sqrt(1 - rho**2) * noise
    return a @ rng.normal(size=(3, 3)), b @ rng.normal(size=(3, 3))


def test_correlation_is_that_of_scikit_learn_and_of_the_svd():
    a, b = correlated()
    got = float(losses.correlation(a, b, regularization=1e-12))
    q, r = (np.linalg.qr(x - x.mean(0))[0] for x in (a, b))
    wanted = np.linalg.svd(q.T @ r, compute_uv=False)
    np.testing.assert_allclose(got, wanted.sum(), rtol=1e-9)
    np.testing.assert_allclose(wanted, [0.9, 0.6, 0.0], atol=0.03)  # as it was made
    u, v = CCA(2, max_iter=5000, tol=1e-12).fit_transform(a, b)
    theirs = sum(np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2))
    two = float(losses.correlation(a, b, regularization=1e-12, components=2))
    np.testing.assert_allclose(two, theirs, rtol=1e-6)


def test_correlation_with_equal_singular_values():
    """Both sides the same: all are tied, where the derivative of an SVD is NaN."""
    a, _ = pairs(rows=40)
    _, slopes = gradients(lambda a, b: losses.correlation(a, b, 1e-3), a, a.copy())
    wanted = reference.slope(lambda x: reference.correlation(x, a, 1e-3), a)
    np.testing.assert_allclose(slopes[0], wanted, atol=1e-7)


def test_correlation_does_not_change_with_scale():
    a, b = pairs(rows=40)
    wanted = losses.correlation(a, b, 0.01)
    for scale in (1e-4, 1e4):
        np.testing.assert_allclose(losses.correlation(scale * a, b, 0.01), wanted)


MEMORY = tuple((np.random.default_rng(3).normal(size=(4, 3)), np.ones(4)) for _ in "ab")
PARTS = {
    "info_nce": (losses.info_nce, {"temperature": 0.2}),
    "remembers": (losses.info_nce, {"temperature": 0.2, "memory": MEMORY}),
    "siglip": (losses.siglip, {"temperature": 0.3, "bias": -1.5}),
}


@pytest.mark.parametrize("name", PARTS)
def test_replicas_parts_add_up(name):
    """Three replicas' own rows, one of them without a row; rows that lack a side."""
    loss, arguments = PARTS[name]
    there = np.array([1, 0, 1, 1, 1, 0, 1.0])

    def parts(a, b):
        found = []
        for part in (slice(0, 3), slice(3, 7), slice(7, 7)):
            own = (a[part], b[part], there[part])
            found.append(loss(a, b, presence=there, own=own, **arguments))
        return tf.add_n(found)

    a, b = pairs()
    a[1] = np.nan
    value, slopes = gradients(parts, a, b)
    whole, wanted = gradients(
        lambda a, b: loss(a, b, presence=there, **arguments), a, b
    )
    np.testing.assert_allclose(value, whole, rtol=1e-10)
    for found, slope in zip(slopes, wanted, strict=True):
        np.testing.assert_allclose(found, slope, atol=1e-10)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_makes_no_logits_of_others(name):
    loss, arguments = PARTS[name]

    @tf.function
    def step(a, b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            value = loss(a, b, own=(a[:3], b[:3], None), **arguments)
        return tape.gradient(value, [a, b])

    spec = tf.TensorSpec((19, 3), tf.float64)
    made = step.get_concrete_function(spec, spec).graph.get_operations()
    shapes = {tuple(y.shape) for x in made for y in x.outputs if y.shape.rank == 2}
    assert (3, 19) in shapes and (19, 19) not in shapes
