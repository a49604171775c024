"""The score of a model with every subset of its modalities."""

from typing import NamedTuple

import numpy as np

from mmkeras import heads, scores
from mmkeras.analysis.bootstrap import Draws, drawn, weights
from mmkeras.analysis.certainty.calibration import of_head
from mmkeras.analysis.emap import Emap, Sample, projection
from mmkeras.analysis.result import ModalityReport
from mmkeras.analysis.subsets import Trunk, batches, of_output, subsets


def modality_report(
    model,
    dataset,
    metric=None,
    kind=None,
    batch_size=32,
    *,
    emap=False,
    emap_samples=None,
    bootstrap=0,
    confidence=0.95,
    groups=None,
    seed=0,
    output=None,
):
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
    >>> report.shapley()
    {'photo': 0.0}

    Args:
        model: a model of `mmkeras.multimodal`, or what has the `names`, `contract`,
            `features` and `answer` of `subsets.Trunk`.
        dataset: batched dataset of `(inputs, labels)`, as `mmkeras.data.from_table`
            gives, or a tuple of arrays. Labels: integers (one class a row), 0 and 1
            `(rows, classes)` (multilabel), or numbers. Sample weights are not used.
        metric: name ("accuracy", "macro_f1", "auc_roc", "mae", "rmse"), a function
            `(labels, outputs) -> float`, or a list of these; default: all that fit
            the kind of label. The higher a function's value, the better.
        kind: "single", "multi" or "number"; default: the head's, or what labels say.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.
        emap: True to score the additive part of the model too (see `emap.projection`),
            or the Integer of rows, drawn at random, which that is done on at most.
            Their features are kept in memory.
        emap_samples: Integer, partners of each row; default: exact for two modalities
            of up to 1,000 rows, else 100.
        bootstrap: Integer, draws for intervals, say 1000; 0: no intervals. A function
            in `metric` is called for every draw and subset.
        confidence: Float in (0, 1), of the intervals.
        groups: optional array `(rows,)`, rows of one value are drawn together.
        seed: Integer, of the draws and of EMAP's partners.
        output: name of one output of a model with several, whose `dataset` has labels
            by output; rows that lack this label (-1, NaN) are left out.

    Returns:
        `ModalityReport`. "macro_f1" of a multilabel head takes outputs for logits.

    Raises:
        ValueError: no rows or labels, inputs missing, several outputs and no valid
            `output`, a metric that does not fit the labels, labels whose kind is not
            plain, or an option out of its range.
    """
    _check(emap, emap_samples, bootstrap, confidence)
    if output is not None:
        model, dataset = of_output(model, dataset, output, batch_size)
    cut = model if hasattr(model, "answer") else Trunk(model)
    sample = Sample(None if emap is True else emap, seed) if emap else None
    labels, outputs, presence = _run(cut, dataset, batch_size, sample)
    contract = cut.contract
    last = outputs[cut.names]
    if kind is None:
        kind = contract.kind if contract is not None else _kind(labels, last)
    labels = _labels(labels, last, kind)
    measures = _measures(metric, kind, contract)
    additive = None
    if emap:
        additive = _additive(cut, sample, labels, last, emap_samples, seed)
    draws = None
    if bootstrap:
        blocks = weights(len(labels), bootstrap, groups, seed)
        draws = _draws(measures, labels, outputs, additive, blocks, confidence)
    classes = contract.classes if contract is not None else range(last.shape[-1])
    single = kind == "single"
    return ModalityReport(
        cut.names,
        kind,
        tuple(map(str, classes)),
        tuple(measures),
        {x: _scores(measures, labels, answers) for x, answers in outputs.items()},
        len(labels),
        {x: int(_columns(presence, cut.names, x).all(1).sum()) for x in outputs},
        scores.confusion(labels, last.argmax(-1), last.shape[-1]) if single else None,
        _by_class(labels, outputs, kind, contract),
        additive and additive.scored(measures),
        draws,
        of_head(contract, labels, last, kind),
    )


class _Additive(NamedTuple):
    """The rows that EMAP was worked out on: labels, outputs, their additive part."""

    labels: np.ndarray
    whole: np.ndarray
    outputs: np.ndarray
    index: np.ndarray
    partners: int | None

    def scored(self, measures):
        return Emap(
            _scores(measures, self.labels, self.outputs),
            _scores(measures, self.labels, self.whole),
            len(self.index),
            self.partners,
        )


def _additive(cut, sample, labels, whole, samples, seed):
    features, presence, index = sample.rows()
    outputs, partners = projection(cut, features, presence, samples, seed)
    return _Additive(labels[index], whole[index], outputs, index, partners)


def _scores(measures, labels, outputs):
    return {key: float(f(labels, outputs)) for key, f in measures.items()}


def _draws(measures, labels, outputs, additive, blocks, confidence):
    """The scores of every bootstrap draw, as `bootstrap.Draws`."""
    table = {key: {subset: [] for subset in outputs} for key in measures}
    lost = {key: [] for key in measures if additive}
    for block in blocks:
        for key, function in measures.items():
            for subset, parts in table[key].items():
                parts.append(drawn(function, labels, outputs[subset], block))
            if additive:
                own = additive.labels, block[additive.index]
                whole, part = (
                    drawn(function, own[0], x, own[1])
                    for x in (additive.whole, additive.outputs)
                )
                lost[key].append(whole - part)
    table = {
        key: {subset: np.concatenate(parts) for subset, parts in row.items()}
        for key, row in table.items()
    }
    lost = {key: np.concatenate(parts) for key, parts in lost.items()}
    return Draws(table, lost, confidence)


def _by_class(labels, outputs, kind, contract):
    """Precision, recall and F1 of each class by subset, where there are classes."""
    if kind == "single":
        return {
            subset: scores.per_class(
                scores.confusion(labels, x.argmax(-1), x.shape[-1])
            )
            for subset, x in outputs.items()
        }
    if kind == "multi" and contract is not None:
        return {x: scores.per_label(labels, y) for x, y in outputs.items()}
    return None


def _run(cut, dataset, batch_size, sample):
    """Labels, outputs by subset and presence `(rows, modalities)`."""
    found = {subset: [] for subset in subsets(cut.names)}
    labels, there = [], []
    for inputs, truth in batches(dataset, batch_size):
        features, presence = cut.features(inputs)
        for subset, parts in found.items():
            parts.append(cut.answer(features, presence, subset))
        if sample is not None:
            sample.add(features, presence)
        labels.append(truth)
        there.append(np.stack([presence[x] for x in cut.names], axis=1))
    outputs = {subset: np.concatenate(parts) for subset, parts in found.items()}
    return np.concatenate(labels), outputs, np.concatenate(there)


def _check(emap, emap_samples, bootstrap, confidence):
    options = {"emap": emap, "emap_samples": emap_samples, "bootstrap": bootstrap}
    for name, value in options.items():
        if value is not None and (value < 0 or int(value) != value):
            raise ValueError(
                f"`{name}` wants an integer, 0 or more. Received: {name}={value!r}"
            )
    if not 0 < confidence < 1:
        raise ValueError(
            f"`confidence` wants a float in (0, 1). Received: confidence={confidence!r}"
        )


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
    bad = np.flatnonzero(~np.isfinite(labels).reshape(len(labels), -1).all(1))
    if len(bad):
        raise ValueError(
            f"Labels want numbers. Received: NaN or infinity in {len(bad)} rows, the "
            f"first is row {bad[0]}. Leave rows without a label out."
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
