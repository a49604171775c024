"""Public checks: does a fusion, encoder, contract or export keep mmkeras' laws?

Like scikit-learn's `check_estimator`: call one on a part of your own, and an
AssertionError names the first law that it breaks.
"""

from mmkeras.testing.case import DIMS, Case, case
from mmkeras.testing.encoder import check_encoder
from mmkeras.testing.export import check_export
from mmkeras.testing.fusion import (
    EXPORT_LAWS,
    LAWS,
    check_fresh_process,
    check_fusion,
    check_law,
    check_replicas,
    law_results,
)
from mmkeras.testing.modality import check_modality_input
from mmkeras.testing.table import every_fusion, law_table

__all__ = [
    "DIMS",
    "EXPORT_LAWS",
    "LAWS",
    "Case",
    "case",
    "check_encoder",
    "check_export",
    "check_fresh_process",
    "check_fusion",
    "check_law",
    "check_modality_input",
    "check_replicas",
    "every_fusion",
    "law_results",
    "law_table",
]
