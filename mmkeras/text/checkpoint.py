"""Reads Hugging Face folders: the configuration and the weights, without torch.

Weights come from safetensors files only; a pickle could run code and is never opened.
"""

import json
import re
from pathlib import Path

import keras

# what a text encoder needs of a repository on the hub
_FILES = ("config.json", "model*.safetensors", "vocab.txt", "tokenizer*.json")
# our weights -> their names in a checkpoint (the second: converted from TensorFlow 1)
_NORM = {"gamma": ("weight", "gamma"), "beta": ("bias", "beta")}
_DENSE = {"kernel": ("weight",), "bias": ("bias",)}
_EMBEDDING = {"embeddings": ("weight",)}


def find(checkpoint):
    """The local folder of a checkpoint: a path, or a name on the hub (downloaded).

    Args:
        checkpoint: path of a folder, or a name such as "google-bert/bert-base-uncased".

    Returns:
        `pathlib.Path`.

    Raises:
        ValueError: there is no such folder, and the hub has it not or is out of reach.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", str(checkpoint)):
        raise ValueError(
            f"`checkpoint` wants a folder in the Hugging Face layout, or a name on the "
            f"hub. Received: '{checkpoint}', which is not a folder."
        )
    import huggingface_hub

    try:
        found = huggingface_hub.snapshot_download(
            str(checkpoint), allow_patterns=list(_FILES), etag_timeout=5
        )
    except Exception as error:  # network, HTTP, name and cache errors share no class
        raise ValueError(
            f"`checkpoint` wants a folder in the Hugging Face layout, or a name that "
            f"the hub knows. Received: '{checkpoint}', which is no folder here and "
            f"could not be fetched ({type(error).__name__}). Without a network, fetch "
            f"config.json, model.safetensors and tokenizer.json (or vocab.txt) "
            f"elsewhere and give the folder that holds them."
        ) from error
    return Path(found)


def read_config(folder):
    """config.json of a checkpoint folder, as a dict.

    Raises:
        ValueError: there is none, or it is not JSON.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        names = sorted(x.name for x in Path(folder).iterdir()) or "no file"
        raise ValueError(
            f"A text checkpoint wants a config.json. Received: folder '{folder}' with "
            f"{names}. Give the folder that `model.save_pretrained` of transformers "
            f"wrote."
        )
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"'{path}' wants JSON. Received: {error}.") from error


def load_weights(model, folder, names, prefix):
    """Copies a checkpoint's tensors into the layers of a model.

    Args:
        model: `keras.Model`.
        folder: path with model.safetensors, or its shards.
        names: dict, layer name -> the tensors' name without ".weight".
        prefix: what the tensors' names may begin with, "bert." for example.

    Raises:
        ValueError: there is no safetensors file, or a tensor is missing or of another
            shape; the message names it.
    """
    tensors = _tensors(folder)
    missing = []
    for layer_name, tensor_name in names.items():
        layer = model.get_layer(layer_name)
        for weight, suffixes in _weights(layer).items():
            full = [f"{p}{tensor_name}.{s}" for p in (prefix, "") for s in suffixes]
            found = next((x for x in full if x in tensors), None)
            if found is None:
                missing.append(full[0])
            else:
                _assign(getattr(layer, weight), tensors[found], found, folder)
    if missing:
        raise ValueError(
            f"The checkpoint lacks {len(missing)} tensors of the network its "
            f"config.json describes. Received: folder '{folder}' without "
            f"{missing[:3]}. It may hold another network, a shard may be absent, or "
            f"pooling='pooler' asks for a pooler that was not kept: take 'mean'."
        )


def _weights(layer):
    if isinstance(layer, keras.layers.Embedding):
        return _EMBEDDING
    return _NORM if isinstance(layer, keras.layers.LayerNormalization) else _DENSE


def _assign(variable, reader, name, folder):
    tensor = reader.get_tensor(name).astype("float32")
    if variable.path.endswith("/kernel"):
        tensor = tensor.T  # torch keeps (outputs, inputs)
    if tensor.shape != tuple(variable.shape):
        raise ValueError(
            f"Tensor '{name}' wants the shape {tuple(variable.shape)} that config.json "
            f"implies. Received: {tensor.shape} in folder '{folder}'."
        )
    variable.assign(tensor)


def _tensors(folder):
    """dict, tensor name -> the open file that has it."""
    import ml_dtypes  # noqa: F401  (numpy knows bfloat16 from here on)
    import safetensors

    paths = sorted(Path(folder).glob("model*.safetensors"))
    if not paths:
        names = sorted(x.name for x in Path(folder).iterdir())
        raise ValueError(
            f"A text checkpoint wants a model.safetensors. Received: folder "
            f"'{folder}' with {names}. Older formats (pytorch_model.bin, "
            f"tf_model.h5) are not read: save the model again with transformers, or "
            f"give `weights=None` for a network with random weights."
        )
    tensors = {}
    for path in paths:
        try:
            file = safetensors.safe_open(path, "np")
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"'{path}' wants a whole safetensors file. Received: {error}. Fetch it "
                f"again."
            ) from error
        tensors.update(dict.fromkeys(file.keys(), file))
    return tensors
