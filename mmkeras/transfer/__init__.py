"""Transfer: freezing, unfreezing, rates by layer, LoRA, features and the trunk."""

from mmkeras.transfer.adam import Adam, AdamW
from mmkeras.transfer.adapting import adapt, to_adapt
from mmkeras.transfer.compiling import recompile
from mmkeras.transfer.features import cache_features, trunk
from mmkeras.transfer.freezing import freeze, is_frozen, refreeze, summary, unfreeze
from mmkeras.transfer.lora import enable_lora, merge_lora
from mmkeras.transfer.rates import LayerwiseOptimizer, layerwise_rates
from mmkeras.transfer.stream import Features
from mmkeras.transfer.unfreezing import GradualUnfreezing

__all__ = [
    "adapt",
    "to_adapt",
    "Adam",
    "AdamW",
    "Features",
    "GradualUnfreezing",
    "LayerwiseOptimizer",
    "cache_features",
    "enable_lora",
    "freeze",
    "is_frozen",
    "layerwise_rates",
    "merge_lora",
    "recompile",
    "refreeze",
    "summary",
    "trunk",
    "unfreeze",
]
