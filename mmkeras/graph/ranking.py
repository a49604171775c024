"""Link prediction: the filtered rank of the true entity, MRR and hits@k."""

import numpy as np
from keras import ops


def ranks(score, graph, known=(), batch_size=64):
    """The filtered rank of each triple's head and tail among all entities.

    For (h, r, t) all (h, r, t') and all (h', r, t) are scored; other true triples do
    not compete. Ties share their rank: a model that scores all alike gets the middle.

    Example:
    >>> graph = mmkeras.graph.Triples.of([("a", "near", "b"), ("a", "near", "c")])
    >>> def alphabet(ids):  # the later a tail, the likelier; heads alike
    ...     return np.asarray(ids)[..., 2]
    >>> mmkeras.graph.ranks(alphabet, graph, [graph])[:, 1]  # b behind c, if c counted
    array([1., 1.])

    Args:
        score: `TransE`, `DistMult`, or a function of ids `(..., 3)` to scores.
        graph: `Triples` to rank.
        known: further `Triples` of the same names whose links are true too.
        batch_size: Integer, triples scored at once.

    Returns:
        float64 array `(triples, 2)`: ranks of heads and of tails, 1 is the best.

    Reference:
        Bordes et al. 2013; ties as in Sun et al. 2020, arXiv:1911.03903.
    """
    true = set().union(graph.known, *(x.known for x in known))
    heads, tails = {}, {}
    for h, r, t in true:
        tails.setdefault((h, r), []).append(t)
        heads.setdefault((r, t), []).append(h)
    found = []
    for start in range(0, len(graph.ids), batch_size):
        ids = graph.ids[start : start + batch_size]
        others = [[heads[r, t] for _, r, t in ids.tolist()]]
        others += [[tails[h, r] for h, r, _ in ids.tolist()]]
        pair = [
            _ranks(score, ids, graph.size, place, rest)
            for place, rest in zip((0, 2), others, strict=True)
        ]
        found.append(np.stack(pair, axis=1))
    return np.concatenate(found)


def link_scores(ranks, k=(1, 3, 10)):
    """Mean reciprocal rank and the share of ranks up to k.

    Example:
    >>> mmkeras.graph.link_scores(np.array([1, 2, 20]), k=[1, 10])["mrr"]
    0.516...

    Args:
        ranks: array of any shape.
        k: Integers.

    Returns:
        dict: "mrr", "hits@1" and so on, all in [0, 1].
    """
    ranks = np.asarray(ranks, "float64").ravel()
    hits = {f"hits@{x}": float(np.mean(ranks <= x)) for x in k}
    return {"mrr": float(np.mean(1 / ranks)), **hits}


def _ranks(score, ids, size, place, true):
    """Ranks of the entities at `place` (0 head, 2 tail) among all."""
    asked = np.repeat(ids[:, None], size, axis=1)
    asked[:, :, place] = np.arange(size)
    scores = np.asarray(ops.convert_to_numpy(score(asked)), "float64")
    if not np.isfinite(scores).all():
        raise ValueError("`score` wants finite scores. Received: NaN or inf.")
    own = scores[np.arange(len(ids)), ids[:, place]]
    for row, others in enumerate(true):
        scores[row, others] = -np.inf  # its own among them: it is counted below
    ahead = (scores > own[:, None]).sum(axis=1)
    return 1 + ahead + (scores == own[:, None]).sum(axis=1) / 2
