import keras
import numpy as np
import pytest
import tensorflow as tf

from mmkeras import modality
from mmkeras.image import Pixels


@keras.saving.register_keras_serializable("test_modality")
class Digits(modality.ModalityInput):
    """Three numbers as text, `1 2 3`; the smallest contract there is."""

    kind, cell = "table", "value"

    @property
    def tensor_shape(self):
        return (3,)

    def read_one(self, raw):
        return tf.strings.to_number(tf.strings.split(raw, " "))

    def call(self, tensor):
        return tensor * 2


@keras.saving.register_keras_serializable("test_modality")
class Wrong(Digits):
    @property
    def tensor_shape(self):
        return (2,)


RAW = np.array([b"1 2 3", b"", b"4 5 6"])
WANT = np.array([[1, 2, 3], [0, 0, 0], [4, 5, 6]], "float32")


def test_eager_tf_data_and_cells_agree():
    digits = Digits()
    np.testing.assert_array_equal(digits.read(RAW), WANT)
    rows = tf.data.Dataset.from_tensor_slices(RAW)
    single = list(rows.map(digits.read).as_numpy_iterator())
    batch = next(rows.batch(3).map(digits.read).as_numpy_iterator())
    np.testing.assert_array_equal(np.stack(single), WANT)
    np.testing.assert_array_equal(batch, WANT)
    np.testing.assert_array_equal(digits.read_cell("4 5 6"), WANT[2])


def test_shape_is_known_in_a_graph_and_batch_may_be_empty():
    rows = tf.data.Dataset.from_tensor_slices(RAW)
    digits = Digits()
    assert rows.map(digits.read).element_spec.shape == (3,)
    assert rows.batch(2).map(digits.read).element_spec.shape == (None, 3)
    assert digits.read(np.array([], bytes)).shape == (0, 3)


def test_a_tensor_of_another_shape_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible"):
        Wrong().read(RAW)


def test_presence():
    np.testing.assert_array_equal(modality.presence(tf.constant(RAW)), [1.0, 0, 1])


def test_empty_or_missing_file(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty"):
        Pixels((2, 2)).read_cell(str(tmp_path / "empty.png"))
    with pytest.raises(tf.errors.NotFoundError, match="missing.png"):
        Pixels((2, 2)).read_cell(str(tmp_path / "missing.png"))


def test_abstract_contract_says_what_it_lacks():
    class Half(Digits):
        read_one = modality.ModalityInput.read_one

    with pytest.raises(NotImplementedError, match="Half must write `read_one`"):
        Half().read_one(tf.constant("1"))


def test_contract_of_an_encoder_also_nested_and_reloaded(tmp_path):
    digits = Digits(name="digits")
    inputs = modality.tensor_input(digits, "numbers")
    assert inputs.name == "numbers" and inputs.shape == (None, 3)
    encoder = keras.Model(inputs, keras.layers.Dense(2)(digits(inputs)))
    assert modality.contract(encoder) is digits
    outer = keras.Input((3,))
    assert modality.contract(keras.Model(outer, encoder(outer))) is digits
    encoder.save(tmp_path / "a.keras")
    loaded = modality.contract(keras.models.load_model(tmp_path / "a.keras"))
    np.testing.assert_array_equal(loaded.read(RAW), WANT)


@pytest.mark.parametrize("count", [0, 2])
def test_contract_wants_exactly_one(count):
    x = inputs = keras.Input((3,))
    for _ in range(count):
        x = Digits()(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x), name="odd")
    with pytest.raises(ValueError, match=f"'odd' with {count} of them"):
        modality.contract(model)
