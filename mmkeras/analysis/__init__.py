"""Analysis: what each modality is worth, how far answers hold, and plots of it."""

from mmkeras.analysis import plots
from mmkeras.analysis.attributing.attribution import Attribution, attribution
from mmkeras.analysis.attributing.gradcam import GradCam, grad_cam
from mmkeras.analysis.certainty.calibration import CalibrationReport, calibration
from mmkeras.analysis.certainty.temperature import TemperatureReport, fit_temperature
from mmkeras.analysis.certainty.uncertainty import (
    UncertaintyReport,
    ensemble,
    mc_dropout,
)
from mmkeras.analysis.report import ModalityReport, modality_report
from mmkeras.analysis.retrieval import RetrievalReport, retrieval
from mmkeras.analysis.robust.curves import robustness
from mmkeras.analysis.robust.report import RobustnessReport
from mmkeras.analysis.rows.embedding_map import EmbeddingMap, embedding_map
from mmkeras.analysis.rows.errors import ErrorReport, errors

__all__ = [
    "Attribution",
    "CalibrationReport",
    "EmbeddingMap",
    "ErrorReport",
    "GradCam",
    "ModalityReport",
    "RetrievalReport",
    "RobustnessReport",
    "TemperatureReport",
    "UncertaintyReport",
    "attribution",
    "calibration",
    "embedding_map",
    "ensemble",
    "errors",
    "fit_temperature",
    "grad_cam",
    "mc_dropout",
    "modality_report",
    "plots",
    "retrieval",
    "robustness",
]
