"""The small JSON file beside an exported graph: what goes in and what comes out."""

import json
from pathlib import Path

import mmkeras
from mmkeras.export import contracts

FILE = "assets.extra/mmkeras.json"
#: Endings of the files that have their card beside them.
SUFFIXES = (".tflite", ".onnx")


def write_card(folder, model, endpoints, default, reader, thresholds):
    """Writes `assets.extra/mmkeras.json` into a SavedModel's folder.

    Args:
        folder: the SavedModel's folder.
        model: the multimodal model it holds.
        endpoints: names of its signatures.
        default: the endpoint that is also `serving_default`.
        reader: the `raw.Reader` of its raw endpoints.
        thresholds: dict, output -> list of floats, those of multilabel heads.
    """
    file = Path(folder, FILE)
    file.parent.mkdir(exist_ok=True)
    found = reader.contracts
    card = {
        "name": model.name,
        "modalities": modalities(found),
        "outputs": outputs(model),
        "endpoints": list(endpoints),
        "default": default,
        "limits": reader.limits,
        "on_bad_value": reader.on_bad_value,
        "thresholds": thresholds,
        "contracts": contracts.write(found, file.parent),
        "versions": versions(),
    }
    file.write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf8")


def read_card(path):
    """What an exported model takes and gives; needs no TensorFlow.

    Args:
        path: folder of a SavedModel written by `saved_model`, or path of a file written
            by `tflite` or `onnx`.

    Returns:
        dict: "modalities" (name -> kind, cell, shape, dtype, and for a table its
        columns in the order of a line), "outputs" (name -> kind, classes, and the
        temperature of its probabilities), "contracts" (name -> how raw data is read,
        for `mmkeras.export.load`), "versions"; of a SavedModel "endpoints", "default",
        "limits" (modality -> bytes, pixels, seconds of a raw value), "on_bad_value" and
        "thresholds" (output -> one a class); of a file "inputs" and "quantize".

    Raises:
        ValueError: there is no such card.
    """
    path = Path(path)
    single = path.suffix in SUFFIXES
    file = beside(path) if single else path / FILE
    if not file.is_file():
        lacks = f"lacks {file.name} beside it" if single else f"holds no {FILE}"
        raise ValueError(
            f"`path` wants a SavedModel, a TFLite or an ONNX file written by "
            f"`mmkeras.export`. Received: {path}, which {lacks}."
        )
    return json.loads(file.read_text(encoding="utf8"))


def beside(path):
    """Where the card of a file lies: products.tflite.json."""
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
            "temperature": head.temperature if head else None,
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
