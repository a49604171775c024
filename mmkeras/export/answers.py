"""What the named answers of an endpoint must be: numpy on what `model.predict` gives.

Written apart from `endpoints.with_scores`, which it checks. A gap is how far an answer
is from that: 0 where it is right, inf where it is wrong whatever the rounding. Where
rounding may decide (two classes of one score, a score at its threshold) the gap is the
difference of the scores.
"""

import numpy as np

from mmkeras.export import endpoints


class Numbers:
    """Numbers; the gap is relative to the largest expected one where that is above 1.

    Args:
        wanted: array.
    """

    def __init__(self, wanted):
        self.wanted = np.asarray(wanted, "float64")

    def gap(self, found, answer):
        scale = max(1.0, float(np.abs(self.wanted).max(initial=0)))
        return np.abs(self.wanted - found) / scale


class Words:
    """Strings that leave no room.

    Args:
        wanted: array of strings.
    """

    def __init__(self, wanted):
        self.wanted = np.asarray(wanted, "O")

    def gap(self, found, answer):
        return np.where(_texts(found) == self.wanted, 0.0, np.inf)


class Winner:
    """The name of the class with the largest score.

    Args:
        classes: list of names.
        scores: array `(..., classes)`.
    """

    def __init__(self, classes, scores):
        self.classes, self.scores = classes, scores
        self.wanted = scores.max(axis=-1)

    def gap(self, found, answer):
        gap = np.full(self.wanted.shape, np.inf)
        texts = _texts(found)
        for i, name in enumerate(self.classes):
            behind = self.wanted - self.scores[..., i]
            gap = np.where(texts == name, behind, gap)
        return gap


class Chosen:
    """Which classes reach their threshold.

    Args:
        scores: array `(..., classes)`.
        thresholds: list of floats, one a class.
    """

    def __init__(self, scores, thresholds):
        self.from_limit = scores - np.asarray(thresholds)
        self.wanted = self.from_limit >= 0

    def gap(self, found, answer):
        return np.where(found == self.wanted, 0.0, np.abs(self.from_limit))


class Joined:
    """The names of the classes that the same answer says are chosen, with "|" between.

    Args:
        classes: list of names.
        chosen: name of the answer that `Chosen` checks.
        wanted: array of the shape of the answer.
    """

    def __init__(self, classes, chosen, wanted):
        self.classes, self.chosen, self.wanted = classes, chosen, wanted

    def gap(self, found, answer):
        rows = np.reshape(answer[self.chosen], (-1, len(self.classes)))
        names = [
            "|".join(name for name, x in zip(self.classes, row, strict=True) if x)
            for row in rows
        ]
        texts = np.reshape(np.array(names, "O"), self.wanted.shape)
        return np.where(_texts(found) == texts, 0.0, np.inf)


def expected(model, outputs, thresholds):
    """What `serve` must answer.

    Args:
        model: a multimodal model.
        outputs: what `model.predict` gives, as a dict, output -> array.
        thresholds: dict, output -> list of floats, those of multilabel heads.

    Returns:
        dict, name -> `Numbers`, `Words`, `Winner`, `Chosen` or `Joined`.
    """
    found = {}
    for key, head in endpoints.heads(model).items():
        found[key] = Numbers(outputs[key])
        if head is None or head.kind == "number":
            continue
        prefix = endpoints.prefix(key)
        whole = classified(head, outputs[key])
        found |= {f"{prefix}{name}": x for name, x in whole.items()}
        scores = whole["scores"].wanted
        if head.kind == "single":
            found[f"{prefix}class"] = Winner(head.classes, scores)
        else:
            chosen = f"{prefix}chosen"
            found[chosen] = Chosen(scores, thresholds[key])
            joined = Joined(head.classes, chosen, scores[..., 0])
            found[f"{prefix}class"] = joined
    return found


def classified(head, outputs):
    """What `classify` must answer: "scores" and "classes".

    Args:
        head: layer of `mmkeras.heads`, of kind "single" or "multi".
        outputs: array `(..., classes)`, its logits.
    """
    logits = np.asarray(outputs, "float64") / head.temperature
    if head.kind == "single":
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores = odds / odds.sum(axis=-1, keepdims=True)
    else:
        scores = np.exp(-np.logaddexp(0, -logits))
    names = np.array(head.classes, "O")
    return {
        "scores": Numbers(scores),
        "classes": Words(np.broadcast_to(names, scores.shape)),
    }


def statuses(tensors, contracts):
    """What `<name>_status` must say of rows that can all be read.

    Args:
        tensors: dict, `<name>_present` -> array `(batch,)`, and others.
        contracts: dict, modality -> contract.
    """
    return {
        f"{name}_status": Words(
            np.where(tensors[f"{name}_present"] > 0, "read", "absent")
        )
        for name in contracts
    }


def gaps(expected, answer):
    """How far each named answer is from what it must be.

    Args:
        expected: dict, name -> `Numbers` and the like.
        answer: dict, name -> array.

    Returns:
        dict, name -> (largest gap, mean gap); inf where an answer is missing, has
        another shape, is NaN, or was not expected.
    """
    found = {name: (np.inf, np.inf) for name in {*expected, *answer}}
    for name in sorted(set(expected) & set(answer)):
        wanted, got = expected[name], np.asarray(answer[name])
        if got.shape != wanted.wanted.shape:
            continue
        gap = wanted.gap(got, answer)
        gap = np.where(np.isnan(gap), np.inf, gap)
        mean = float(gap.mean()) if gap.size else 0.0
        found[name] = float(gap.max(initial=0)), mean
    return found


def _texts(found):
    """Bytes as strings; what is no UTF-8 is no name."""
    texts = [
        x.decode("utf8", "replace") if isinstance(x, bytes) else x for x in found.flat
    ]
    return np.reshape(np.array(texts, "O"), found.shape)
