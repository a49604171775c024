"""Modality balance: when one modality learns fast and the others stay behind.

Look first (`Monitor`), then choose. Nothing here is on by default. Each method makes a
*training model* that shares its layers with yours: fit it with plain `fit`, on any
backend and under any strategy, and yours is trained; what only training needs stays
behind.

| method | idea | extra cost |
| --- | --- | --- |
| `supervised` | each modality also answers by itself | a dense layer a modality |
| `gradient_blending` | weighs those losses: gain / overfitting^2 | short trainings |
| `ogm_ge` | slows the encoder that is ahead, adds noise | M passes behind encoders |
| `agm` | scales the gradient of each Shapley share | 2^M passes behind encoders |

What they are worth: test accuracy with both, and with the slow one alone, where one
modality is easy and the other better but slow. `benchmarks/balance.py`, generated data,
means of 5 seeds with Adam, 3 with SGD and momentum; the standard deviation over seeds
is about 0.005 and 0.01:

| method | Adam, both | Adam, slow | SGD, both | SGD, slow |
| --- | --- | --- | --- | --- |
| plain | 0.837 | 0.680 | 0.810 | 0.641 |
| `supervised` | 0.852 | 0.736 | 0.818 | 0.661 |
| `gradient_blending` | 0.850 | 0.732 | | |
| `ogm_ge`, no noise | 0.839 | 0.680 | 0.814 | 0.641 |
| `ogm_ge` | 0.836 | 0.677 | 0.812 | 0.610 |
| `agm` | 0.836 | 0.691 | 0.810 | 0.660 |
| the slow one trained alone | | 0.777 | | 0.713 |

Deep supervision helps there, weighing it by Gradient Blending no more than equal
weights; OGM-GE and AGM change less than the seeds do. Adam divides each gradient by its
own size and so undoes a scale that stays the same: use those two with SGD.

`uncertainty` balances tasks, not modalities: several heads, each by its learned
uncertainty. docs/recipes.md has its numbers.

`second_stage` trains in two stages: of rare classes or rare modalities first the
features, on all rows, then a new head, or fusion and head, on rows that weigh evenly.
"""

from mmkeras.balance.adaptive import agm, agm_scales
from mmkeras.balance.blending import blending_weights, gradient_blending
from mmkeras.balance.deep_supervision import losses, supervised, with_targets
from mmkeras.balance.monitor import Monitor
from mmkeras.balance.on_the_fly import ogm_ge, ogm_scales
from mmkeras.balance.parts import scales, with_label
from mmkeras.balance.tasks import log_variances, uncertainty
from mmkeras.balance.two_stage import normalize_head, second_stage

__all__ = [
    "Monitor",
    "agm",
    "agm_scales",
    "blending_weights",
    "gradient_blending",
    "log_variances",
    "losses",
    "normalize_head",
    "ogm_ge",
    "ogm_scales",
    "scales",
    "second_stage",
    "supervised",
    "uncertainty",
    "with_label",
    "with_targets",
]
