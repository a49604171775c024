"""Fusions: dict of features and presence in, one tensor out.

M modalities of width d, fused to `units` = u. "Interaction": can an output depend on
two modalities in a way that no sum of functions of one each can?

| fusion | formula | weights | interaction |
| --- | --- | --- | --- |
| Concat | [x_1; ...; x_M] | 0 | no |
| Add | sum_m V_m x_m | Mdu | no |
| WeightedSum | sum_m w_m V_m x_m | Mdu + M | no; per example: yes |
| GatedFusion | sum_m softmax_m(W_m [x]) tanh(V_m x_m) | M(M + 1)du | yes |
"""

from mmkeras.fusion.add import Add
from mmkeras.fusion.base import Fusion
from mmkeras.fusion.concat import Concat
from mmkeras.fusion.gated import GatedFusion
from mmkeras.fusion.weighted_sum import WeightedSum

__all__ = ["Add", "Concat", "Fusion", "GatedFusion", "WeightedSum"]
