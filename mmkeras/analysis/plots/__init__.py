"""Plots as PNG files, legible in black and white and by the colour-blind."""

from mmkeras.analysis.plots.attribution import row_attribution
from mmkeras.analysis.plots.basic import (
    confusion_matrix,
    learning_curves,
    subset_scores,
)
from mmkeras.analysis.plots.calibration import reliability
from mmkeras.analysis.plots.embedding import embedding_map
from mmkeras.analysis.plots.robustness import robustness_curves
from mmkeras.analysis.plots.shapley import contributions

__all__ = [
    "confusion_matrix",
    "contributions",
    "embedding_map",
    "learning_curves",
    "reliability",
    "robustness_curves",
    "row_attribution",
    "subset_scores",
]
