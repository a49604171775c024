"""The contracts of an exported model, kept beside it: how raw data becomes tensors."""

import json
from pathlib import Path

import keras

from mmkeras.modality import ModalityInput

#: What Keras says of every layer; reading does not depend on it.
_OF_A_LAYER = ("name", "trainable", "dtype")


def write(contracts, folder, prefix=""):
    """Writes vocabularies as files; the rest is for the card.

    Args:
        contracts: dict, modality -> contract.
        folder: `pathlib.Path` of the folder the card's files lie in.
        prefix: begins the files' names.

    Returns:
        dict for JSON, modality -> "layer" (its registered name), "config" and, for a
        text, "vocabulary" (a file's name). None for a contract that JSON cannot hold.
    """
    return {
        name: _described(contract, folder, f"{prefix}{name}.vocab.txt")
        for name, contract in contracts.items()
    }


def _described(contract, folder, words):
    config = contract.get_config()
    config = {key: x for key, x in config.items() if key not in _OF_A_LAYER}
    named = keras.saving.get_registered_name(type(contract))
    made = {"layer": named, "config": config}
    vocabulary = config.pop("vocabulary", None)
    try:
        json.dumps(made)
    except TypeError:  # a contract of the user's own, with an object in its config
        return None
    if vocabulary is not None:
        # a token's number is its line; no text matches a token with a line break
        lines = ["" if "\n" in token else token for token in vocabulary]
        content = "".join(f"{line}\n" for line in lines).encode("utf-8")
        (folder / words).write_bytes(content)
        made["vocabulary"] = words
    return made


def read(card, folder):
    """The contracts that a card describes.

    Args:
        card: dict as `read_card` gives.
        folder: `pathlib.Path` of the folder its files lie in.

    Returns:
        dict, modality -> `ModalityInput`.

    Raises:
        ValueError: a contract is not described, or its class is not known here.
    """
    found = {}
    for name in card["modalities"]:
        made = (card.get("contracts") or {}).get(name)
        if made is None:
            raise ValueError(
                f"The card in '{folder}' does not say how '{name}' is read: it is "
                f"older than this mmkeras, or the contract's config does not fit JSON. "
                f"Export the model again, or use its .keras file."
            )
        # a class that is registered, of the right kind: a card cannot name any code
        layer = keras.saving.get_registered_object(made["layer"])
        if not (isinstance(layer, type) and issubclass(layer, ModalityInput)):
            raise ValueError(
                f"The contract of '{name}' is of class '{made['layer']}', which is not "
                f"known here. Import the module that registers it."
            )
        config = dict(made["config"])
        if "vocabulary" in made:
            text = _beside(folder, made["vocabulary"]).read_bytes().decode("utf-8")
            config["vocabulary"] = text.split("\n")[:-1]
        found[name] = layer.from_config(config)
    return found


def _beside(folder, name):
    """A file of the export's own folder: a card cannot name any other."""
    if not isinstance(name, str) or Path(name).name != name or name == "..":
        raise ValueError(
            f"A card's vocabulary is the name of a file beside it. Received: {name!r} "
            f"in '{folder}'"
        )
    return folder / name
