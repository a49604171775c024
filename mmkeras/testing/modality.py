"""The laws that every contract (`ModalityInput`) keeps."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from mmkeras import modality


def check_modality_input(contract, raw_examples, bad_examples=()):
    """Checks a contract against every law; raises at the first one that it breaks.

    Example:
    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cup"]
    >>> contract = mmkeras.text.TokenIds(words, length=6)
    >>> mmkeras.testing.check_modality_input(contract, ["cup", "cup cup"])

    Args:
        contract: a `ModalityInput`.
        raw_examples: list of encoded values that it reads (bytes or strings).
        bad_examples: list of encoded values that it must refuse.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    # the empty string, an absent modality, belongs to every batch
    raw = [*raw_examples, ""]
    laws = {
        "shape and dtype": (_shape, raw),
        "eager, tf.data and batched tf.data agree": (_same_everywhere, raw),
        "an empty string is absent": (_empty_is_absent, raw),
        "a table's cell reads as the endpoint does": (_cells, raw_examples),
        "bad values raise": (_bad_raise, bad_examples),
        "saved and reloaded it reads the same": (_reloads, raw),
    }
    for name, (law, examples) in laws.items():
        try:
            law(contract, examples)
        except Exception as error:
            raise AssertionError(
                f"`{type(contract).__name__}` breaks the law '{name}': "
                f"{type(error).__name__}: {error}"
            ) from error


def _read(contract, raw):
    import tensorflow as tf

    return contract.read(tf.constant(raw, tf.string)).numpy()


def _shape(contract, raw):
    x = _read(contract, raw)
    wanted = (len(raw), *contract.tensor_shape)
    assert x.shape == wanted, f"read gives {x.shape}, not {wanted}"
    assert x.dtype == contract.tensor_dtype, f"read gives {x.dtype}"
    fine = np.isfinite(x) | (np.isnan(x) & contract.nan_is_missing)
    assert fine.all(), "read gives numbers that are not finite"
    y = keras.ops.convert_to_numpy(contract(x))
    assert np.isfinite(y).all(), "call gives numbers that are not finite"


def _same_everywhere(contract, raw):
    import tensorflow as tf

    eager = _read(contract, raw)
    source = tf.data.Dataset.from_tensor_slices(tf.constant(raw, tf.string))
    roads = {
        "eager, one by one": [_read(contract, x) for x in raw],
        "tf.data": list(source.map(contract.read).as_numpy_iterator()),
        "tf.data, batched": np.concatenate(
            list(source.batch(2).map(contract.read).as_numpy_iterator())
        ),
    }
    for road, x in roads.items():
        np.testing.assert_allclose(
            np.stack(x), eager, rtol=1e-6, atol=1e-6, err_msg=road
        )


def _empty_is_absent(contract, raw):
    import tensorflow as tf

    x = _read(contract, raw)
    assert not x[-1].any(), "an empty string does not read as zeros"
    there = contract.presence(tf.constant(raw, tf.string)).numpy()
    np.testing.assert_array_equal(there, [float(len(x) > 0) for x in raw])


def _cells(contract, raw_examples):
    for value, x in zip(raw_examples, _read(contract, raw_examples), strict=True):
        got = contract.read_cell(value)
        np.testing.assert_allclose(got, x, rtol=1e-6, atol=1e-6)


def _bad_raise(contract, bad_examples):
    for value in bad_examples:
        try:
            _read(contract, [value])
        except Exception as error:  # which one, the contract documents
            assert str(error), f"{value[:40]!r} raises an error without a message"
            continue
        raise AssertionError(f"{value[:40]!r} is read without an error")


def _reloads(contract, raw):
    config = contract.get_config()
    again = type(contract).from_config(config)
    assert again.get_config() == config, "its config changes on the way"
    tensor = modality.tensor_input(contract, "tensor")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "contract.keras")
        keras.Model(tensor, contract(tensor)).save(path)
        loaded = modality.contract(keras.models.load_model(path))
    for other in (again, loaded):
        np.testing.assert_array_equal(_read(other, raw), _read(contract, raw))
