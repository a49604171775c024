"""Analysis: what each modality is worth, and plots of it."""

from mmkeras.analysis import plots
from mmkeras.analysis.report import ModalityReport, modality_report

__all__ = ["ModalityReport", "modality_report", "plots"]
