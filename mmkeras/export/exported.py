"""Reading an export back: a SavedModel, a TFLite or an ONNX file, asked alike."""

import re
from pathlib import Path

import numpy as np

from mmkeras import heads
from mmkeras.export import card, contracts
from mmkeras.export.lite_file import GraphFile, LiteFile


def load(path, trust=False):
    """Reads an exported model back, to predict with; the `.keras` file is not needed.

    Example:
    >>> import pandas, tempfile
    >>> pixels = mm.image.Pixels((8, 8))
    >>> image = mm.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> head = mm.heads.classification(["cat", "dog"]).layer
    >>> model = mm.multimodal({"photo": tiny}, mm.fusion.Concat(), head)
    >>> path = f"{tempfile.mkdtemp()}/pets.tflite"
    >>> _ = mm.export.tflite(model, path)
    >>> exported = mm.export.load(path)
    >>> table = pandas.DataFrame({"photo": [None, None]})
    >>> rows = mm.data.from_table(table, exported, batch_size=2)
    >>> outputs = exported.predict_on_batch(next(iter(rows)))
    >>> [x["class"] for x in exported.decode(outputs)]
    ['cat', 'cat']

    Args:
        path: a SavedModel's version folder, the folder above it (the newest version is
            taken), a `.tflite` or an `.onnx` file, as `mmkeras.export` writes them.
        trust: True to load a SavedModel. Its graph is a program that can read and write
            files: only for those whose maker you trust.

    Returns:
        `Exported`.

    Raises:
        ValueError: there is no export, it has no card, or it is a SavedModel and
            `trust` is not given.
    """
    found = find(path)
    if found is None:
        raise ValueError(
            f"`path` wants a SavedModel's folder, the folder above its versions, or a "
            f"file ending in {' or '.join(card.SUFFIXES)}. Received: {str(path)!r}"
        )
    described = card.read_card(found)
    if found.suffix == ".tflite":
        ask, beside = LiteFile(found.read_bytes()), found.parent
    elif found.suffix == ".onnx":
        from mmkeras.export.onnx_file import OnnxFile

        ask, beside = OnnxFile(found.read_bytes()), found.parent
    else:
        _need_trust(found, trust)
        ask, beside = Served(found), (found / card.FILE).parent
    return Exported(found, described, contracts.read(described, beside), ask)


def find(path):
    """The export that a path leads to, as `pathlib.Path`, or None."""
    path = Path(path)
    if path.suffix in card.SUFFIXES and path.is_file():
        return path
    versions = [x for x in path.glob("*") if re.fullmatch(r"\d+", x.name)]
    folders = [path, *sorted(versions, key=_number, reverse=True)]
    return next((x for x in folders if (x / "saved_model.pb").is_file()), None)


def _number(folder):
    return int(folder.name)


class Exported:
    """An exported model: what it reads, what it answers, and what that means.

    Attributes:
        path: `pathlib.Path` of the version folder or file.
        card: dict, see `read_card`.
        inputs: list, the names of its tensors.
        contracts: dict, modality -> contract, for `mmkeras.data.from_table`.
    """

    def __init__(self, path, described, read, ask):
        self.path, self.card, self.contracts = path, described, read
        self.inputs = list(ask.inputs)
        self._ask = ask

    def predict_on_batch(self, inputs):
        """The outputs for a batch of tensors, as the Keras model gives them.

        Args:
            inputs: dict, `<name>` and `<name>_present` -> array `(batch, ...)`.

        Returns:
            Array `(batch, outputs)`, or a dict of them for a model with several heads.
        """
        wanted = {name: inputs[name] for name in self.inputs if name in inputs}
        found = self._ask(wanted)
        outputs = {name: np.asarray(found[name]) for name in self.card["outputs"]}
        return outputs["outputs"] if list(outputs) == ["outputs"] else outputs

    def decode(self, outputs):
        """Outputs as one dict a row: class and scores, as `mmkeras predict` writes."""
        named = outputs if isinstance(outputs, dict) else {"outputs": outputs}
        return decoded(named, self.heads(), self.card.get("thresholds"))

    def heads(self):
        """Output -> the layer of `mmkeras.heads` that names it, or None."""
        return {name: self._head(name) for name in self.card["outputs"]}

    def head_of(self, key=None):
        """The layer of `mmkeras.heads` that names an output, or None, and its width.

        Args:
            key: name of the output, for a model with several.
        """
        valid = sorted(self.card["outputs"])
        key = valid[0] if key is None and len(valid) == 1 else key
        if key not in valid:
            raise ValueError(
                f"An export with several outputs wants the name of one. Received: "
                f"{key!r}. Valid names: {valid}"
            )
        return self._head(key), self.card["outputs"][key]["shape"][-1]

    def _head(self, name):
        made = self.card["outputs"][name]
        if made["classes"] is None:
            return None
        # a card that was written before heads had one says nothing of it
        temperature = made.get("temperature", 1.0)
        return heads.Outputs(made["classes"], made["kind"], temperature)


def decoded(outputs, named, thresholds=None):
    """Outputs as one dict a row: the class(es), and a score under each class's name.

    Args:
        outputs: dict, output -> array `(batch, outputs)`; all but "outputs" begin their
            columns with their name.
        named: dict, output -> a layer of `mmkeras.heads` that names it, or None.
        thresholds: optional dict, output -> list of floats, one a class, of multilabel
            heads; default: 0.5.

    Raises:
        ValueError: an output is no vector a row, but a map, or two outputs have columns
            of one name.
    """
    maps = {key: x.shape[1:] for key, x in outputs.items() if len(x.shape) > 2}
    if maps:
        raise ValueError(
            f"Rows of a table want vectors. Received: maps, {maps}. Ask the model for "
            f"them: `predict` of `mmkeras.load_model(path)`, or `predict_on_batch` of "
            f"`mmkeras.export.load(path)`."
        )
    rows = [{} for _ in next(iter(outputs.values()))]
    for key, values in outputs.items():
        head = named[key]
        if head is None:
            parts = [
                {f"output_{i}": float(x) for i, x in enumerate(np.ravel(row))}
                for row in values
            ]
        else:
            parts = head.decode(values, (thresholds or {}).get(key, 0.5))
        prefix = "" if key == "outputs" else f"{key}_"
        for row, part in zip(rows, parts, strict=True):
            added = {f"{prefix}{name}": x for name, x in part.items()}
            twice = sorted(set(row) & set(added))
            if twice:
                raise ValueError(
                    f"The columns of the outputs want different names. Received: "
                    f"{twice} of '{key}' and of an output before it, of "
                    f"{list(outputs)}. Give the output or its classes other names."
                )
            row.update(added)
    return rows


class Served(GraphFile):
    """The endpoint "serve" of a SavedModel, asked as a file is: tensors in, by name.

    Args:
        folder: the version's folder.
    """

    def __init__(self, folder):
        import tensorflow as tf

        self._model = tf.saved_model.load(str(folder))  # its variables live in here
        self._endpoint = self._model.signatures["serve"]
        self.inputs = {
            name: ((-1, *x.shape[1:]), x.dtype.name)
            for name, x in self._endpoint.structured_input_signature[1].items()
        }

    def _serve(self, tensors):
        import tensorflow as tf

        given = {name: tf.constant(x) for name, x in tensors.items()}
        return {name: x.numpy() for name, x in self._endpoint(**given).items()}


def _need_trust(folder, trust):
    if not trust:
        raise ValueError(
            f"'{folder}' is a SavedModel, a program that can read and write files. If "
            f"you trust who made it, load it with `trust=True` (on the command line: "
            f"--trust). A .keras, .tflite or .onnx file runs no such code."
        )
