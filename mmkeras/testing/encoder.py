"""The laws that every encoder keeps."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from mmkeras.modality import contract


def check_encoder(encoder, tensors=None, rows=4):
    """Checks an encoder against every law; raises at the first one that it breaks.

    The encoder itself stays as it is: what is trained are copies.

    Example:
    >>> pixels = mmkeras.image.Pixels((8, 8))
    >>> photo = mmkeras.modality.tensor_input(pixels, "photo")
    >>> tiny = keras.Model(photo, keras.layers.Flatten()(pixels(photo)))
    >>> mmkeras.testing.check_encoder(tiny)

    Args:
        encoder: `keras.Model`, a modality's tensor -> feature.
        tensors: optional array, a batch of the modality's tensors; made up by the
            contract's kind where it is None.
        rows: Integer, size of a batch that is made up.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    _law("one named input with a contract", _one_input, encoder)
    if tensors is None:
        tensors = made_up(contract(encoder), rows)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "encoder.keras")
        _law("saves", encoder.save, path)
        for name, law in LAWS.items():
            _law(name, law, keras.models.load_model(path), encoder, tensors)


def made_up(contract, rows=4, seed=0):
    """A random batch of a contract's tensors; its last row ends in zeros (padding).

    Ids are below 5, and below the size of the contract's `vocabulary` where it has one.
    Where NaN is a missing part, the first row has some.
    """
    rng = np.random.default_rng(seed)
    shape = (rows, *contract.tensor_shape)
    if "int" in contract.tensor_dtype:
        known = len(getattr(contract, "vocabulary", ())) or 5
        tensors = rng.integers(1, max(2, min(5, known)), size=shape)
    elif contract.kind == "image":
        tensors = rng.uniform(0, 255, size=shape)
    else:
        tensors = rng.uniform(-1, 1, size=shape)
    tensors[-1, shape[1] // 2 :] = 0
    if contract.nan_is_missing:
        tensors[0, ::2] = np.nan
    return tensors.astype(contract.tensor_dtype)


def _law(name, law, *arguments):
    try:
        law(*arguments)
    except Exception as error:
        raise AssertionError(
            f"the encoder breaks the law '{name}': {type(error).__name__}: {error}"
        ) from error


def _one_input(encoder):
    assert len(encoder.inputs) == 1, f"{len(encoder.inputs)} inputs"
    first = contract(encoder)
    (tensor,) = encoder.inputs
    assert tensor.name, "the input has no name"
    assert tuple(tensor.shape[1:]) == tuple(first.tensor_shape), (
        f"the input is {tensor.shape[1:]}, the contract says {first.tensor_shape}"
    )
    assert tensor.dtype == first.tensor_dtype, (
        f"the input is {tensor.dtype}, the contract says {first.tensor_dtype}"
    )


def feature_is_vector_or_tokens(copy, encoder, tensors):
    y = copy(tensors)
    if isinstance(y, dict):
        assert set(y) == {"tokens", "mask"}, f"the keys are {sorted(y)}"
        assert len(y["tokens"].shape) == 3, f"tokens of shape {y['tokens'].shape}"
        wanted = tuple(y["tokens"].shape[:2])
        assert tuple(y["mask"].shape) == wanted, f"mask of shape {y['mask'].shape}"
    else:
        assert len(y.shape) == 2, f"a feature of shape {tuple(y.shape)}"
        assert copy.output_shape[-1] is not None, "the feature's width is not known"


def reload_is_equal(copy, encoder, tensors):
    _equal(copy(tensors), encoder(tensors))


def absent_is_finite(copy, encoder, tensors):
    for x in keras.tree.flatten(copy(np.zeros_like(tensors))):
        assert np.isfinite(keras.ops.convert_to_numpy(x)).all(), "not finite on zeros"


def frozen_rests(copy, encoder, tensors):
    """Frozen: training sees what predict gives, and moves nothing."""
    copy.trainable = False
    y = copy(tensors, training=False)
    for _ in range(2):
        _equal(copy(tensors, training=True), y, 1e-6)
    moved = _moved_by_fit(_with_head(copy), tensors)
    moved = [w for w in moved if not w.startswith("head")]
    assert not moved, f"frozen, but moved: {moved}"
    _equal(copy(tensors, training=False), y)


def partial_freeze_survives(copy, encoder, tensors):
    """Save, load, fit moves the same weights, and none of those that were frozen."""
    layers = [layer for layer in copy.layers if layer.weights]
    if len(layers) < 2:
        return
    for layer in layers[: len(layers) // 2]:
        layer.trainable = False
    frozen = {w.path for x in layers[: len(layers) // 2] for w in x.weights}
    model = _with_head(copy)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        model.save(path)
        again = keras.models.load_model(path)
    first, second = _moved_by_fit(model, tensors), _moved_by_fit(again, tensors)
    assert not frozen & first, f"frozen, but moved: {sorted(frozen & first)}"
    assert first - {"head"}, "nothing moved at all"
    assert first == second, (
        f"after reloading other weights move: {sorted(first ^ second)}"
    )


LAWS = {
    "a vector, or tokens and mask": feature_is_vector_or_tokens,
    ".keras round trip": reload_is_equal,
    "finite on an absent modality": absent_is_finite,
    "frozen means deterministic": frozen_rests,
    "a partial freeze survives save, load and fit": partial_freeze_survives,
}


def _with_head(encoder):
    """A model on the encoder's own graph, so that paths stay as they are."""
    feature = encoder.output
    if isinstance(feature, dict):
        feature = keras.layers.GlobalAveragePooling1D(name="pool")(feature["tokens"])
    head = keras.layers.Dense(2, name="head", dtype="float32")
    return keras.Model(encoder.input, head(feature))


def _moved_by_fit(model, tensors):
    """Paths of the weights and statistics that one epoch of fit changes."""
    before = {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}
    target = np.random.default_rng(0).normal(size=(len(tensors), 2))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(tensors, target, batch_size=max(2, len(tensors) // 2), verbose=0)
    return {
        w.path
        for w in model.weights
        if not np.array_equal(keras.ops.convert_to_numpy(w), before[w.path])
        and "seed_generator" not in w.path
    }


def _equal(got, wanted, tolerance=0.0):
    for a, b in zip(keras.tree.flatten(got), keras.tree.flatten(wanted), strict=True):
        a, b = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
