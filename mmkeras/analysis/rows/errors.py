"""The rows that a model gets wrong, with the table's own cells, and slices of them."""

import dataclasses

import keras
import numpy as np

from mmkeras import heads, scores
from mmkeras.analysis.certainty.calibration import _multi, _single, outputs_of
from mmkeras.analysis.report import _kind, _labels
from mmkeras.analysis.rows import slicing
from mmkeras.data.table import as_frame


@dataclasses.dataclass(frozen=True)
class ErrorReport:
    """What `errors` gives.

    Args:
        kind: "single", "multi" or "number" (see `mmkeras.heads`).
        classes: tuple of the outputs' names.
        rows: DataFrame, an entry a row of the table, in its order and with its index:
            "true", "predicted", "right", "confidence" and "loss", then the table's own
            columns, called `table_<name>` where theirs is one of these. For numbers
            "true", "predicted", "error" and "loss", the first three with `_<output>`
            where there are several outputs.
        own: dict, table column -> its name in `rows`.
        labels: the labels, as the scores take them.
        outputs: array `(rows, outputs)`, the model's outputs.
    """

    kind: str
    classes: tuple
    rows: object
    own: dict
    labels: np.ndarray
    outputs: np.ndarray

    def to_frame(self):
        """DataFrame, all rows, the worst first. What is not finite is worst of all."""
        return self.rows.sort_values(
            "loss", ascending=False, kind="stable", na_position="first"
        )

    def worst(self, count=20):
        """DataFrame, the `count` rows of the largest loss."""
        return self.to_frame().head(count)

    def mistakes(self, count=20):
        """DataFrame, the `count` wrong rows that the model is most sure of.

        Raises:
            ValueError: numbers, which are not right or wrong.
        """
        if self.kind == "number":
            raise ValueError(
                "`mistakes` wants classes. Received: kind='number'. Take `worst`."
            )
        wrong = self.rows[~self.rows["right"]]
        return wrong.sort_values("confidence", ascending=False, kind="stable").head(
            count
        )

    def slices(
        self, columns=None, metric=None, bins=4, small=30, bootstrap=1000, seed=0
    ):
        """The score on the rows of each value of a column; see `slicing.slices`.

        Args:
            columns: list of the table's columns; default: all with up to 20 values,
                all of numbers, and of the others, where cells are empty, whether one
                is.
            metric: name of a score of `scores.SCORES`, or a function `(labels,
                outputs) -> float`; default: accuracy, the share of labels that are
                right (multilabel), or mae.
            bins: Integer, quantiles that a column of more numbers is cut at.
            small: Integer, slices of fewer rows are flagged.
            bootstrap: Integer, draws for 95 % intervals; 0: none.
            seed: Integer, of the draws.

        Returns:
            DataFrame, a row per slice: "column", "value", "rows", the score, its
            "low" and "high", "elsewhere" (the score on all other rows that have a
            value) and "small".

        Raises:
            ValueError: an unknown column or metric.
        """
        names, asked = list(self.own), columns
        unknown = [x for x in (asked or []) if x not in names]
        if unknown:
            raise ValueError(
                f"`columns` wants columns of the table, {names}. Received: {unknown}"
            )
        frame = self.rows[[self.own[x] for x in names]].set_axis(names, axis=1)
        given = self.labels, self.outputs, self._metric(metric)
        options = {"bins": bins, "small": small, "bootstrap": bootstrap, "seed": seed}
        return slicing.slices(frame, *given, columns=asked, **options)

    def __str__(self):
        total, loss = len(self.rows), self.rows["loss"]
        if self.kind == "number":
            return f"Mean absolute error {loss.mean():.4g}, worst {loss.max():.4g}"
        wrong = int((~self.rows["right"]).sum())
        return f"{wrong} of {total} rows wrong, mean loss {loss.mean():.4f} nats"

    def _metric(self, metric):
        if callable(metric):
            return metric
        valid = scores.OF_KIND[self.kind]
        if metric is None:
            named = {"single": scores.accuracy, "number": scores.mae}
            return named.get(self.kind, label_accuracy)
        if metric not in valid:
            raise ValueError(
                f"`metric` wants a function or one of {valid}. Received: {metric!r}"
            )
        return scores.SCORES[metric]


def errors(model, dataset, table, *, kind=None, batch_size=32):
    """The loss of each row beside the cells of the table it came from.

    Loss: -log p(true) in nats; for a multilabel head its mean over the classes; for
    numbers the absolute error, mean over outputs. p is softmax or sigmoid of
    logits / temperature.

    Example:
    >>> import pandas
    >>> table = pandas.DataFrame({"title": ["tabby", "puppy"], "shop": ["A", "B"]})
    >>> logits, labels = np.log([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1])
    >>> report = mmkeras.analysis.errors(logits, labels, table)
    >>> report.worst(1)[["true", "predicted", "title"]].values.tolist()
    [['1', '0', 'puppy']]

    Args:
        model: a model with one output, or its outputs `(rows, outputs)`: logits, or
            numbers.
        dataset: batched dataset of `(inputs, labels)`, as `mmkeras.data.from_table`
            gives of `table` unshuffled, or a tuple of arrays; where `model` is
            outputs, their labels.
        table: path or DataFrame, the rows of the dataset in its order.
        kind: "single", "multi" or "number"; default: the head's, or what labels say.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.

    Returns:
        `ErrorReport`.

    Raises:
        ValueError: the table has another number of rows, or what `modality_report`
            raises of labels.
    """
    frame, head = as_frame(table), None
    if isinstance(model, keras.Model):
        head = heads.output_contract(model)
        labels, outputs = outputs_of(model, dataset, batch_size)
    else:
        labels, outputs = np.asarray(dataset), np.asarray(model)
    return of_outputs(labels, outputs, frame, head, kind)


def of_outputs(labels, outputs, frame, head=None, kind=None):
    """The report on outputs that are there already.

    Args:
        labels: array `(rows, ...)`.
        outputs: array `(rows, outputs)`.
        frame: DataFrame, the rows of the table.
        head: optional head layer, for the names, kind and temperature.
        kind: as `errors`.
    """
    if len(frame) != len(outputs):
        raise ValueError(
            f"`table` wants the rows of the dataset. Received: {len(frame)} rows in "
            f"the table, {len(outputs)} in the dataset"
        )
    if kind is None:
        kind = head.kind if head is not None else _kind(labels, outputs)
    labels = _labels(labels, outputs, kind)
    names = head.classes if head is not None else range(outputs.shape[1])
    names = tuple(map(str, names))
    if kind == "number":
        made = _numbers(labels, outputs, names)
    else:
        temperature = 1.0 if head is None else head.temperature
        made = _classes(labels, outputs.astype("float64"), names, kind, temperature)
    own = {x: f"table_{x}" if str(x) in made else x for x in frame.columns}
    rows = frame.rename(columns=own)
    for place, (name, values) in enumerate(made.items()):
        rows.insert(place, name, values)
    return ErrorReport(kind, names, rows, own, labels, outputs)


def label_accuracy(labels, outputs):
    """Share of all labels that an output above 0 says rightly."""
    return float(np.mean((outputs > 0) == (labels > 0)))


def _classes(labels, outputs, names, kind, temperature):
    names = np.array(names, object)
    if kind == "single":
        p, likelihood = _single(outputs, labels, temperature)
        true, guess = names[labels], names[p.argmax(1)]
        right, sure, loss = true == guess, p.max(1), -likelihood
    else:
        p, likelihood = _multi(outputs, labels, temperature)
        true, guess = (_joined(names, x) for x in (labels > 0, p >= 0.5))
        right = ((labels > 0) == (p >= 0.5)).all(1)
        sure, loss = np.maximum(p, 1 - p).mean(1), -likelihood.mean(1)
    return {
        "true": true,
        "predicted": guess,
        "right": right.astype(bool),
        "confidence": sure,
        "loss": loss,
    }


def _joined(names, chosen):
    return np.array(["|".join(names[x]) for x in chosen], object)


def _numbers(labels, outputs, names):
    error = -scores.errors(labels, outputs)
    several = len(names) > 1
    made = {}
    for what, values in (("true", labels), ("predicted", outputs), ("error", error)):
        for i, name in enumerate(names):
            made[f"{what}_{name}" if several else what] = values[:, i]
    return {**made, "loss": np.abs(error).mean(1)}
