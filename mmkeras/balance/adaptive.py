"""AGM: scales the backward pass through each modality's share of the output."""

import itertools
import math

import keras
import numpy as np
from keras import ops

from mmkeras.balance.parts import Behind, label_input, parts


def shapley(names):
    """Every subset of the modalities, and its part in each one's response.

    phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! (f(S + m) - f(S)), plus
    f(nothing) / M, so that the responses add up to the output.

    Example:
    >>> subsets, table = mmkeras.balance.adaptive.shapley(("photo", "title"))
    >>> subsets
    [(), ('photo',), ('title',), ('photo', 'title')]
    >>> table
    array([[ 0. ,  0.5, -0.5,  0.5],
           [ 0. , -0.5,  0.5,  0.5]])

    Returns:
        List of tuples of names, and an array `(modalities, subsets)` of factors.
    """
    count = len(names)
    subsets = [
        x for size in range(count + 1) for x in itertools.combinations(names, size)
    ]
    table = np.zeros((count, len(subsets)))
    for column, subset in enumerate(subsets):
        for row, name in enumerate(names):
            inside = name in subset
            others = len(subset) - inside
            factor = math.factorial(others) * math.factorial(count - others - 1)
            table[row, column] = (1 if inside else -1) * factor / math.factorial(count)
    table[:, 0] += 1 / count
    return subsets, table


def agm_scales(scores, reference, there, alpha):
    """kappa_m = exp(-alpha (r_m - tau_m)), r_m = exp(mean over n of s_m - s_n).

    tau_m is r_m of the reference. A modality that is not there keeps scale 1 and does
    not count for the others; the exponent is at most 10 alpha.

    Args:
        scores: tensor `(modalities,)`, mean log-likelihood of the truth by response.
        reference: tensor `(modalities,)`, the mean of the scores so far.
        there: tensor `(modalities,)`, 0 for a modality that no row of the batch has.
        alpha: Number, 0 or more.
    """
    lead = _ratio(scores, there) - _ratio(reference, there)
    return ops.where(there > 0, ops.exp(-alpha * ops.maximum(lead, -10.0)), 1.0)


def _ratio(scores, there):
    count = ops.sum(there)
    # sum over the others of s_m - s_n: m itself adds 0
    gaps = count * scores - ops.sum(scores * there)
    return ops.exp(gaps / ops.maximum(count - 1.0, 1.0))


class Adaptive(Behind):
    """Fusion and head; the gradient through each modality's response is scaled."""

    def __init__(self, found, alpha, **kwargs):
        super().__init__(found, **kwargs)
        self.alpha = alpha
        self.subsets, self.table = shapley(self.names)
        self.reference = self.state("reference", "zeros")
        self.batches = self.state("batches", "zeros")

    def call(self, features, presence, label, training=False):
        full = self.answer(features, presence, training=training)
        if not training:
            return full
        answers = [self.answer(features, presence, x) for x in self.subsets[:-1]]
        answers = ops.stack([*answers, full], axis=0)
        table = ops.convert_to_tensor(self.table, answers.dtype)
        responses = ops.einsum("ms,sbc->mbc", table, ops.stop_gradient(answers))
        responses = dict(zip(self.names, ops.unstack(responses), strict=True))
        scores, there = self.scores(responses, presence, label)
        scale = agm_scales(scores, self.reference.value, there, self.alpha)
        scale = ops.stop_gradient(scale)
        self._remember(scores, there, scale)
        factors = ops.einsum("m,ms->s", ops.cast(scale, answers.dtype), table)
        change = answers - ops.stop_gradient(answers)  # 0, with the answers' gradient
        return ops.stop_gradient(full) + ops.einsum("s,sbc->bc", factors, change)

    def _remember(self, scores, there, scale):
        batches = self.batches.value + there
        step = (scores - self.reference.value) / ops.maximum(batches, 1.0)
        self.reference.assign(self.reference.value + step * there)
        self.batches.assign(batches)
        self.scale.assign(scale)


def agm(model, alpha=1.0):
    """A training model that scales each modality's share of the gradient: AGM.

    f = sum_m phi_m, phi_m the Shapley value of modality m in the output: its mean
    contribution over all subsets of the others, by masking presence. Forward nothing
    changes; backward, the gradient through phi_m is multiplied by kappa_m =
    exp(-alpha (r_m - tau_m)), r_m = exp(mean over n of s_m - s_n), s_m the mean
    log-likelihood of the truth under phi_m in this batch, tau_m the same of the running
    mean of s. A modality that is further ahead than it has been is slowed, one that
    fell behind is pushed; fusion and head feel it too.

    Wants SGD: Adam divides gradients by their size, which undoes a steady kappa_m. See
    `mmkeras.balance` for what it was worth on our generated task: nothing certain.

    It shares its layers with `model`: fit it and `model` is trained. Each batch costs
    2^M passes through fusion and head, not through the encoders: for few modalities.

    Example:
        training = mmkeras.balance.agm(model)
        training.compile("sgd", head.loss, metrics=head.metrics)
        training.fit(mmkeras.balance.with_label(dataset), epochs=5)

    Args:
        model: a multimodal model, or its trunk, with one output: logits of one class a
            row (a plain layer is taken as such) or of several.
        alpha: Number, 0 or more. 0 gives the gradients of `model` itself.

    Returns:
        `keras.Model` with the inputs of `model` and "label". Under a strategy, call
        this in its scope; the scales then are those of the joined batch.

    Raises:
        ValueError: regression, several outputs, one modality alone, one called "label",
            or a negative `alpha`.

    Reference:
        Li et al. 2023, arXiv:2308.07686. Departs: the answer to nothing is shared
        out among the responses, where the paper takes it as 0; the passes over subsets
        run as at inference, without dropout, so that they compare.
    """
    if alpha < 0:
        raise ValueError(
            f"`alpha` wants a number of 0 or more. Received: alpha={alpha}"
        )
    found = parts(model, reserved=("label",))
    label = label_input(found, "agm")
    layer = Adaptive(found, alpha, name="adaptive")
    outputs = layer(found.features, found.presence, label)
    inputs = {**found.inputs, "label": label}
    return keras.Model(inputs, outputs, name=f"{model.name}_agm")
