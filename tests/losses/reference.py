"""The losses in float64 numpy, as the papers write them, one term at a time."""

import numpy as np


def _cosines(a, b):
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    return a @ b.T


def info_nce(a, b, temperature):
    s = np.exp(_cosines(a, b) / temperature)
    n = len(a)
    to_b = [np.log(s[i, i] / s[i].sum()) for i in range(n)]
    to_a = [np.log(s[i, i] / s[:, i].sum()) for i in range(n)]
    return -(np.mean(to_b) + np.mean(to_a)) / 2


def siglip(a, b, temperature, bias):
    s = _cosines(a, b) / temperature + bias
    n, total = len(a), 0.0
    for i in range(n):
        for j in range(n):
            z = 1 if i == j else -1
            total += np.log(1 / (1 + np.exp(-z * s[i, j])))
    return -total / n


def supervised_contrastive(x, labels, temperature):
    s = np.exp(_cosines(x, x) / temperature)
    n, anchors = len(x), []
    for i in range(n):
        positives = [p for p in range(n) if p != i and labels[p] == labels[i]]
        below = sum(s[i, k] for k in range(n) if k != i)
        if positives:
            anchors.append(-np.mean([np.log(s[i, p] / below) for p in positives]))
    return np.mean(anchors)


def correlation(a, b, regularization, components=None):
    """By inverse square roots of the covariances, as Andrew et al. write it."""
    a, b = a - a.mean(0), b - b.mean(0)
    rows = len(a) - 1
    roots = []
    for x in (a, b):
        s = x.T @ x / rows
        s = s + regularization * np.trace(s) / len(s) * np.eye(len(s))
        values, vectors = np.linalg.eigh(s)
        roots.append(vectors @ np.diag(values**-0.5) @ vectors.T)
    t = roots[0] @ (a.T @ b / rows) @ roots[1]
    return np.linalg.svd(t, compute_uv=False)[:components].sum()


def slope(function, x, step=1e-6):
    """Gradient of a function of one array, by central differences."""
    found = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        moved = np.zeros_like(x)
        moved[at] = step
        found[at] = (function(x + moved) - function(x - moved)) / (2 * step)
    return found
