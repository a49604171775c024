"""Transfer: freezing, feature caching and the trunk behind the encoders."""

from mmkeras.transfer.features import cache_features, trunk
from mmkeras.transfer.freezing import freeze, refreeze, summary, unfreeze

__all__ = ["cache_features", "freeze", "refreeze", "summary", "trunk", "unfreeze"]
