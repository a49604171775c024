"""mmkeras: multimodal transfer learning for Keras 3 and TensorFlow.

The names below load on first use, so that `mmkeras --help` need not import TensorFlow.
"""

import importlib
import sys

__version__ = "0.1.0"

# public name -> module it lives in ("" = the module of that name itself)
_PUBLIC = {
    "analysis": "",
    "annotation": "",
    "audio": "",
    "balance": "",
    "classic": "",
    "data": "",
    "distillation": "",
    "distribute": "",
    "dropout": "",
    "export": "",
    "fusion": "",
    "graph": "",
    "heads": "",
    "hub": "",
    "image": "",
    "late": "",
    "losses": "",
    "modality": "",
    "presence": "",
    "pretraining": "",
    "replicas": "",
    "retrieval": "",
    "segmentation": "",
    "tabular": "",
    "testing": "",
    "text": "",
    "transfer": "",
    "ModalityInput": "modality",
    "Resume": "resume",
    "load_model": "load",
    "multimodal": "model",
    "readers": "model",
    "standardize": "",
    "tower": "towers",
    "two_tower": "towers",
}
# modules whose layers Keras must know before it reads a `.keras` file
_SERIALIZABLE = ("audio", "dropout", "fusion", "heads", "hub", "image", "losses")
_SERIALIZABLE += ("presence", "standardize", "tabular", "text", "towers", "transfer")
_SERIALIZABLE += ("distillation", "pretraining", "classic", "segmentation", "graph")

__all__ = sorted(_PUBLIC)


def _register():
    for name in _SERIALIZABLE:
        importlib.import_module(f"{__name__}.{name}")


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(
            f"module 'mmkeras' has no attribute '{name}'. Valid names: {__all__}"
        )
    _register()
    module = importlib.import_module(f"{__name__}.{_PUBLIC[name] or name}")
    value = getattr(module, name) if _PUBLIC[name] else module
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


if "keras" in sys.modules:  # so that keras.models.load_model knows our layers
    _register()
