"""Reading `.keras` files back, frozen where they were frozen."""

import warnings

import keras

from mmkeras.transfer.freezing import refreeze


def load_model(path, safe_mode=True):
    """Loads a `.keras` file in safe mode; what was frozen stays frozen.

    Args:
        path: path of a `.keras` file.
        safe_mode: False also loads what runs code of its own, such as the SavedModel
            inside an encoder of `mmkeras.hub`: only for files that you trust.

    Returns:
        The model, compiled as it was saved.

    Raises:
        ValueError: the file is missing, is no `.keras` archive, or holds layers that
            run code of their own (Lambda, SavedModel).
    """
    with warnings.catch_warnings():
        # a model saved before its first step has an optimizer with nothing to load:
        # a step and a rate unless by a schedule, and of a loss scale two more
        for unused in (".* saved optimizer has [12] var", "'loss_scale.* has [34] var"):
            skipped = f"Skipping variable loading for optimizer {unused}"
            warnings.filterwarnings("ignore", skipped)
        model = keras.models.load_model(path, safe_mode=safe_mode)
    return refreeze(model)
