"""Calibration: does what is said with probability 0.8 come true 8 times in 10?"""

import dataclasses

import keras
import numpy as np

from mmkeras import heads
from mmkeras.analysis.subsets import batches

_SMALLEST = 1e-300  # a probability below this counts as this in a logarithm


@dataclasses.dataclass(frozen=True)
class CalibrationReport:
    """What `calibration` gives.

    Args:
        kind: "single" or "multi" (see `mmkeras.heads`).
        classes: tuple of the outputs' names.
        rows: how many rows were looked at.
        temperature: what the logits were divided by; None for given probabilities.
        ece: expected calibration error, sum_b n_b / n |observed_b - predicted_b|.
        by_chance: about the `ece` of a perfectly calibrated model on as many rows.
        mce: maximum calibration error, that of the worst bin.
        classwise: dict, class -> ece of its probability on all rows.
        brier: mean squared distance of the probabilities to the truth; summed over
            the classes of kind "single" (0 to 2), mean over those of kind "multi".
        nll: mean negative log-likelihood in nats; of kind "multi" mean over classes.
        accuracy: share of rows that are right; of kind "multi" of labels, at 0.5.
        confidence: mean probability of what was chosen.
        table: dict of arrays, an entry a bin: "low", "high" (low < p <= high), "rows",
            "predicted" (mean p), "observed" (share that came true), NaN where a bin is
            empty. p is the winner's probability, of kind "multi" that of each label of
            each row, counted in "rows".
    """

    kind: str
    classes: tuple
    rows: int
    temperature: float | None
    ece: float
    by_chance: float
    mce: float
    classwise: dict
    brier: float
    nll: float
    accuracy: float
    confidence: float
    table: dict

    @property
    def classwise_ece(self):
        """Mean of the classes' expected calibration errors."""
        return float(np.mean(list(self.classwise.values())))

    def to_frame(self):
        """DataFrame, a row per bin: the table, the share of all rows and the gap."""
        import pandas

        frame = pandas.DataFrame(self.table)
        frame["share"] = frame["rows"] / frame["rows"].sum()
        frame["gap"] = frame["observed"] - frame["predicted"]
        return frame.rename_axis("bin")

    def __str__(self):
        told = [
            f"Calibration error {self.ece:.4f} ({self.by_chance:.4f} by chance)",
            f"classwise {self.classwise_ece:.4f}",
            f"Brier {self.brier:.4f}",
            f"NLL {self.nll:.4f}",
            f"confidence {self.confidence:.4f} at accuracy {self.accuracy:.4f}",
        ]
        if self.temperature is not None:
            told.append(f"temperature {self.temperature:.4g}")
        return f"{', '.join(told)} ({self.rows} rows)"


def calibration(
    model,
    dataset,
    bins=15,
    *,
    equal_mass=False,
    kind=None,
    temperature=None,
    from_logits=True,
    batch_size=32,
):
    """How far a model's probabilities are from what comes true.

    ECE = sum_b n_b / n |observed_b - predicted_b| over bins b of the probability.

    Example:
    >>> logits, labels = np.log([[0.9, 0.1]] * 10), np.array([0] * 7 + [1] * 3)
    >>> report = mmkeras.analysis.calibration(logits, labels)
    >>> round(report.ece, 4)  # 0.9 was said, 0.7 came true
    0.2

    Args:
        model: a model with one output, or its outputs `(rows, classes)`.
        dataset: batched dataset of `(inputs, labels)`, as `mmkeras.data.from_table`
            gives, or a tuple of arrays; where `model` is outputs, their labels.
        bins: Integer, how many.
        equal_mass: False for bins of equal width, True for bins of about as many rows
            each (equal probabilities share a bin).
        kind: "single" or "multi"; default: the head's, else "single" for integers one
            a row, "multi" for 0 and 1 `(rows, classes)`.
        temperature: Float that logits are divided by; default: the head's, else 1.
        from_logits: False where the outputs are probabilities.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.

    Returns:
        `CalibrationReport`.

    Raises:
        ValueError: numbers (they have no probabilities), labels that do not fit the
            outputs, probabilities without `from_logits=False`, a wrong argument.

    Reference:
        Guo et al. 2017, arXiv:1706.04599; classwise Kull et al. 2019, arXiv:1910.12656.
    """
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"`bins` wants an integer, 1 or more. Received: {bins!r}")
    head = None
    if isinstance(model, keras.Model):
        head = heads.output_contract(model)
        kind = kind or (head.kind if head is not None else None)
        check_kind(kind)  # before all rows are read
        labels, outputs = outputs_of(model, dataset, batch_size)
    else:
        labels, outputs = np.asarray(dataset), np.asarray(model)
    labels, outputs, kind = checked(labels, outputs, kind)
    _check_form(outputs, kind, from_logits)
    if from_logits and temperature is None:
        temperature = head.temperature if head is not None else 1.0
    if bool(from_logits) is not bool(temperature is not None and temperature > 0):
        raise ValueError(
            f"`temperature` wants a float above 0 that logits are divided by. "
            f"Received: temperature={temperature}, from_logits={from_logits}"
        )
    names = head.classes if head is not None else range(outputs.shape[1])
    return report(outputs, labels, kind, names, temperature, bins, equal_mass)


def of_head(head, labels, outputs, kind, bins=15):
    """The report of logits whose labels are checked already, or None without one."""
    if head is None or head.kind != kind or kind == "number":
        return None
    hard = kind == "single" or np.isin(labels, (0, 1)).all()
    if not (hard and np.isfinite(outputs).all()):
        return None
    outputs, labels = outputs.astype("float64"), labels.astype(int)
    return report(outputs, labels, kind, head.classes, head.temperature, bins)


def outputs_of(model, dataset, batch_size=32):
    """Labels and the model's outputs on all rows, as numpy arrays."""
    if isinstance(model.output, dict | list):
        raise ValueError(
            f"`model` wants one output. Received: {sorted(model.output)}. Take each: "
            f"`keras.Model(model.input, model.output['name'])`."
        )
    labels, outputs = [], []
    for inputs, truth in batches(dataset, batch_size):
        outputs.append(model.predict_on_batch(inputs))
        labels.append(truth)
    return np.concatenate(labels), np.concatenate(outputs)


def checked(labels, outputs, kind=None):
    """Labels, outputs in float64 and the kind, once they fit each other."""
    if outputs.ndim != 2 or not len(outputs) or not np.isfinite(outputs).all():
        raise ValueError(
            f"Outputs want shape (rows, classes), at least a row, all finite. "
            f"Received: shape {outputs.shape}, "
            f"{(~np.isfinite(outputs)).sum()} not finite"
        )
    flat = labels.size == len(outputs)
    if kind is None:
        kind = "single" if flat and outputs.shape[1] > 1 else "multi"
    check_kind(kind)
    if kind == "single":
        whole = flat and np.equal(np.mod(labels, 1), 0).all()
        fits = whole and 0 <= labels.min() and labels.max() < outputs.shape[1] > 1
        wanted = f"integers from 0 below {outputs.shape[1]}, one a row"
    else:
        fits = labels.size == outputs.size and np.isin(labels, (0, 1)).all()
        wanted = f"0 and 1 of shape {outputs.shape}"
    if not fits:
        raise ValueError(
            f"Labels of kind '{kind}' want {wanted}. Received: shape {labels.shape}, "
            f"{labels.min()} to {labels.max()}. Shares of classes and numbers have no "
            f"calibration here."
        )
    shape = (-1,) if kind == "single" else outputs.shape
    return labels.reshape(shape).astype(int), outputs.astype("float64"), kind


def check_kind(kind):
    """Refuses what has no probabilities."""
    if kind not in (None, "single", "multi"):
        raise ValueError(
            f"Calibration wants probabilities: a head of `classification` ('single') "
            f"or `multilabel` ('multi'). Received: kind={kind!r}. For numbers there "
            f"are `modality_report` ('mae', 'rmse') and the spread of `ensemble` and "
            f"`mc_dropout`."
        )


def _check_form(outputs, kind, from_logits):
    """Tells logits from probabilities, where that can be told."""
    inside = 0 <= outputs.min() and outputs.max() <= 1
    sums = np.allclose(outputs.sum(1), 1, atol=1e-4)
    if from_logits and inside and sums and kind == "single":
        raise ValueError(
            "`model` wants logits. Received: rows from 0 to 1 that sum to 1. If they "
            "are probabilities, say from_logits=False."
        )
    if not from_logits and not (inside and (sums or kind == "multi")):
        raise ValueError(
            f"With from_logits=False the outputs want numbers from 0 to 1, rows of "
            f"kind 'single' a sum of 1. Received: {outputs.min():.4g} to "
            f"{outputs.max():.4g}, sums {outputs.sum(1).min():.4g} to "
            f"{outputs.sum(1).max():.4g}"
        )


def report(outputs, labels, kind, names, temperature, bins, equal_mass=False):
    """The report on checked logits, or probabilities where `temperature` is None."""
    made = _single if kind == "single" else _multi
    p, likelihood = made(outputs, labels, temperature)
    if kind == "single":
        truth = np.eye(p.shape[1])[labels]
        said, true = p.max(1), p.argmax(1) == labels
        right, sure = true, said
        brier = ((p - truth) ** 2).sum(1).mean()
    else:
        truth, said, true = labels, p.ravel(), labels.ravel()
        right, sure = (p >= 0.5) == (labels > 0), np.maximum(p, 1 - p)
        brier = ((p - truth) ** 2).mean()
    names = tuple(map(str, names))
    table = _binned(said, true, bins, equal_mass)
    each = (_binned(p[:, i], truth[:, i], bins, equal_mass) for i in range(len(names)))
    return CalibrationReport(
        kind=kind,
        classes=names,
        rows=len(p),
        temperature=None if temperature is None else float(temperature),
        ece=_error(table),
        by_chance=_by_chance(said, table),
        mce=float(np.nanmax(np.abs(table["observed"] - table["predicted"]))),
        classwise=dict(zip(names, map(_error, each), strict=True)),
        brier=float(brier),
        nll=float(-likelihood.mean()),
        accuracy=float(right.mean()),
        confidence=float(sure.mean()),
        table=table,
    )


def _single(outputs, labels, temperature):
    """Probabilities, and the log-likelihood of each row."""
    picked = np.arange(len(labels)), labels
    if temperature is None:
        return outputs, np.log(np.maximum(outputs[picked], _SMALLEST))
    logs = (outputs - outputs.max(1, keepdims=True)) / temperature
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    return np.exp(logs), logs[picked]


def _multi(outputs, labels, temperature):
    """Probabilities, and the log-likelihood of each label."""
    if temperature is None:
        true = np.where(labels > 0, outputs, 1 - outputs)
        return outputs, np.log(np.maximum(true, _SMALLEST))
    yes = -np.logaddexp(0, -outputs / temperature)  # log sigmoid
    no = -np.logaddexp(0, outputs / temperature)
    return np.exp(yes), np.where(labels > 0, yes, no)


def _binned(p, true, bins, equal_mass):
    """The table of bins of `p`, each without its lower edge."""
    edges = np.linspace(0, 1, bins + 1)
    if equal_mass:
        inner = np.unique(np.quantile(p, edges[1:-1]))
        edges = np.array([0.0, *inner[(inner > 0) & (inner < 1)], 1.0])
    place = _places(p, edges)
    rows = np.bincount(place, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):  # 0 / 0, of an empty bin
        predicted = np.bincount(place, p, len(rows)) / rows
        observed = np.bincount(place, true, len(rows)) / rows
    return {
        "low": edges[:-1],
        "high": edges[1:],
        "rows": rows,
        "predicted": predicted,
        "observed": observed,
    }


def _places(p, edges):
    return np.searchsorted(edges[1:-1], p)


def _error(table):
    gaps = np.abs(table["observed"] - table["predicted"])
    return float(np.nansum(gaps * table["rows"]) / table["rows"].sum())


def _by_chance(p, table):
    """Mean |observed - predicted| if labels were drawn by p: a normal's, per bin."""
    edges = np.append(table["low"], table["high"][-1])
    spread = np.bincount(_places(p, edges), p * (1 - p), len(table["rows"]))
    return float(np.sqrt(2 / np.pi * spread).sum() / len(p))
