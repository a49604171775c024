"""Inputs of a model as numpy arrays, checked, for what asks about single rows."""

import numpy as np

from mmkeras.model import readers


def checked(model, inputs):
    """The tensor and the presence of each modality: two dicts of numpy arrays.

    A row's absent modality becomes zeros, whatever it was.

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        inputs: dict, `<name>` and perhaps `<name>_present` -> array.

    Raises:
        ValueError: several outputs, a modality that is missing, one of another shape,
            or no rows.
    """
    if isinstance(model.output, dict | list):
        raise ValueError(
            f"`model` wants one output. Received: {sorted(model.output)}. Ask each: "
            f"`keras.Model(model.input, model.output['name'])`."
        )
    contracts = readers(model)
    missing = sorted(set(contracts) - set(inputs))
    if missing:
        raise ValueError(
            f"`inputs` wants {sorted(contracts)}. Received: {sorted(inputs)}, without "
            f"{missing}."
        )
    tensors, present = {}, {}
    for name in sorted(contracts):
        made = contracts[name]
        x = np.asarray(inputs[name]).astype(made.tensor_dtype)
        if x.shape[1:] != tuple(made.tensor_shape) or not len(x):
            raise ValueError(
                f"inputs['{name}'] wants shape (rows, "
                f"{', '.join(map(str, made.tensor_shape))}). Received: {x.shape}"
            )
        there = inputs.get(f"{name}_present", np.ones(len(x)))
        there = (np.asarray(there).reshape(-1) > 0).astype("float32")
        tensors[name] = np.where(there.reshape(-1, *[1] * (x.ndim - 1)) > 0, x, 0)
        tensors[name] = tensors[name].astype(made.tensor_dtype)
        present[name] = there
    counts = {name: (len(tensors[name]), len(present[name])) for name in tensors}
    if len({n for pair in counts.values() for n in pair}) > 1:
        raise ValueError(
            f"`inputs` wants as many rows of each modality. Received: {counts} rows of "
            f"tensors and of presence"
        )
    return tensors, present
