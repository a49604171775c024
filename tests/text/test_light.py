import keras
import numpy as np
import pytest

from mmkeras.text import embedding_mean, rnn
from tests.text.tiny import IDS, WORDS


def test_embedding_mean_equals_numpy():
    encoder = embedding_mean(WORDS, length=8, units=5)
    table = encoder.get_layer("embeddings_word").get_weights()[0]
    want = [table[row[row != 0]].mean(0) for row in IDS]
    np.testing.assert_allclose(encoder(IDS), want, 0, 1e-6)
    assert (np.array(encoder(np.zeros((2, 8), int))) == 0).all()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_rnn_is_a_bidirectional_layer_without_the_padding(cell):
    encoder = rnn(WORDS, length=8, units=3, embedding=4, cell=cell)
    table = encoder.get_layer("embeddings_word").get_weights()[0]
    layer = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell](3)
    both = keras.layers.Bidirectional(layer)
    both.build((None, None, 4))
    directions = encoder.get_layer("forwards"), encoder.get_layer("backwards")
    both.set_weights([w for layer in directions for w in layer.get_weights()])
    want = [both(table[row[row != 0]][None])[0] for row in IDS]
    np.testing.assert_allclose(encoder(IDS), want, 0, 1e-5)
    assert np.isfinite(encoder(np.zeros((1, 8), int))).all()


@pytest.mark.parametrize("build", [embedding_mean, rnn])
def test_file_and_fit(build, tmp_path):
    encoder = build(WORDS, length=8, lowercase=False, strip_accents=True)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(loaded(IDS), encoder(IDS))
    contract = loaded.get_layer("token_ids")
    assert contract.lowercase is False and contract.strip_accents is True
    before = loaded.get_weights()
    loaded.compile("adam", "mse")
    loaded.fit(IDS, np.ones((4, loaded.output_shape[-1])), verbose=0)
    after = zip(loaded.get_weights(), before, strict=True)
    assert all(not np.array_equal(new, old) for new, old in after)


def test_unknown_cell():
    with pytest.raises(ValueError, match=r"`cell` wants one of \['gru', 'lstm'\]"):
        rnn(WORDS, cell="elman")
