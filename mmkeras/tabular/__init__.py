"""Tables: columns of numbers and categories as one modality, a network behind it."""

from mmkeras.tabular.columns import Columns
from mmkeras.tabular.encoders import mlp

__all__ = ["Columns", "mlp"]
