"""Fusions: dict of features and presence in, one tensor out.

What each one computes, and when to choose it. XOR: whether a linear head on top can
tell if two modalities agree, where neither says anything by itself (the tests try it).
The late ones need no head, they end in logits: read so, average and weighted cannot.

| fusion | formula | XOR | when |
| --- | --- | --- | --- |
| Concat | [x_1; ...; x_M] | no | first, always |
| Add | sum V_m x_m | no | parts of one whole |
| Mean | mean V_m x_m | no | many go missing |
| Max | max V_m x_m | yes | any one can tell |
| Product | prod V_m x_m | yes | all must agree |
| WeightedSum | sum softmax(a)_m V_m x_m | no | shows each one's weight |
| WeightedSum(per_example) | sum softmax(a + u p)_m p_m | no | noise varies |
| GatedFusion | sum softmax_m(W_m [x]) tanh(V_m x_m) | yes | by default |
| GMU | sum sigmoid(W_m [x]) tanh(V_m x_m) | yes | gates that add up |
| FiLM | (1 + G x_m) V x_t + B x_m | yes | one steers another |
| MultiplicativeInteractions | sum x_m W_mn x_n + U_m x_m | yes | pairs |
| TensorFusion | W vec((x) [1; x_m]) | yes | two or three, narrow |
| LowRankFusion | sum_r prod F_mr [1; x_m] | yes | many modalities |
| FactorizedBilinear | l2 root sum_k prod V_mk x_m | yes | question and picture |
| MCB | l2 root of the convolved sketches of x_m | yes | nothing to train |
| LateAverage | log mean softmax(V_m x_m) | no | each can tell alone |
| LateWeighted | log sum w_m softmax(V_m x_m) | no | some tell better |
| LateProduct | sum log softmax(V_m x_m) | no | the surest should win |
| LateMLP | MLP [log softmax(V_m x_m); presence] | yes | answers that hang together |
| CrossAttentionFusion | mean Block_m(x_m, the others) | yes | tokens, two modalities |
| TransformerFusion | Block([f; x_1; ...; x_M])_f | yes | tokens, first choice |
| MulT | W [mean Block_m [Block_nm(x_m, x_n)]] | yes | unaligned sequences |
| BottleneckFusion | mean Block_m([b; x_m]), b = mean b_m | yes | long sequences |
| PerceiverFusion | mean Block'(Block(z, x)) | yes | very long ones, many kinds |

What each one costs: M modalities, each of T tokens (a vector: T = 1) of width d, fused
to `units` u; L `layers`; w, r, k, h, b, n are `width`, `rank`, `factors`, `hidden`,
`bottlenecks`, `latents`. B = 12u^2 + 12u is a transformer block of width u; with q
queries and s keys it takes C(q, s) = (10q + 2s)u^2 + 2qsu multiply-adds; B' and C' are
those of width v = (M - 1)u. On vectors, blocks that meet one key only have no queries
and keys: 2u^2 + u weights and 2u^2 + 2u multiply-adds less each. Multiply-adds are
those of matrix products alone; N = MT, S = N + 1, Q = T + b, P = M(M - 1).

| fusion | takes | weights | multiply-adds |
| --- | --- | --- | --- |
| Concat | vectors | 0 | 0 |
| Add | vectors | M(d + 1)u | Mdu |
| Mean | vectors | M(d + 1)u | Mdu |
| Max | vectors | M(d + 1)u | Mdu |
| Product | vectors | M(d + 1)u | Mdu |
| WeightedSum | vectors | M(d + 1)u + M | Mdu |
| WeightedSum(per_example) | vectors | M(d + 1)u + M + Mu | Mdu |
| GatedFusion | vectors | M(d + 1)u + M(Md + 1)u | (M + 1)Mdu |
| GMU | vectors | (M + 1)Mdu | (M + 1)Mdu |
| FiLM | vectors | (2M - 1)du + u | (2M - 1)du |
| MultiplicativeInteractions | vectors | Mdw + Mwu + M(M - 1)w^2u/2 + u | as weights |
| TensorFusion | vectors | Mdw + (w + 1)^Mu + u | as weights |
| LowRankFusion | vectors | M(d + 1)ru + u | Mdru |
| FactorizedBilinear | vectors | M(d + 1)ku | Mdku |
| MCB (u even) | vectors | (Md + u)(u + 2), none trains | (Md + u)(u + 2) |
| LateAverage | vectors | M(d + 1)u | Mdu |
| LateWeighted | vectors | M(d + 1)u + M | Mdu |
| LateProduct | vectors | M(d + 1)u | Mdu |
| LateMLP | vectors | M(d + 1)u + (M(u + 1) + 1)h + (h + 1)u | as weights |
| CrossAttentionFusion | both | M(d + 1)u + MLB + 2u | LMC(T, N - T) |
| TransformerFusion | both | M(d + 1)u + LB + 3u | (L - 1)C(S, S) + C(1, S) |
| MulT | both | M(d + 1)u + PLB + MLB' + 2Mv + Mvu | PLC(T, T) + MLC'(T, T) + Mvu |
| BottleneckFusion | both | M(d + 1)u + MLB + (b + 2)u | M(L - 1)C(Q, Q) + MC(T, Q) |
| PerceiverFusion | both | M(d + 1)u + 2LB + (n + 2)u | LC(n, N) + LC(n, n) |

Add MTdu to those that take both, for the way in.
"""

from mmkeras.fusion.add import Add
from mmkeras.fusion.base import Fusion
from mmkeras.fusion.bilinear import MCB, FactorizedBilinear
from mmkeras.fusion.bottleneck import BottleneckFusion
from mmkeras.fusion.concat import Concat
from mmkeras.fusion.cross_attention import CrossAttentionFusion
from mmkeras.fusion.film import FiLM
from mmkeras.fusion.gated import GatedFusion
from mmkeras.fusion.gmu import GMU
from mmkeras.fusion.interactions import MultiplicativeInteractions
from mmkeras.fusion.late import LateAverage, LateMLP, LateProduct, LateWeighted
from mmkeras.fusion.mult import MulT
from mmkeras.fusion.perceiver import PerceiverFusion
from mmkeras.fusion.pointwise import Max, Mean, Product
from mmkeras.fusion.tensor import LowRankFusion, TensorFusion
from mmkeras.fusion.transformer import TransformerFusion
from mmkeras.fusion.weighted_sum import WeightedSum

__all__ = [
    "Add",
    "BottleneckFusion",
    "Concat",
    "CrossAttentionFusion",
    "FactorizedBilinear",
    "FiLM",
    "Fusion",
    "GMU",
    "GatedFusion",
    "LateAverage",
    "LateMLP",
    "LateProduct",
    "LateWeighted",
    "LowRankFusion",
    "MCB",
    "Max",
    "Mean",
    "MulT",
    "MultiplicativeInteractions",
    "PerceiverFusion",
    "Product",
    "TensorFusion",
    "TransformerFusion",
    "WeightedSum",
]
