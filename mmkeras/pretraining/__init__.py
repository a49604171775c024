"""Pretraining without labels: predicting one modality from the others.

`masked_modality` shares its encoders and its fusion with the model that is to learn a
task later. The other way, pairs in one shared space, is `mmkeras.two_tower`.
"""

from mmkeras.pretraining.masked import MaskedPrediction, masked_modality

__all__ = ["MaskedPrediction", "masked_modality"]
