"""The losses as functions of one batch: scalars, in float32 or better.

A row whose `presence` is 0 is left out, NaN or not: the loss and its gradients are
those of the batch without it. Nothing left gives 0, and zero gradients.
"""

import keras
from keras import ops

_TINY = 1e-12
_NEVER = -1e9  # a logit that takes no part in a softmax


def info_nce(a, b, temperature=0.07, presence=None, memory=None, own=None):
    """Symmetric InfoNCE: find b_i among all b from a_i, and a_i among all a from b_i.

    s_ij = cos(a_i, b_j) / temperature,
    L = -mean_i (log softmax_j(s_ij)[i] + log softmax_j(s_ji)[i]) / 2.

    Example:
    >>> a = np.eye(2)
    >>> float(mmkeras.losses.info_nce(a, a, temperature=1.0))  # log(1 + e) - 1
    0.3132...

    Args:
        a: float tensor `(batch, dim)`; need not have length 1.
        b: float tensor `(batch, dim)`, row i belongs to row i of `a`.
        temperature: positive number or scalar tensor.
        presence: optional tensor `(batch,)`, 1 where both sides are there.
        memory: optional `((rows_a, taken_a), (rows_b, taken_b))`, more that a row must
            not be found as: tensors `(size, dim)` and `(size,)`, 0 where no row is. The
            softmax from a_i runs over all b and rows_b, that from b_i over all a and
            rows_a; no gradient reaches them.
        own: optional `(a, b, presence)`, this replica's rows, where `a` and `b` are
            those of all replicas: only its own look for their others, and the replicas'
            results add up to the loss of all rows.

    Returns:
        Scalar; log(batch) where all rows are alike.

    Reference:
        Radford et al. 2021, arXiv:2103.00020, figure 3.
    """
    a, b, there = _pairs(a, b, presence)
    a, b, temperature = unit(a), unit(b), _as(temperature, a)
    if own is None:
        x, y, counted = a, b, there
        to_b = ops.matmul(a, ops.transpose(b)) / temperature
        right, to_a = ops.diagonal(to_b), ops.transpose(to_b)
    else:
        x, y, counted = _pairs(*own)
        x, y = unit(x), unit(y)
        to_b = ops.matmul(x, ops.transpose(b)) / temperature
        to_a = ops.matmul(y, ops.transpose(a)) / temperature
        right = ops.sum(x * y, axis=1) / temperature
    to_b = ops.where(there[None, :] > 0, to_b, _NEVER)
    to_a = ops.where(there[None, :] > 0, to_a, _NEVER)
    if memory is not None:
        past_a, past_b = memory
        to_b = ops.concatenate([to_b, _past(x, *past_b) / temperature], axis=1)
        to_a = ops.concatenate([to_a, _past(y, *past_a) / temperature], axis=1)
    losses = (ops.logsumexp(to_a, axis=1) + ops.logsumexp(to_b, axis=1)) / 2 - right
    return _mean(losses, counted, there)


def siglip(a, b, temperature=0.1, bias=-10.0, presence=None, own=None):
    """Sigmoid loss: each pair (i, j) is right (i = j) or wrong, on its own.

    L = -1/n sum_ij log sigmoid(z_ij (cos(a_i, b_j) / temperature + bias)), z_ij = 1
    where i = j, else -1; n rows.

    Example:
    >>> a = np.eye(2)
    >>> float(mmkeras.losses.siglip(a, a, temperature=1.0, bias=0.0))
    1.0064...

    Args:
        a: float tensor `(batch, dim)`; need not have length 1.
        b: float tensor `(batch, dim)`, row i belongs to row i of `a`.
        temperature: positive number or scalar tensor.
        bias: number or scalar tensor; about -log(batch) starts balanced.
        presence: optional tensor `(batch,)`, 1 where both sides are there.
        own: as of `info_nce`.

    Returns:
        Scalar.

    Reference:
        Zhai et al. 2023, arXiv:2303.15343, algorithm 1.
    """
    a, b, there = _pairs(a, b, presence)
    a, b, temperature, bias = unit(a), unit(b), _as(temperature, a), _as(bias, a)
    if own is None:
        logits = ops.matmul(a, ops.transpose(b)) / temperature + bias
        sign = 2 * ops.eye(ops.shape(a)[0], dtype=a.dtype) - 1
        losses = ops.softplus(-sign * logits) * there[None, :]
        return _mean(ops.sum(losses, axis=1), there)
    x, y, counted = _pairs(*own)
    x, y = unit(x), unit(y)
    logits = ops.matmul(x, ops.transpose(b)) / temperature + bias
    right = ops.sum(x * y, axis=1) / temperature + bias
    # all as wrong pairs, then the right one: softplus(-z) = softplus(z) - z
    losses = ops.sum(ops.softplus(logits) * there[None, :], axis=1) - right
    return _mean(losses, counted, there)


def supervised_contrastive(features, labels, temperature=0.1, presence=None):
    """Supervised contrastive loss: rows of one class find each other among all rows.

    s_ij = cos(x_i, x_j) / temperature; for an anchor i with the positives P(i), the
    other rows of its class, L_i = -mean_{p in P(i)} log(e^s_ip / sum_{k != i} e^s_ik);
    L is the mean over the anchors that have a positive.

    Example:
    >>> x = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> float(mmkeras.losses.supervised_contrastive(x, np.array([0, 0, 1]), 1.0))
    0.3132...

    Args:
        features: float tensor `(batch, dim)`, or `(batch, views, dim)` with several
            views (crops, or modalities) of each row.
        labels: integer tensor `(batch,)`.
        temperature: positive number or scalar tensor.
        presence: optional tensor `(batch,)` or `(batch, views)`: 0 leaves a row or view
            out, another number weighs it as an anchor.

    Returns:
        Scalar.

    Reference:
        Khosla et al. 2020, arXiv:2004.11362, equation 2 (L_out). Departs: without the
        factor temperature / base temperature of its published code.
    """
    x = _float(features)
    if presence is None:
        presence = ops.ones(ops.shape(x)[:-1], x.dtype)
    labels, weights = ops.reshape(labels, (-1,)), ops.cast(presence, x.dtype)
    if len(x.shape) == 3:
        views = x.shape[1]
        labels = ops.repeat(labels, views)
        if len(weights.shape) == 1:
            weights = ops.repeat(weights, views)
        x, weights = ops.reshape(x, (-1, x.shape[-1])), ops.reshape(weights, (-1,))
    there = ops.cast(weights > 0, x.dtype)
    x = unit(ops.where(there[:, None] > 0, x, 0))
    logits = ops.matmul(x, ops.transpose(x)) / _as(temperature, x)
    others = (1 - ops.eye(ops.shape(x)[0], dtype=x.dtype)) * there[None, :]
    logs = logits - ops.logsumexp(
        ops.where(others > 0, logits, _NEVER), axis=1, keepdims=True
    )
    positives = ops.cast(labels[:, None] == labels[None, :], x.dtype) * others
    count = ops.sum(positives, axis=1)
    losses = -ops.sum(logs * positives, axis=1) / ops.maximum(count, 1)
    return _mean(losses, weights * ops.cast(count > 0, x.dtype))


def correlation(a, b, regularization=1e-4, components=None, presence=None):
    """Total canonical correlation of two batches, to be made large (Deep CCA).

    T = L_a^-1 S_ab L_b^-T with S_aa + r v_a I = L_a L_a^T, S the covariances, v_a the
    mean variance of a's units; the result is the sum of T's singular values, or of its
    largest `components`. They lie in [0, 1] and do not change with the scale of a or b.

    With about as many rows as units anything correlates: use batches of at least ten
    times the units.

    Example:
    >>> a = np.random.default_rng(0).normal(size=(200, 2))
    >>> round(float(mmkeras.losses.correlation(a, -3.0 * a)), 3)
    2.0

    Args:
        a: float tensor `(batch, dim)`.
        b: float tensor `(batch, other dim)`, row i belongs to row i of `a`.
        regularization: number r > 0, share of the mean variance.
        components: optional integer, how many correlations to add; None for all.
        presence: optional tensor `(batch,)`, 1 where both sides are there.

    Returns:
        Scalar between 0 and the smaller width.

    Reference:
        Andrew et al. 2013, Deep Canonical Correlation Analysis, ICML. Departs: r is
        relative to the variance; Cholesky factors in place of inverse square roots
        (T differs by rotations: equal singular values).
    """
    a, b, there = _pairs(a, b, presence)
    a, lost_a = _contained(_standardised(a, there))
    b, lost_b = _contained(_standardised(b, there))
    rows = ops.maximum(ops.sum(there) - 1, 1)
    t = ops.matmul(ops.transpose(a), b) / rows
    t = ops.solve_triangular(_factor(a, rows, regularization), t, lower=True)
    right = _factor(b, rows, regularization)
    t = ops.solve_triangular(right, ops.transpose(t), lower=True)
    # the sum of the singular values of t = u d v is <t, u v>, and u v is its gradient:
    # no derivative of the SVD, which divides by differences of singular values
    u, _, v = ops.svd(ops.stop_gradient(t), full_matrices=False)
    total = ops.sum(t * ops.matmul(u[:, :components], v[:components]))
    return total + lost_a + lost_b


def _standardised(x, there):
    """Mean 0, mean variance 1 over the rows that are there; zeros elsewhere."""
    rows = ops.sum(there)
    mean = ops.sum(x, axis=0) / ops.maximum(rows, 1)
    x = (x - mean) * there[:, None]
    # first to a moderate size: squares of half precision's largest numbers add up
    variance = ops.sum(x * x) / ops.maximum(rows - 1, 1) / x.shape[-1]
    return x * ops.rsqrt(ops.maximum(variance, _TINY))


def _factor(x, rows, regularization):
    """Lower triangle L of covariance + r I = L L^T."""
    covariance = ops.matmul(ops.transpose(x), x) / rows
    eye = ops.eye(x.shape[-1], dtype=x.dtype)
    return ops.cholesky(covariance + regularization * eye)


def _contained(x):
    """`x` and 0; or, where `x` has overflowed, zeros and NaN, with NaN as gradient.

    Matrix routines raise on a NaN, where a loss must be NaN: a step that overflows in
    half precision is one that the optimizer skips.
    """
    finite = ops.all(ops.isfinite(x))
    lost = ops.sum(x * ops.where(finite, 0.0, ops.cast(float("nan"), x.dtype)))
    return ops.where(finite, x, 0), lost


def _float(x):
    """As float32; float64 stays, so that tests can look closer."""
    x = ops.convert_to_tensor(x)
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def _as(number, x):
    return ops.convert_to_tensor(number, dtype=x.dtype)


def _pairs(a, b, presence):
    """Both sides and the presence as floats, zeros where a side is missing."""
    a, b = _float(a), _float(b)
    if presence is None:
        return a, b, ops.ones((ops.shape(a)[0],), a.dtype)
    there = ops.convert_to_tensor(presence) > 0
    a, b = ops.where(there[:, None], a, 0), ops.where(there[:, None], b, 0)
    return a, b, ops.cast(there, a.dtype)


def unit(x):
    """Rows of length 1; a row of zeros stays, with a finite gradient."""
    squares = ops.sum(x * x, axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, _TINY))


def _past(queries, rows, taken):
    """Cosines with remembered rows; far below any where no row is."""
    rows = unit(ops.stop_gradient(ops.cast(rows, queries.dtype)))
    cosines = ops.matmul(queries, ops.transpose(rows))
    return ops.where(taken[None, :] > 0, cosines, _NEVER)


def _mean(losses, weights, all_weights=None):
    """Weighted mean over rows, or a part of the rows' share in it; 0 of no rows."""
    losses = ops.where(weights > 0, losses, 0)
    total = ops.sum(weights if all_weights is None else all_weights)
    return ops.sum(losses * weights) / ops.where(total > 0, total, 1)
