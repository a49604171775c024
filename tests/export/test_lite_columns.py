"""Texts of 32 tokens and more keep their tokens in columns, in float files alone."""

import numpy as np
import pytest

import mmkeras as mm
from mmkeras.export.lite_columns import Columns
from mmkeras.text.layers import TokenDense
from tests.export import lite

CONFIG = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
WORDS = mm.text.wordpiece_vocabulary(["a red cup and a blue hat"])


@pytest.mark.parametrize(("length", "products"), [(32, 0), (12, 12)])
def test_answers_as_the_model_does(length, products, tmp_path):
    encoder = mm.text.bert(
        config=CONFIG, vocabulary=WORDS, length=length, weights=None, pooling="cls"
    )
    rng = np.random.default_rng(0)
    encoder.set_weights([rng.normal(size=x.shape) for x in encoder.get_weights()])
    path = tmp_path / "a.tflite"
    report = mm.export.tflite(encoder, path)
    # six dense layers a block, as products with the text or with its columns
    assert report.ops.get("FULLY_CONNECTED", 0) == products
    ids = encoder.get_layer("token_ids").read(["a red hat", "cup", ""]).numpy()
    wanted = encoder.predict(ids, verbose=0)
    got = lite.ask(path, {encoder.inputs[0].name: ids})["outputs"]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_tokens_of_tokens_stay_as_they_are():
    x = np.random.default_rng(0).normal(size=(1, 32, 3, 4)).astype("float32")
    layer = TokenDense(5)
    np.testing.assert_array_equal(Columns()(layer)(x), layer(x))
