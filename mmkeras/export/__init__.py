"""Export: one artefact that takes raw input, for every place models are served."""

from mmkeras.export.card import read_card
from mmkeras.export.report import EndpointCheck, ExportReport
from mmkeras.export.saved_model import saved_model

__all__ = ["EndpointCheck", "ExportReport", "read_card", "saved_model"]
