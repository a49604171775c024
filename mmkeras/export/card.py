"""The small JSON file beside an exported graph: what goes in and what comes out."""

import json
from pathlib import Path

import mmkeras

FILE = "assets.extra/mmkeras.json"


def write_card(folder, model, endpoints, default):
    """Writes `assets.extra/mmkeras.json` into a SavedModel's folder.

    Args:
        folder: the SavedModel's folder.
        model: the multimodal model it holds.
        endpoints: names of its signatures.
        default: the endpoint that is also `serving_default`.
    """
    import keras
    import tensorflow as tf

    card = {
        "name": model.name,
        "modalities": _modalities(model),
        "outputs": _outputs(model),
        "endpoints": list(endpoints),
        "default": default,
        "versions": {
            "mmkeras": mmkeras.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
    }
    file = Path(folder, FILE)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf8")


def read_card(path):
    """What an exported SavedModel takes and gives; needs no TensorFlow.

    Args:
        path: folder of a SavedModel written by `saved_model`.

    Returns:
        dict: "modalities" (name -> kind, cell, shape, dtype, and for a table its
        columns in the order of a line), "outputs" (name ->
        kind, classes), "endpoints", "default", "versions".

    Raises:
        ValueError: the folder holds no such file.
    """
    file = Path(path, FILE)
    if not file.is_file():
        raise ValueError(
            f"`path` wants a SavedModel written by `mmkeras.export.saved_model`. "
            f"Received: {path}, which holds no {FILE}."
        )
    return json.loads(file.read_text(encoding="utf8"))


def _modalities(model):
    from mmkeras.export.endpoints import in_order

    return {
        name: {
            "kind": contract.kind,
            "cell": contract.cell,
            "shape": list(contract.tensor_shape),
            "dtype": contract.tensor_dtype,
            **contract.details,
        }
        for name, contract in in_order(model).items()
    }


def _outputs(model):
    from mmkeras.export.endpoints import heads, outputs

    return {
        key: {
            "shape": list(outputs(model)[key].shape[1:]),
            "kind": head.kind if head else None,
            "classes": head.classes if head else None,
        }
        for key, head in heads(model).items()
    }
