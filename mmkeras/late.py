"""Independent learning: models trained apart, joined by what they predict.

    predictions = {name: softmax(expert.predict(validation)) for name, expert in ...}
    weights = mmkeras.late.select(predictions, labels)
    model = mmkeras.late.join(experts, fusion)      # one plain model, to be exported
    mmkeras.model.fusion(model).set_modality_weights(weights)

`predictions` is a dict, modality -> probabilities `(rows, classes)` on rows that the
experts were not trained on; rows of NaN where the modality is missing.
"""

import keras
import numpy as np

from mmkeras.fusion.late import LateFusion, LateMLP
from mmkeras.heads import Outputs, output_contract
from mmkeras.modality import contract, tensor_input
from mmkeras.model import encoders, fusion, multimodal

_SMALLEST = 1e-12  # a probability below this counts as this in a logarithm


def join(experts, late, name="late"):
    """Joins models of one modality each into one multimodal model.

    Example:
        experts = {"photo": photo_model, "title": title_model}  # each fitted
        model = mmkeras.late.join(experts, mmkeras.fusion.LateProduct(14, dense=False))

    Args:
        experts: dict, modality -> model of `mmkeras.multimodal` with that modality
            alone, all with the same classes. Their layers are shared.
        late: `mmkeras.fusion.LateFusion` with `dense=False`.
        name: name of the model.

    Returns:
        A plain `keras.Model` as of `mmkeras.multimodal`: presence is honoured, each
        expert is the encoder `<name>_encoder`, logits come out.

    Raises:
        ValueError: an expert with other modalities or classes than wanted.
        TypeError: `late` is no late fusion.
    """
    if not isinstance(late, LateFusion) or late.is_dense:
        raise TypeError(
            f"`late` wants a late fusion with `dense=False`, such as "
            f"mmkeras.fusion.LateProduct(classes, dense=False). Received: {late!r}"
        )
    names = {}
    for modality, expert in experts.items():
        names[modality] = _contract(modality, expert)
    first = next(iter(names.values()))
    for modality, found in names.items():
        if (found.classes, found.kind) != (first.classes, first.kind):
            raise ValueError(
                f"The expert of '{modality}' predicts {found.classes} "
                f"({found.kind}), another {first.classes} ({first.kind}). All want "
                f"the same classes in the same order."
            )
    parts = {modality: _answer(modality, x) for modality, x in experts.items()}
    head = Outputs(first.classes, first.kind, name="head")
    return multimodal(parts, late, head, name=name)


def search_weights(predictions, labels, steps=200):
    """The weights of the mean of probabilities that make the labels most likely.

    Maximises sum_i log (sum_m w_m p_m(y_i) / sum_m w_m) over w_m >= 0, both sums over
    the modalities that row i has, by expectation maximisation.

    Args:
        predictions: dict, modality -> probabilities `(rows, classes)`; NaN rows where
            the modality is missing.
        labels: integer array `(rows,)`.
        steps: Integer, rounds of expectation maximisation.

    Returns:
        Dict, modality -> weight, for `LateWeighted.set_modality_weights`.
    """
    names, stacked, labels = _stacked(predictions, labels)
    likelihood = stacked[:, np.arange(len(labels)), labels]  # (modalities, rows)
    likelihood = likelihood[:, ~np.isnan(likelihood).all(0)]
    there = ~np.isnan(likelihood)
    likelihood = np.where(there, np.maximum(likelihood, _SMALLEST), 0.0)
    weights = np.full(len(names), 1 / len(names))
    for _ in range(steps):
        prior = weights[:, None] * there
        share = prior * likelihood / (prior * likelihood).sum(0)
        # the weights of what is there are scaled to 1 (a mixture cut to them): what
        # is missing counts as drawn and drawn again
        again = np.where(there, 0.0, weights[:, None]) / prior.sum(0)
        weights = (share + again).sum(1)
        weights = np.maximum(weights / weights.sum(), _SMALLEST)
    return dict(zip(names, (weights / weights.sum()).tolist(), strict=True))


def select(predictions, labels, metric=None, rounds=50):
    """Greedy ensemble selection: adds, with replacement, what helps the mean most.

    Args:
        predictions: dict, name -> probabilities `(rows, classes)`; modalities, or any
            models of a library. NaN rows where a modality is missing.
        labels: array `(rows,)`, as `metric` takes it.
        metric: function (labels, probabilities) -> score, larger is better; default:
            accuracy. Ties go to the more likely labels, then to the first name.
        rounds: Integer, how many are added.

    Returns:
        Dict, name -> share of the rounds in which it was added; the best round's.

    Reference:
        - [Caruana et al., 2004](https://doi.org/10.1145/1015330.1015432)
    """
    names, stacked, labels = _stacked(predictions, labels, integers=metric is None)
    metric = metric or _accuracy
    counts, best, chosen = np.zeros(len(names)), (-np.inf, -np.inf), None
    for _ in range(rounds):
        trials = []
        for i in range(len(names)):
            probabilities = _mean(stacked, counts + np.eye(len(names))[i])
            score = float(metric(labels, probabilities))
            trials.append((score, _likelihood(labels, probabilities)))
        winner = max(range(len(names)), key=trials.__getitem__)
        counts[winner] += 1
        if trials[winner] > best:
            best, chosen = trials[winner], counts.copy()
    return dict(zip(names, (chosen / chosen.sum()).tolist(), strict=True))


def stack(predictions, labels, estimator=None):
    """Stacking: a linear model on the experts' predictions, as a fusion layer.

    scikit-learn's logistic regression on [log p_1; ...; log p_M; presence].

    Args:
        predictions: dict, modality -> probabilities `(rows, classes)` on rows that
            no expert was trained on; NaN rows where the modality is missing.
        labels: integer array `(rows,)`, each class at least once.
        estimator: optional `sklearn.linear_model.LogisticRegression`; default: its
            defaults with 1,000 iterations.

    Returns:
        `mmkeras.fusion.LateMLP` without hidden layers, built and frozen at the fit,
        for `join` or for any model with these modalities.

    Raises:
        ValueError: `labels` lacks a class, or an estimator of another kind.
    """
    from sklearn.linear_model import LogisticRegression

    names, stacked, labels = _stacked(predictions, labels)
    classes = stacked.shape[-1]
    lacking = sorted(set(range(classes)) - set(labels.tolist()))
    if lacking:
        raise ValueError(
            f"`labels` wants every class at least once to stack. Lacking: {lacking}"
        )
    estimator = estimator or LogisticRegression(max_iter=1000)
    if not isinstance(estimator, LogisticRegression):
        raise ValueError(
            f"`estimator` wants a LogisticRegression: other models cannot leave as a "
            f"layer. Received: {estimator!r}"
        )
    there = ~np.isnan(stacked).any(-1)
    logs = np.log(np.maximum(np.nan_to_num(stacked), _SMALLEST))
    logs = np.where(there[..., None], logs, 0.0)
    estimator.fit(np.concatenate([*logs, there.T], axis=1), labels)
    weights, bias = estimator.coef_.T, estimator.intercept_
    if classes == 2:  # one column, of the second class
        weights, bias = np.hstack([0 * weights, weights]), np.append(0 * bias, bias)
    layer = LateMLP(classes, dense=False, hidden=(), name="stacking")
    layer({name: keras.ops.zeros((1, classes)) for name in names})
    layer.set_weights([weights, bias])
    layer.trainable = False
    return layer


def _contract(modality, expert):
    """The layer that names an expert's outputs."""
    if list(encoders(expert)) != [modality]:
        raise ValueError(
            f"The expert of '{modality}' wants this modality alone. "
            f"Received: a model of {sorted(encoders(expert))}"
        )
    found = output_contract(expert)
    if found is None or isinstance(expert.output, dict):
        raise ValueError(
            f"The expert of '{modality}' wants one output with a head of "
            f"`mmkeras.heads`. Received: outputs {expert.output}"
        )
    return found


def _answer(modality, expert):
    """A one-modality model as an encoder: tensor in, logits out."""
    encoder = encoders(expert)[modality]
    tensor = tensor_input(contract(encoder), modality)
    fused = fusion(expert)({modality: encoder(tensor)})
    head = expert.output._keras_history.operation
    logits = head(fused)
    if head.temperature != 1:  # of `analysis.fit_temperature`
        logits = keras.layers.Rescaling(1 / head.temperature)(logits)
    return keras.Model(tensor, logits, name=f"{modality}_expert")


def _stacked(predictions, labels, integers=True):
    """Names, probabilities `(modalities, rows, classes)`, labels; all checked."""
    if not predictions:
        raise ValueError("`predictions` wants at least one modality. Received: {}")
    names, labels = sorted(predictions), np.asarray(labels)
    arrays = {name: np.asarray(predictions[name], "float64") for name in names}
    shape = arrays[names[0]].shape
    for name, array in arrays.items():
        if array.ndim != 2 or array.shape != shape or len(array) != len(labels):
            raise ValueError(
                f"predictions['{name}'] wants probabilities (rows, classes), the same "
                f"for all and as many rows as labels. Received: shape {array.shape}, "
                f"{len(labels)} labels, first shape {shape}"
            )
        if np.nanmin(array, initial=0) < 0 or np.nanmax(array, initial=0) > 1 + 1e-4:
            raise ValueError(
                f"predictions['{name}'] wants probabilities, 0 to 1. Received: "
                f"{np.nanmin(array):.3g} to {np.nanmax(array):.3g} (logits? take "
                f"their softmax)"
            )
    if integers and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`labels` wants integers, the class's index. Received: {labels.dtype}"
        )
    return names, np.stack(list(arrays.values())), labels


def _mean(stacked, counts):
    """Weighted mean over what is there; uniform where nothing is."""
    there = ~np.isnan(stacked).any(-1)  # (modalities, rows)
    weights = counts[:, None] * there
    total = np.einsum("mr,mrc->rc", weights, np.nan_to_num(stacked))
    uniform = np.full(stacked.shape[-1], 1 / stacked.shape[-1])
    weight = weights.sum(0)[:, None]
    return np.where(weight > 0, total / np.maximum(weight, _SMALLEST), uniform)


def _accuracy(labels, probabilities):
    return (probabilities.argmax(1) == labels).mean()


def _likelihood(labels, probabilities):
    """Mean log-likelihood of integer labels; 0 for others, which then do not tie."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return 0.0
    found = probabilities[np.arange(len(labels)), labels]
    return float(np.log(np.maximum(found, _SMALLEST)).mean())
