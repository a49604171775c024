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
    from mmkeras.export.endpoints import in_order

    card = {
        "name": model.name,
        "modalities": modalities(in_order(model)),
        "outputs": outputs(model),
        "endpoints": list(endpoints),
        "default": default,
        "versions": versions(),
    }
    file = Path(folder, FILE)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf8")


def read_card(path):
    """What an exported model takes and gives; needs no TensorFlow.

    Args:
        path: folder of a SavedModel written by `saved_model`, or path of a file written
            by `tflite`.

    Returns:
        dict: "modalities" (name -> kind, cell, shape, dtype, and for a table its
        columns in the order of a line), "outputs" (name -> kind, classes), "versions";
        of a SavedModel "endpoints" and "default", of a TFLite file "inputs" and
        "quantize".

    Raises:
        ValueError: there is no such card.
    """
    path = Path(path)
    lite = path.suffix == ".tflite"
    file = beside(path) if lite else path / FILE
    if not file.is_file():
        lacks = f"lacks {file.name} beside it" if lite else f"holds no {FILE}"
        raise ValueError(
            f"`path` wants a SavedModel or a TFLite file written by `mmkeras.export`. "
            f"Received: {path}, which {lacks}."
        )
    return json.loads(file.read_text(encoding="utf8"))


def beside(path):
    """Where the card of a TFLite file lies: products.tflite.json."""
    return path.with_name(f"{path.name}.json")


def modalities(contracts):
    """Contracts by modality as a dict for JSON."""
    return {
        name: {
            "kind": contract.kind,
            "cell": contract.cell,
            "shape": list(contract.tensor_shape),
            "dtype": contract.tensor_dtype,
            **contract.details,
        }
        for name, contract in contracts.items()
    }


def outputs(model):
    """A model's outputs by name as a dict for JSON."""
    from mmkeras.export import endpoints

    tensors = endpoints.outputs(model)
    return {
        key: {
            "shape": list(tensors[key].shape[1:]),
            "kind": head.kind if head else None,
            "classes": head.classes if head else None,
        }
        for key, head in endpoints.heads(model).items()
    }


def versions():
    """Versions of what wrote an export."""
    import keras
    import tensorflow as tf

    return {
        "mmkeras": mmkeras.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
