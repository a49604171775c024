"""Export: one artefact that takes raw input, for every place models are served."""

from mmkeras.export.card import read_card
from mmkeras.export.exported import Exported, load
from mmkeras.export.onnx import onnx
from mmkeras.export.report import EndpointCheck, ExportReport, LiteReport
from mmkeras.export.saved_model import saved_model
from mmkeras.export.tflite import tflite

__all__ = [
    "EndpointCheck",
    "ExportReport",
    "Exported",
    "LiteReport",
    "load",
    "onnx",
    "read_card",
    "saved_model",
    "tflite",
]
