"""Losses that bring modalities together, right across replicas and in half precision.

| loss | for | as |
|---|---|---|
| InfoNCE | pairs: the right one among all of the batch | layer |
| SigLIP | pairs: each one right or wrong on its own; small batches | layer |
| DeepCCA | pairs: correlated units, no negatives | layer |
| SupervisedContrastive | labels: rows of a class lie together | `compile(loss=...)` |

The losses of pairs are layers, because their temperature is a weight that trains, is
saved and is mirrored as other weights are. They let the features through and add their
loss to the model's: `compile` needs no `loss`, `fit` no labels. The functions are the
formulas on one batch. All count in float32 at least.
"""

from mmkeras.losses.formulas import (
    correlation,
    info_nce,
    siglip,
    supervised_contrastive,
)
from mmkeras.losses.pairs import DeepCCA, InfoNCE, SigLIP
from mmkeras.losses.supervised import SupervisedContrastive

__all__ = [
    "DeepCCA",
    "InfoNCE",
    "SigLIP",
    "SupervisedContrastive",
    "correlation",
    "info_nce",
    "siglip",
    "supervised_contrastive",
]
