"""Segmentation: which pixels a sentence, or another modality, speaks of."""

from mmkeras.segmentation.layers import AskWords, Enlarge, Modulate
from mmkeras.segmentation.losses import MaskLoss
from mmkeras.segmentation.unet import skip_layers, unet

__all__ = ["AskWords", "Enlarge", "MaskLoss", "Modulate", "skip_layers", "unet"]
