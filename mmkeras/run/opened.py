"""A trained model in any form, opened to predict with, or to be scored."""

from pathlib import Path

import keras
import numpy as np

from mmkeras import export, heads
from mmkeras.data.labels import head_of
from mmkeras.data.table import is_missing
from mmkeras.export import endpoints, exported
from mmkeras.load import load_model
from mmkeras.model import readers


def find_keras(path):
    """The `.keras` file of a path: itself, or model.keras in a folder; or None."""
    path = Path(path)
    file = path / "model.keras" if path.is_dir() else path
    return file if file.is_file() and file.suffix == ".keras" else None


def opened(path, trust=False):
    """Opens a `.keras` file, or an export of one.

    Args:
        path: a `.keras` file or a folder with model.keras, else what `mmkeras.export`
            writes: a SavedModel's version folder or the one above it, a `.tflite` or an
            `.onnx` file.
        trust: True to load SavedModels, also those inside a `.keras` file.

    Returns:
        `(model, folder)`: a `Trained` or `mmkeras.export.Exported`, which answer
        alike, and the folder that a recipe may lie in.

    Raises:
        ValueError: it is none of these.
    """
    file = find_keras(path)
    if file is not None:
        return Trained(load_model(file, safe_mode=not trust)), file.parent
    found = exported.find(path)
    if found is None:
        raise ValueError(
            f"MODEL wants a .keras file or a folder with model.keras, as `mmkeras "
            f"train` writes it, or what `mmkeras export` writes: a SavedModel's "
            f"folder, a .tflite or an .onnx file. Received: {str(path)!r}"
        )
    return export.load(found, trust), found.parent


class Trained:
    """A Keras model that answers as `mmkeras.export.Exported` does.

    Args:
        network: a multimodal model.
    """

    def __init__(self, network):
        self.network = network
        self.contracts = readers(network)

    def head_of(self, key=None):
        return head_of(self.network, key)

    def predict_on_batch(self, inputs):
        return self.network.predict_on_batch(inputs)

    def decode(self, outputs):
        """Outputs as one dict a row; see `mmkeras.export.exported.decoded`."""
        if isinstance(outputs, dict):
            return exported.decoded(outputs, endpoints.heads(self.network))
        head = heads.output_contract(self.network)
        return exported.decoded({"outputs": outputs}, {"outputs": head})


def scored(network, label, rows):
    """The model of the one output that a label is for, and its rows.

    Args:
        network: a Keras model, or `mmkeras.export.Exported`.
        label: column; of a model with several outputs "OUTPUT=COLUMN". None: unknown.
        rows: DataFrame.

    Returns:
        `(model, column, rows)`: the model with one output; of one with several the rows
        that have its label.

    Raises:
        ValueError: the label is unknown, or the model has no output that is scored by
            labels.
    """
    whole = isinstance(network, keras.Model)
    named = endpoints.heads(network) if whole else network.heads()
    unnamed = not any(named.values())  # tasks may be called as modalities are
    if len(named) > 1 and unnamed and set(named) <= set(readers(network)):
        raise ValueError(
            f"MODEL gives a vector for each modality, {sorted(named)}, which no label "
            f"scores. Score towers by who finds whom: `mmkeras.analysis.retrieval("
            f"model, rows)` with `mmkeras.load_model(path)`."
        )
    if label is None:
        raise ValueError(
            "`label` is unknown: name the table's label column"
            f"{', as --label OUTPUT=COLUMN' * (len(named) > 1)}."
        )
    if len(named) == 1:
        return network, label, rows
    key, _, column = str(label).partition("=")
    if key not in named or not column:
        raise ValueError(
            f"MODEL has several outputs: `--label` wants OUTPUT=COLUMN, the one to be "
            f"scored. Received: {label!r}. Valid names: {sorted(named)}"
        )
    if column in rows.columns:
        there = ~rows[column].map(is_missing).to_numpy(bool)
        if not there.any():
            raise ValueError(f"Column '{column}' has no label in any row.")
        kept = rows[there]
        kept.attrs.update(rows.attrs)
        rows = kept
    if whole:
        return keras.Model(network.input, network.output[key]), column, rows
    return OneOutput(network, key), column, rows


class OneOutput:
    """An export of several outputs, as if it had one.

    Args:
        exported: `mmkeras.export.Exported`.
        key: name of the output.
    """

    def __init__(self, exported, key):
        self._exported, self._key = exported, key
        self.contracts, self.inputs = exported.contracts, exported.inputs

    def head_of(self, key=None):
        return self._exported.head_of(self._key)

    def predict_on_batch(self, inputs):
        return self._exported.predict_on_batch(inputs)[self._key]


class Uncut:
    """An export as `mmkeras.analysis.subsets.Trunk` is of a model.

    It cannot be cut behind its encoders: every subset asks the whole file, with zeros
    and presence 0 for what is hidden.

    Args:
        exported: `mmkeras.export.Exported` of a multimodal model with one output.

    Raises:
        ValueError: it has several outputs, or no inputs `<name>_present`.
    """

    def __init__(self, exported):
        self.names = tuple(sorted(exported.contracts))
        self.contract, _ = exported.head_of()
        self._exported = exported
        wanted = {f"{name}_present" for name in self.names}
        if not wanted or wanted - set(exported.inputs):
            raise ValueError(
                f"MODEL wants the export of a multimodal model, which has the inputs "
                f"{sorted(wanted)}. Received: {exported.inputs}"
            )

    def features(self, inputs):
        """The tensors themselves, and presence: two dicts by modality."""
        presence = {
            name: (inputs[f"{name}_present"] > 0).astype("float32")
            for name in self.names
        }
        return {name: inputs[name] for name in self.names}, presence

    def answer(self, features, presence, subset=None):
        """The outputs `(batch, outputs)` with only `subset` shown; default: all."""
        shown = {}
        for name in self.names:
            x, there = features[name], presence[name]
            if subset is not None and name not in subset:
                there = np.zeros_like(there)
            column = there.reshape(-1, *[1] * (x.ndim - 1)) > 0
            shown[name] = np.where(column, x, 0).astype(x.dtype)
            shown[f"{name}_present"] = there
        return self._exported.predict_on_batch(shown)
