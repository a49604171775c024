"""Fusions: dict of features and presence in, one tensor out.

M modalities of width d, fused to `units` u; w, r, k are `width`, `rank`, `factors`.
Multiply-adds are about as many as weights. XOR: whether a linear head on top can tell
if two modalities agree, where neither says anything by itself (the tests try it).

| fusion | formula | weights | XOR | when |
| --- | --- | --- | --- | --- |
| Concat | [x_1; ...; x_M] | 0 | no | first, always |
| Add | sum V_m x_m | Mdu | no | parts of one whole |
| Mean | mean V_m x_m | Mdu | no | many go missing |
| Max | max V_m x_m | Mdu | yes | any one can tell |
| Product | prod V_m x_m | Mdu | yes | all must agree |
| WeightedSum | sum softmax(a)_m V_m x_m | Mdu + M | no | shows each one's weight |
| WeightedSum(per_example) | sum softmax(a + u p)_m p_m | Mdu + Mu | no | noise varies |
| GatedFusion | sum softmax_m(W_m [x]) tanh(V_m x_m) | (M + 1) Mdu | yes | by default |
| GMU | sum sigmoid(W_m [x]) tanh(V_m x_m) | (M + 1) Mdu | yes | gates that add up |
| FiLM | (1 + G x_m) V x_t + B x_m | (2M - 1) du | yes | one steers another |
| MultiplicativeInteractions | sum x_m W_mn x_n + U_m x_m | (Mw)^2 u / 2 | yes | pairs |
| TensorFusion | W vec((x) [1; x_m]) | (w + 1)^M u | yes | two or three, narrow |
| LowRankFusion | sum_r prod F_mr [1; x_m] | Mdru | yes | many modalities |
| FactorizedBilinear | l2 root sum_k prod V_mk x_m | Mdku | yes | question and picture |
"""

from mmkeras.fusion.add import Add
from mmkeras.fusion.base import Fusion
from mmkeras.fusion.bilinear import FactorizedBilinear
from mmkeras.fusion.concat import Concat
from mmkeras.fusion.film import FiLM
from mmkeras.fusion.gated import GatedFusion
from mmkeras.fusion.gmu import GMU
from mmkeras.fusion.interactions import MultiplicativeInteractions
from mmkeras.fusion.pointwise import Max, Mean, Product
from mmkeras.fusion.tensor import LowRankFusion, TensorFusion
from mmkeras.fusion.weighted_sum import WeightedSum

__all__ = [
    "Add",
    "Concat",
    "FactorizedBilinear",
    "FiLM",
    "Fusion",
    "GMU",
    "GatedFusion",
    "LowRankFusion",
    "Max",
    "Mean",
    "MultiplicativeInteractions",
    "Product",
    "TensorFusion",
    "WeightedSum",
]
