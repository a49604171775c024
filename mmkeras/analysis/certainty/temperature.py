"""Temperature scaling: one number that makes a model's probabilities honest."""

import dataclasses
import warnings

import numpy as np

from mmkeras import heads
from mmkeras.analysis.certainty.calibration import (
    CalibrationReport,
    check_kind,
    checked,
    outputs_of,
    report,
)

#: Temperatures that are searched.
SEARCHED = (0.02, 50.0)
_HALVINGS = 60


@dataclasses.dataclass(frozen=True)
class TemperatureReport:
    """What `fit_temperature` gives.

    Args:
        temperature: Float, now in the model.
        before: `CalibrationReport` of the rows at temperature 1.
        after: `CalibrationReport` of the same rows at `temperature`.
    """

    temperature: float
    before: CalibrationReport
    after: CalibrationReport

    def to_frame(self):
        """DataFrame, rows "before" and "after": temperature and scores."""
        import pandas

        columns = ("temperature", "ece", "mce", "classwise_ece", "brier", "nll")
        both = {"before": self.before, "after": self.after}
        made = {x: [getattr(y, x) for y in both.values()] for x in columns}
        return pandas.DataFrame(made, index=list(both))

    def __str__(self):
        old, new = self.before, self.after
        return (
            f"Temperature {self.temperature:.4g} from {old.rows} rows: calibration "
            f"error {old.ece:.4f} -> {new.ece:.4f}, NLL {old.nll:.4f} -> {new.nll:.4f}"
        )


def fit_temperature(model, dataset, *, bins=15, batch_size=32):
    """Finds the temperature that makes labels most likely and keeps it in the model.

    T minimises -mean log softmax(z / T)_y; of a multilabel head the binary
    cross-entropy of z / T. The head divides by T where its logits z become
    probabilities: in `decode`, `mmkeras predict` and the scores of every export made
    from then on; thresholds are compared with these. The logits and the winner stay.
    T is saved in the `.keras` file (not by `save_weights`). After more training, fit
    it again.

    Example:
    >>> pixels = mmkeras.image.Pixels((1, 1))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> head = mmkeras.heads.classification(["cat", "dog"]).layer
    >>> model = mmkeras.multimodal({"photo": tiny}, mmkeras.fusion.Concat(), head)
    >>> head.set_weights([np.zeros((3, 2)), np.array([0.0, 8.0])])  # always sure: dog
    >>> rows = {"photo": np.ones((10, 1, 1, 3)), "photo_present": np.ones(10)}
    >>> labels = np.arange(10) > 0  # 9 of 10 are dogs
    >>> report = mmkeras.analysis.fit_temperature(model, (rows, labels))
    >>> round(head.decode([[0.0, 8.0]])[0]["dog"], 4)
    0.9

    Args:
        model: a model with one output, a head of `mmkeras.heads`.
        dataset: batched dataset of `(inputs, labels)`, as `mmkeras.data.from_table`
            gives, or a tuple of arrays: rows that the model was not trained on.
        bins: Integer, of the reports.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.

    Returns:
        `TemperatureReport`. Where no temperature is best (all rows are right, or the
        outputs say nothing of the labels) it warns, and T is 1.

    Raises:
        ValueError: the model has no such head, or all labels are the same.

    Reference:
        Guo et al. 2017, arXiv:1706.04599.
    """
    head = heads.output_contract(model)
    if head is None:
        raise ValueError(
            f"`model` wants a head of `mmkeras.heads`, to keep the temperature in. "
            f"Received: '{model.name}' without one."
        )
    check_kind(head.kind)
    found = outputs_of(model, dataset, batch_size)
    labels, outputs, kind = checked(*found, head.kind)
    known = np.unique(labels)
    if len(known) < 2:
        raise ValueError(
            f"A temperature wants labels of two classes or more. Received: "
            f"{len(labels)} rows, all labels {known[0]}"
        )
    head.temperature = search(outputs, labels, kind)
    reports = [
        report(outputs, labels, kind, head.classes, x, bins)
        for x in (1.0, head.temperature)
    ]
    return TemperatureReport(head.temperature, *reports)


def search(logits, labels, kind):
    """The temperature of the least negative log-likelihood, or 1 with a warning.

    The loss is convex in b = 1 / T: where its slope crosses zero, by bisection of
    log b in float64.
    """
    logits = np.asarray(logits, "float64")
    low, high = (-np.log(x) for x in reversed(SEARCHED))
    if not _slope(low, logits, labels, kind) < 0 < _slope(high, logits, labels, kind):
        warnings.warn(
            f"No temperature from {SEARCHED[0]:g} to {SEARCHED[1]:g} fits these "
            f"{len(labels)} rows: all are right, or the outputs say nothing of the "
            f"labels. It is set to 1. Take more rows, none that it was trained on.",
            stacklevel=3,
        )
        return 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _slope(middle, logits, labels, kind) < 0:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2))


def _slope(log_b, logits, labels, kind):
    """D NLL / d b: what the probabilities expect of the logits, less what is true."""
    z = logits * np.exp(log_b)
    if kind == "multi":
        p = np.exp(-np.logaddexp(0, -z))
        return ((p - labels) * logits).mean()
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    return ((p * logits).sum(1) - true).mean()
