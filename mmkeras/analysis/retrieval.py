"""Retrieval: how often a row's other modality is found among all rows'."""

import dataclasses

import keras
import numpy as np

from mmkeras.analysis.summary import aligned

# cosines this near count as equal: about eight times the rounding of float32
_TIE = 1e-6
# queries compared with all rows at once
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class RetrievalReport:
    """What `retrieval` gives.

    Args:
        modalities: tuple of names, sorted.
        ks: tuple of integers, of the recalls.
        rows: dict, (query, target) -> how many rows have both.
        table: dict, (query, target) -> dict, "recall@<k>", "median_rank" and "mrr".
        chance: dict like `table`: what a random order of the rows gives.
    """

    modalities: tuple
    ks: tuple
    rows: dict
    table: dict
    chance: dict

    def score(self, query, target, metric="recall@1"):
        """One number.

        Raises:
            ValueError: unknown modalities or metric.
        """
        if (query, target) not in self.table:
            raise ValueError(
                f"`query` and `target` want two modalities. Received: {query!r}, "
                f"{target!r}. Valid names: {list(self.modalities)}"
            )
        row = self.table[query, target]
        if metric not in row:
            raise ValueError(
                f"`metric` wants one of {sorted(row)}. Received: {metric!r}"
            )
        return row[metric]

    def to_frame(self):
        """DataFrame, a row for each ordered pair of modalities, chance beside it."""
        import pandas

        rows = []
        for pair, found in self.table.items():
            row = {"query": pair[0], "target": pair[1], "rows": self.rows[pair]}
            for metric, value in found.items():
                row |= {metric: value, f"{metric}_chance": self.chance[pair][metric]}
            rows.append(row)
        return pandas.DataFrame(rows).set_index(["query", "target"])

    def __str__(self):
        cells = [["query -> target", *next(iter(self.table.values())), "rows"]]
        for pair, found in self.table.items():
            cells.append([" -> ".join(pair), *_shown(found), str(self.rows[pair])])
            cells.append(["  by chance", *_shown(self.chance[pair]), ""])
        return aligned(cells)


def retrieval(model_or_embeddings, dataset=None, ks=(1, 5, 10)):
    """Finds the row again from one modality by another: recall@k, ranks, chance.

    Every row that has both modalities is a query; all of these rows' targets are
    ordered by cosine, and the rank of its own counts: recall@k, the share of ranks up
    to k; the median rank; the mean of 1 / rank (MRR). Rows that tie with a row's own
    (cosines within 1e-6, as of two rows with one caption) are taken in random order, in
    expectation: embeddings that are all alike give chance exactly. The median takes the
    middle of the tied ranks.

    Example:
    >>> x = np.eye(4)
    >>> swapped = x[[1, 0, 2, 3]]
    >>> found = mmkeras.analysis.retrieval({"photo": x, "title": swapped}, ks=(1, 4))
    >>> found.score("photo", "title", "recall@1"), found.chance["photo", "title"]["mrr"]
    (0.5, 0.5208333333333333)

    Args:
        model_or_embeddings: a model of `mmkeras.two_tower`, or a dict, modality ->
            array `(rows, units)`, a row of zeros where it is absent.
        dataset: for a model, its rows: batches of inputs, `(inputs, label)` or the
            like such as a `tf.data.Dataset`, or one dict of arrays.
        ks: integers, of the recalls.

    Returns:
        `RetrievalReport`; `print` shows it as a table.

    Raises:
        ValueError: fewer than two modalities, embeddings of different shapes or that
            are not finite, no row with both of a pair, or `ks` below 1.
    """
    ks = tuple(ks)
    if not ks or min(ks) < 1:
        raise ValueError(f"`ks` wants integers from 1. Received: {ks}")
    found = model_or_embeddings
    if isinstance(found, keras.Model):
        found = _embeddings(found, dataset)
    found = _checked(found)
    there = {name: np.any(x != 0, axis=1) for name, x in found.items()}
    table, chance, rows = {}, {}, {}
    for query in found:
        for target in found:
            if query == target:
                continue
            both = there[query] & there[target]
            rows[query, target] = count = int(both.sum())
            if not count:
                raise ValueError(
                    f"`retrieval` wants rows that have '{query}' and '{target}'. "
                    f"Received: none of {len(both)}."
                )
            ranks = _ranks(found[query][both], found[target][both])
            table[query, target] = _scores(*ranks, ks)
            anywhere = np.zeros(1, int), np.full(1, count - 1)
            chance[query, target] = _scores(*anywhere, ks)
    return RetrievalReport(tuple(found), ks, rows, table, chance)


def _shown(row):
    return [f"{x:.{1 if name == 'median_rank' else 3}f}" for name, x in row.items()]


def _ranks(queries, targets):
    """Of each query, how many targets are nearer than its own, and how many tie."""
    nearer, ties = [], []
    for start in range(0, len(queries), _BLOCK):
        cosines = queries[start : start + _BLOCK] @ targets.T
        places = np.arange(len(cosines))
        own = cosines[places, start + places][:, None]
        nearer.append((cosines > own + _TIE).sum(1))
        ties.append((np.abs(cosines - own) <= _TIE).sum(1) - 1)
    return np.concatenate(nearer), np.concatenate(ties)


def _scores(nearer, ties, ks):
    """The metrics: the rank is anything from `nearer` + 1 to `nearer` + 1 + `ties`."""
    found = {}
    for k in ks:
        share = np.clip((k - nearer) / (ties + 1), 0, 1)
        found[f"recall@{k}"] = float(share.mean())
    found["median_rank"] = float(np.median(nearer + 1 + ties / 2))
    last = int((nearer + ties).max()) + 1
    sums = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, last + 1))])
    inverse = (sums[nearer + ties + 1] - sums[nearer]) / (ties + 1)
    return {**found, "mrr": float(inverse.mean())}


def _embeddings(model, dataset):
    if not isinstance(model.output, dict):
        raise ValueError(
            f"`retrieval` wants a model of `mmkeras.two_tower`, or embeddings. "
            f"Received: '{model.name}' with one output."
        )
    if dataset is None:
        raise ValueError("`dataset` wants rows for the model. Received: None.")
    batches = [dataset] if isinstance(dataset, dict) else dataset
    found = []
    for batch in batches:
        inputs = batch[0] if isinstance(batch, tuple | list) else batch
        found.append(_answer(model, inputs))
    if not found:
        raise ValueError("`dataset` wants at least one batch. Received: none.")
    return {name: np.concatenate([x[name] for x in found]) for name in found[0]}


def _answer(model, inputs):
    inputs = {name: inputs[name] for name in model.input}
    count = len(next(iter(inputs.values())))
    parts = []
    for start in range(0, count, _BLOCK):
        part = {name: x[start : start + _BLOCK] for name, x in inputs.items()}
        parts.append(model.predict_on_batch(part))
    return {name: np.concatenate([x[name] for x in parts]) for name in parts[0]}


def _checked(embeddings):
    """Sorted by name, float64, of length 1."""
    made = {
        name: np.asarray(embeddings[name], "float64") for name in sorted(embeddings)
    }
    shapes = {name: x.shape for name, x in made.items()}
    if len(made) < 2 or len(set(shapes.values())) > 1:
        raise ValueError(
            f"`retrieval` wants two modalities or more, each an array (rows, units) of "
            f"one shape. Received: {shapes}"
        )
    for name, x in made.items():
        if x.ndim != 2 or not np.isfinite(x).all():
            raise ValueError(
                f"`retrieval` wants finite vectors (rows, units). Received: '{name}' "
                f"of shape {x.shape}{' with NaN or inf' * (x.ndim == 2)}."
            )
    lengths = {x: np.linalg.norm(y, axis=1, keepdims=True) for x, y in made.items()}
    return {x: y / np.where(lengths[x] > 0, lengths[x], 1) for x, y in made.items()}
