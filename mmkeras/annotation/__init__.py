"""Annotation: which rows to label next, and labels the model is sure enough of.

suggested = mm.annotation.suggest(model, pool, count=100)
mm.annotation.write(suggested, "data/to_label.csv")   # somebody fills in the label
table = mm.annotation.labelled("data/to_label.csv", table=table)
"""

from mmkeras.annotation.picking import METHODS, pick
from mmkeras.annotation.pseudo import pseudo_labels, threshold
from mmkeras.annotation.scores import entropy, margin
from mmkeras.annotation.spread import gradient_embedding, k_center, k_means_pp
from mmkeras.annotation.table import labelled, suggest, write

__all__ = [
    "METHODS",
    "entropy",
    "gradient_embedding",
    "k_center",
    "k_means_pp",
    "labelled",
    "margin",
    "pick",
    "pseudo_labels",
    "suggest",
    "threshold",
    "write",
]
