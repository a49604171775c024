"""The score of a model with every subset of its modalities."""

import dataclasses

import numpy as np

from mmkeras import heads
from mmkeras.analysis import scores
from mmkeras.analysis.subsets import Trunk, batches, subsets


@dataclasses.dataclass(frozen=True)
class ModalityReport:
    """What `modality_report` gives.

    Args:
        modalities: tuple of names, sorted.
        kind: "single", "multi" or "number" (see `mmkeras.heads`).
        classes: tuple of the outputs' names.
        metrics: tuple of names; the first is the one that plots draw.
        table: dict, subset (tuple of names) -> dict, metric -> float.
        rows: how many rows were scored.
        present: dict, subset -> how many of the rows have all of it.
        confusion: counts `(classes, classes)` with all modalities shown, rows are the
            labels, columns the predictions; None unless `kind` is "single".
    """

    modalities: tuple
    kind: str
    classes: tuple
    metrics: tuple
    table: dict
    rows: int
    present: dict
    confusion: np.ndarray | None = None

    def score(self, subset=None, metric=None):
        """One score.

        Args:
            subset: names of the modalities shown, in any order; default: all.
            metric: name; default: the first.

        Raises:
            ValueError: unknown modality or metric.
        """
        wanted = set(self.modalities if subset is None else subset)
        metric = metric or self.metrics[0]
        key = tuple(x for x in self.modalities if x in wanted)
        if len(key) != len(wanted):
            raise ValueError(
                f"`subset` wants names of {self.modalities}. Received: {sorted(wanted)}"
            )
        if metric not in self.metrics:
            raise ValueError(
                f"`metric` wants one of {self.metrics}. Received: metric={metric!r}"
            )
        return self.table[key][metric]

    def to_frame(self):
        """DataFrame, a row per subset: the metrics, and the rows that have it all."""
        import pandas

        rows = [
            {"modalities": label(x), **self.table[x], "rows": self.present[x]}
            for x in self.table
        ]
        return pandas.DataFrame(rows).set_index("modalities")

    def per_class(self):
        """DataFrame, a row per class: precision, recall, F1 and rows.

        Raises:
            ValueError: the labels are not one class a row.
        """
        import pandas

        if self.confusion is None:
            raise ValueError(
                f"`per_class` wants one class a row. Received: kind={self.kind!r}"
            )
        columns = scores.per_class(self.confusion)
        return pandas.DataFrame(columns, index=pandas.Index(self.classes, name="class"))

    def __str__(self):
        frame = self.to_frame().reset_index()
        cells = [list(map(str, frame.columns))]
        cells += [[_cell(x) for x in row] for row in frame.itertuples(index=False)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(_line(row, widths) for row in cells)


def modality_report(model, dataset, metric=None, kind=None, batch_size=32):
    """Scores a model with every subset of its modalities, missing as in serving.

    For each subset S the modalities outside S are hidden from every row: presence 0
    and a tensor of zeros, as an empty string is served. Values that a row itself lacks
    stay missing. The encoders run once; only what is behind them runs per subset.

    Example:
    >>> pixels = mmkeras.image.Pixels((4, 4))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> head = mmkeras.heads.classification(["cat", "dog"]).layer
    >>> model = mmkeras.multimodal({"photo": tiny}, mmkeras.fusion.Concat(), head)
    >>> rows = {"photo": np.ones((6, 4, 4, 3)), "photo_present": np.ones(6)}
    >>> report = mm.analysis.modality_report(model, (rows, np.arange(6) % 2))
    >>> report.score(["photo"])
    0.5

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        dataset: batched dataset of `(inputs, labels)`, as `mmkeras.data.from_table`
            gives, or a tuple of arrays. Labels: integers (one class a row), 0 and 1
            `(rows, classes)` (multilabel), or numbers. Sample weights are not used.
        metric: name ("accuracy", "macro_f1", "auc_roc", "mae", "rmse"), a function
            `(labels, outputs) -> float`, or a list of these; default: all that fit
            the kind of label.
        kind: "single", "multi" or "number"; default: the head's, or what labels say.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.

    Returns:
        `ModalityReport`. "macro_f1" of a multilabel head takes outputs for logits.

    Raises:
        ValueError: no rows or labels, inputs missing, several outputs, a metric that
            does not fit the labels, or labels whose kind is not plain.
    """
    labels, outputs, presence, names = _run(model, dataset, batch_size)
    contract = heads.output_contract(model)
    last = outputs[names]
    if kind is None:
        kind = contract.kind if contract is not None else _kind(labels, last)
    labels = _labels(labels, last, kind)
    measures = _measures(metric, kind, contract)
    table = {
        subset: {key: float(f(labels, x)) for key, f in measures.items()}
        for subset, x in outputs.items()
    }
    there = {x: int(_columns(presence, names, x).all(1).sum()) for x in outputs}
    counts = None
    if kind == "single":
        counts = scores.confusion(labels, last.argmax(-1), last.shape[-1])
    classes = contract.classes if contract is not None else range(last.shape[-1])
    return ModalityReport(
        names,
        kind,
        tuple(map(str, classes)),
        tuple(measures),
        table,
        len(labels),
        there,
        counts,
    )


def label(subset):
    """The name of a subset on paper: "photo + title", "none"."""
    return " + ".join(subset) or "none"


def _run(model, dataset, batch_size):
    """Labels, outputs by subset, presence `(rows, modalities)` and the names."""
    cut = Trunk(model)
    found = {subset: [] for subset in subsets(cut.names)}
    labels, there = [], []
    for inputs, truth in batches(dataset, batch_size):
        features, presence = cut.features(inputs)
        for subset, parts in found.items():
            parts.append(cut.answer(features, presence, subset))
        labels.append(truth)
        there.append(np.stack([presence[x] for x in cut.names], axis=1))
    outputs = {subset: np.concatenate(parts) for subset, parts in found.items()}
    return np.concatenate(labels), outputs, np.concatenate(there), cut.names


def _columns(presence, names, subset):
    return presence[:, [names.index(x) for x in subset]] > 0


def _kind(labels, outputs):
    """The kind of label, where the head does not say it."""
    width = outputs.shape[-1]
    flat = labels.size == len(labels)
    if flat and width > 1 and np.issubdtype(labels.dtype, np.integer):
        return "single"
    if not flat and labels.shape == outputs.shape and np.isin(labels, (0, 1)).all():
        return "multi"
    if labels.size == outputs.size and np.issubdtype(labels.dtype, np.floating):
        return "number"
    raise ValueError(
        f"The kind of the labels is not plain: labels of shape {labels.shape}, dtype "
        f"{labels.dtype}, outputs of shape {outputs.shape}. Give `kind`, one of "
        f"{heads.KINDS}, or build the head with `mmkeras.heads`."
    )


def _labels(labels, outputs, kind):
    """Labels in the form that the scores take, checked against the outputs."""
    if kind not in heads.KINDS:
        raise ValueError(f"`kind` wants one of {heads.KINDS}. Received: kind={kind!r}")
    fits = labels.size == (len(outputs) if kind == "single" else outputs.size)
    if fits and kind == "single":
        labels = labels.reshape(-1).astype(int)
        fits = 0 <= labels.min() and labels.max() < outputs.shape[-1]
    if not fits:
        wanted = {"single": f"integers below {outputs.shape[-1]}, one a row"}
        raise ValueError(
            f"Labels of kind '{kind}' want "
            f"{wanted.get(kind, f'shape {outputs.shape}')}. Received: labels of shape "
            f"{labels.shape} between {labels.min()} and {labels.max()}"
        )
    return labels if kind == "single" else labels.reshape(outputs.shape)


def _measures(metric, kind, contract):
    """Name -> function `(labels, outputs) -> float`."""
    valid = scores.OF_KIND[kind]
    if metric is None:
        # the F1 of a multilabel head needs logits: only our own head promises them
        sure = kind != "multi" or contract is not None
        metric = valid if sure else valid[:1]
    chosen = metric if isinstance(metric, list | tuple) else [metric]
    measures = {}
    for entry in chosen:
        if callable(entry):
            measures[getattr(entry, "__name__", "metric")] = entry
        elif entry in valid:
            measures[entry] = scores.SCORES[entry]
        else:
            raise ValueError(
                f"`metric` wants a function (labels, outputs) -> float, or for labels "
                f"of kind '{kind}' one of {valid}. Received: {entry!r}"
            )
    return measures


def _cell(value):
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _line(cells, widths):
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *map(str.rjust, cells[1:], widths[1:])])
