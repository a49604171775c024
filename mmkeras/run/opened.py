"""A trained model in any form, opened to predict with."""

from pathlib import Path

from mmkeras import export, heads
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

    def predict_on_batch(self, inputs):
        return self.network.predict_on_batch(inputs)

    def decode(self, outputs):
        """Outputs as one dict a row; see `mmkeras.export.exported.decoded`."""
        if isinstance(outputs, dict):
            return exported.decoded(outputs, endpoints.heads(self.network))
        head = heads.output_contract(self.network)
        return exported.decoded({"outputs": outputs}, {"outputs": head})
