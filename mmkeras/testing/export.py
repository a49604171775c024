"""Does an exported SavedModel answer as the model does?"""

import keras
import numpy as np

from mmkeras.model import readers


def check_export(model, path, raw, tolerance=1e-5):
    """Compares a SavedModel's endpoints `serve` and `serve_raw` with `model`.

    Example:
        mm.export.saved_model(model, "saved_models/products/1")
        mm.testing.check_export(
            model,
            "saved_models/products/1",
            {"photo": [png_bytes, b""], "title": ["a red cup", ""]},
        )

    Args:
        model: the multimodal `keras.Model` that was exported.
        path: the SavedModel's folder.
        raw: dict, modality -> list of encoded values; "" is an absent modality.
        tolerance: Float, largest difference, absolute and relative.

    Raises:
        AssertionError: an endpoint is missing, takes other inputs, or differs.
    """
    import tensorflow as tf

    contracts = readers(model)
    assert set(raw) == set(contracts), (
        f"`raw` wants the modalities {sorted(contracts)}. Received: {sorted(raw)}"
    )
    strings = {name: tf.constant(raw[name], tf.string) for name in contracts}
    tensors = {name: contracts[name].read(x) for name, x in strings.items()}
    for name, x in strings.items():
        tensors[f"{name}_present"] = contracts[name].presence(x)
    wanted = model(tensors, training=False)
    served = tf.saved_model.load(str(path)).signatures
    for endpoint, inputs in {"serve": tensors, "serve_raw": strings}.items():
        assert endpoint in served, f"no `{endpoint}`; it has {sorted(served)}"
        takes = set(served[endpoint].structured_input_signature[1])
        assert takes == set(inputs), f"`{endpoint}` takes {sorted(takes)}"
        _compare(endpoint, served[endpoint](**inputs), wanted, tolerance)


def _compare(endpoint, got, wanted, tolerance):
    if not isinstance(wanted, dict):
        assert len(got) == 1, f"`{endpoint}` gives {sorted(got)}, the model one output"
        wanted = dict.fromkeys(got, wanted)
    assert set(got) == set(wanted), f"`{endpoint}` gives {sorted(got)}"
    for name, y in wanted.items():
        np.testing.assert_allclose(
            got[name].numpy(),
            keras.ops.convert_to_numpy(y),
            rtol=tolerance,
            atol=tolerance,
            err_msg=f"{endpoint}: {name}",
        )
