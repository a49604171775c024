"""Logistic regression (ridge for numbers) on features side by side: the simple road.

Columns are standardised on the training rows that have the modality; absent ones are 0
then. The scaling of the modalities and the penalty are those of the least loss on the
validation rows; the fit is on the training rows alone. scikit-learn is an extra.
"""

import copy
import itertools

import numpy as np

#: Modalities as they are (the widest is the loudest), or all at one mean length.
_SCALINGS = ("plain", "balanced")
_CS = {"plain": (1e-3, 1e-2, 0.1, 1.0), "balanced": (0.1, 1.0, 10.0, 100.0)}
_SMALLEST = 1e-12


class Linear:
    """A linear model of one kind of label on blocks of features.

    Args:
        kind: "single", "multi" or "number" (see `mmkeras.heads`).
        outputs: Integer, number of classes or numbers.
        as_they_are: names of blocks whose columns are not standardised, such as TF-IDF.

    `fit` and calls take blocks: dict, modality -> (features `(rows, width)`, presence
    `(rows,)`). A call gives logits `(rows, outputs)`, or numbers.
    """

    def __init__(self, kind, outputs, as_they_are=()):
        self.kind, self.outputs, self.as_they_are = kind, outputs, as_they_are

    def fit(self, train, labels, val, val_labels, weights=None):
        """Fits; chooses by the loss on `val`. Gives itself."""
        self._scale(train)
        best = np.inf
        for scaling in _SCALINGS if len(train) > 1 else ("balanced",):
            x, y = self._matrix(train, scaling), self._matrix(val, scaling)
            # a penalised solution lies in the span of the rows: same model, faster
            span = np.eye(x.shape[1])
            if x.shape[1] > x.shape[0]:
                span = np.linalg.svd(x, full_matrices=False)[2].T
            for c, model in self._path(x @ span, labels, _CS[scaling], weights):
                loss = self._loss(self._answer(model, y @ span), val_labels)
                if loss < best:
                    best, self.penalty = loss, 1 / c
                    self._chosen = scaling, span, copy.deepcopy(model)
        return self

    def __call__(self, blocks):
        scaling, span, model = self._chosen
        return self._answer(model, self._matrix(blocks, scaling) @ span)

    @property
    def count(self):
        """Weights and biases, of the columns before the span."""
        return (self._width + 1) * (1 if self.kind == "number" else self.outputs)

    def _scale(self, blocks):
        self._scales, self._width = {}, 0
        self._gaps = [n for n, (_, there) in blocks.items() if not np.all(there)]
        for name, (x, there) in blocks.items():
            seen = np.asarray(x, float)[np.asarray(there) > 0]
            mean, deviation = np.zeros(x.shape[1]), np.ones(x.shape[1])
            if name not in self.as_they_are and len(seen):
                mean, deviation = seen.mean(0), seen.std(0)
                deviation[deviation < 1e-7 * (1 + np.abs(mean))] = 1.0
            length = ((((seen - mean) / deviation) ** 2).sum(1)).mean() ** 0.5
            self._scales[name] = mean, deviation, length if length > 0 else 1.0
            self._width += x.shape[1]
        self._width += len(self._gaps)

    def _matrix(self, blocks, scaling):
        columns = []
        for name, (mean, deviation, length) in self._scales.items():
            x, there = blocks[name]
            x = (np.asarray(x, float) - mean) / deviation
            x = x / length if scaling == "balanced" else x
            columns.append(np.where(np.asarray(there)[:, None] > 0, x, 0.0))
        for name in self._gaps:
            columns.append(np.asarray(blocks[name][1], float)[:, None])
        return np.hstack(columns)

    def _path(self, x, labels, cs, weights):
        """Models of less and less penalty, each started from the one before."""
        sklearn = _sklearn()
        if self.kind == "number":
            for c in cs:
                yield c, [sklearn.Ridge(1 / c).fit(x, np.ravel(labels), weights)]
            return
        columns = [labels] if self.kind == "single" else np.asarray(labels).T
        columns = [np.asarray(y).astype(int) for y in columns]
        models = [
            sklearn.LogisticRegression(max_iter=5000, warm_start=True)
            if len(np.unique(y)) > 1
            else int(y[0])  # nothing to tell apart
            for y in columns
        ]
        for c in cs:
            for model, y in zip(models, columns, strict=True):
                if not isinstance(model, int):
                    model.set_params(C=c).fit(x, y, weights)
            yield c, models

    def _answer(self, models, x):
        if self.kind == "number":
            return models[0].predict(x)[:, None]
        if self.kind == "single":
            return np.log(np.maximum(_spread(models[0], x, self.outputs), _SMALLEST))
        yes = np.stack([_spread(m, x, 2)[:, 1] for m in models], axis=1)
        yes = np.clip(yes, _SMALLEST, 1 - 1e-9)
        return np.log(yes) - np.log1p(-yes)

    def _loss(self, answer, labels):
        if self.kind == "number":
            return float(np.mean((answer[:, 0] - np.ravel(labels)) ** 2))
        if self.kind == "single":
            return -float(answer[np.arange(len(labels)), labels].mean())
        return float(np.mean(np.logaddexp(0, answer) - np.asarray(labels) * answer))


def _spread(model, x, count):
    """Probabilities `(rows, count)`: 0 for classes that no training row has."""
    found = np.zeros((len(x), count))
    if isinstance(model, int):
        found[:, model] = 1.0
    else:
        found[:, model.classes_] = model.predict_proba(x)
    return found


def _sklearn():
    try:
        from sklearn import linear_model
    except ImportError as error:
        raise ImportError(
            "The linear baselines want scikit-learn, which is not installed. Install "
            "it with `pip install mmkeras[cli]`."
        ) from error
    return linear_model


def subsets(names):
    """All names; and from three on, all but each one."""
    names = tuple(names)
    short = itertools.combinations(names, len(names) - 1) if len(names) > 2 else ()
    return [names, *reversed(list(short))]
