"""The whole state of a training in one file, which appears whole or not at all."""

import json
from pathlib import Path

import numpy as np
from keras import ops

from mmkeras.aside import aside, to_disk


class StateFile:
    """Variables of model, optimizer and metrics, with a note, in one safetensors file.

    Args:
        path: of the file.
    """

    def __init__(self, path):
        self.path = Path(path)
        #: What the file on disk holds, in words, as this object left or found it.
        self.held = "no state"

    def read(self):
        """The note (a dict) and the arrays by name; None where there is no file.

        Raises:
            ValueError: the file is not a training state.
        """
        from safetensors import SafetensorError, safe_open

        for rest in self.path.parent.glob(f".*.{self.path.name}"):
            rest.unlink(missing_ok=True)  # of a process killed while it wrote
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, "numpy") as file:
                about = json.loads((file.metadata() or {})["about"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"'{self.path}' is not a training state that can be read ({error}). "
                f"Remove it to start anew."
            ) from error
        self.held = _where(about)
        return about, arrays

    def write(self, about, arrays):
        """Writes the state aside, then renames it.

        Args:
            about: dict for JSON.
            arrays: dict of arrays: `variables_of` the model, and more.

        Raises:
            OSError: it cannot be written; the old file is as it was.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            with aside(self.path) as temporary:
                save_file(arrays, temporary, {"about": json.dumps(about)})
                to_disk(temporary)
            to_disk(self.path.parent)
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"The training state of {_where(about)} could not be written to "
                f"'{self.path}' ({error}). The file still holds {self.held}. Make room "
                f"and start the same program again."
            ) from error
        self.held = _where(about)

    def assign(self, model, arrays):
        """Gives the arrays to the model and its optimizer.

        Raises:
            ValueError: they are not those of this model or optimizer.
        """
        parts = _variables(model, with_metrics=False)
        for part, variables in parts.items():  # all, before any is changed
            self._check(part, variables, arrays)
        for part, variables in parts.items():
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"{part}/{i}"])

    def assign_metrics(self, model, arrays):
        """The same for the metrics, once they are built."""
        variables = model.metrics_variables
        self._check("metrics", variables, arrays)
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"metrics/{i}"])

    def _check(self, part, variables, arrays):
        count = sum(name.startswith(f"{part}/") for name in arrays)
        if count != len(variables):
            raise ValueError(
                f"'{self.path}' is the state of another {part}: it holds {count} "
                f"variables, this one has {len(variables)}. Give each training a "
                f"folder of its own, or remove the file to start anew."
            )
        for i, variable in enumerate(variables):
            shape = arrays[f"{part}/{i}"].shape
            if tuple(shape) != tuple(variable.shape):
                raise ValueError(
                    f"'{self.path}' is the state of another {part}: variable "
                    f"'{variable.path}' has shape {tuple(variable.shape)}, the file's "
                    f"{tuple(shape)}. Give each training a folder of its own, or "
                    f"remove the file to start anew."
                )


def variables_of(model, with_metrics):
    """Variables of a compiled model and its optimizer, "model/0" and so on -> array.

    Args:
        model: compiled model, whose optimizer is built.
        with_metrics: whether the metrics' variables are among them.
    """
    return {
        f"{part}/{i}": _array(variable)
        for part, variables in _variables(model, with_metrics).items()
        for i, variable in enumerate(variables)
    }


def _variables(model, with_metrics):
    parts = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {**parts, "metrics": model.metrics_variables} if with_metrics else parts


def _array(variable):
    value = np.asarray(ops.convert_to_numpy(variable), order="C")
    if value.dtype.kind in "iub" or value.dtype in ("float32", "float64"):
        return value
    return value.astype("float32")  # float16 and bfloat16 fit in it exactly


def _where(about):
    return f"epoch {about['epoch'] + 1}, step {about['step']}"
