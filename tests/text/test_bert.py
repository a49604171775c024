from pathlib import Path

import keras
import numpy as np
import pytest

from mmkeras import modality
from mmkeras.text import bert
from tests.text import tiny

REFERENCE = Path(__file__).parents[1] / "reference/minilm_l6_torch.npz"
REAL = tiny.IDS != 0


@pytest.fixture
def random_bert():
    return bert(config=tiny.CONFIG, vocabulary=tiny.WORDS, length=8, weights=None)


@pytest.mark.weights
def test_minilm_is_the_original(minilm):
    want = np.load(REFERENCE)
    ids, real = want["input_ids"], want["attention_mask"] > 0
    got = bert(minilm, length=64, pooling=None)(ids)
    np.testing.assert_array_equal(got["mask"], want["attention_mask"])
    # Tokens, not padding: what stands behind a text's end is masked everywhere, and
    # there both implementations are 2e-5 away from the same network in float64.
    tokens = np.array(got["tokens"])[:, :8][real[:, :8]]
    np.testing.assert_allclose(tokens, want["first8"][real[:, :8]], 0, 1e-5)
    mean = bert(minilm, length=64, pooling="mean")(ids)
    np.testing.assert_allclose(mean, want["mean"], 0, 1e-5)
    pooled = bert(minilm, length=64, pooling="pooler")(ids)
    np.testing.assert_allclose(pooled, want["pooled"], 0, 1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
@pytest.mark.parametrize("eps", [1e-12, 0.1])
def test_equals_numpy(tmp_path, activation, eps):
    config = {**tiny.CONFIG, "hidden_act": activation, "layer_norm_eps": eps}
    found = tiny.tensors(config)
    folder = tiny.folder(tmp_path, found, config)
    got = bert(folder, length=8, pooling=None)(tiny.IDS)
    want, _ = tiny.forward(found, tiny.IDS, config)
    np.testing.assert_allclose(np.array(got["tokens"])[REAL], want[REAL], 0, 2e-5)


def test_poolings_equal_numpy(tmp_path):
    found = tiny.tensors()
    folder = tiny.folder(tmp_path, found)
    tokens, pooled = tiny.forward(found, tiny.IDS)
    share = REAL / REAL.sum(1, keepdims=True)
    want = {"mean": np.einsum("blc,bl->bc", tokens, share)}
    want |= {"cls": tokens[:, 0], "pooler": pooled}
    for pooling, feature in want.items():
        model = bert(folder, length=8, pooling=pooling)
        assert model.output_shape == (None, 8)
        np.testing.assert_allclose(model(tiny.IDS), feature, 0, 2e-5)


def test_distilbert_equals_numpy(tmp_path):
    """DistilBERT is BERT without token types and pooler, under other names."""
    found = tiny.tensors()
    found["embeddings.token_type_embeddings.weight"] *= 0
    names = {
        "encoder.layer": "transformer.layer",
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    }
    renamed = {}
    for name, value in found.items():
        for old, new in names.items():
            name = name.replace(old, new)
        if "token_type" not in name and "pooler" not in name:
            renamed[f"distilbert.{name}"] = value
    config = {"model_type": "distilbert", "vocab_size": 12, "dim": 8, "n_layers": 2}
    config |= {"n_heads": 2, "hidden_dim": 16, "activation": "gelu", "dropout": 0.1}
    config |= {"attention_dropout": 0.1, "max_position_embeddings": 10}
    folder = tiny.folder(tmp_path, renamed, config)
    got = bert(folder, length=8, pooling=None)(tiny.IDS)
    want, _ = tiny.forward(found, tiny.IDS)
    np.testing.assert_allclose(np.array(got["tokens"])[REAL], want[REAL], 0, 2e-5)


def test_padding_and_neighbours_change_nothing(random_bert):
    whole = np.array(random_bert(tiny.IDS))
    alone = np.array(random_bert(tiny.IDS[2:3]))
    np.testing.assert_allclose(whole[2:3], alone, 0, 1e-6)
    short = bert(config=tiny.CONFIG, vocabulary=tiny.WORDS, length=3, weights=None)
    short.set_weights(random_bert.get_weights())
    np.testing.assert_allclose(short(tiny.IDS[2:3, :3]), alone, 0, 1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler", None])
def test_an_absent_text_is_finite(policy, pooling):
    keras.config.set_dtype_policy(policy)
    try:
        model = bert(
            config=tiny.CONFIG,
            vocabulary=tiny.WORDS,
            length=8,
            pooling=pooling,
            weights=None,
        )
    finally:
        keras.config.set_dtype_policy("float32")
    ids = np.concatenate([tiny.IDS, np.zeros((1, 8), int)])
    for output in keras.tree.flatten(model(ids)):
        assert np.isfinite(np.array(output, "float32")).all()


def test_the_contract_and_the_names(random_bert):
    assert random_bert.input_shape == (None, 8) and len(random_bert.inputs) == 1
    contract = modality.contract(random_bert)
    np.testing.assert_array_equal(contract.read(tiny.TEXTS), tiny.IDS)
    assert random_bert.layers[1] is contract
    with_weights = [x.name for x in random_bert.layers if x.weights]
    assert set(with_weights[:4]) == {
        f"embeddings_{x}" for x in ("word", "position", "token_type", "norm")
    }
    assert all(x.startswith("layer_0_") for x in with_weights[4:12])
    assert with_weights[-1] == "layer_1_output_norm"
    # plain: no layer holds another, so that none can be half frozen
    assert not any(x._layers for x in random_bert.layers)


def test_fixed_batch_size(random_bert):
    inputs = keras.Input(batch_shape=(4, 8), dtype="int32")
    model = keras.Model(inputs, random_bert(inputs))
    assert model.output_shape == (4, 8)
    np.testing.assert_allclose(
        model.predict(tiny.IDS, verbose=0), random_bert(tiny.IDS), 0, 1e-6
    )


def test_frozen_is_deterministic(random_bert):
    want = random_bert(tiny.IDS)
    assert np.abs(random_bert(tiny.IDS, training=True) - want).max() > 1e-3
    random_bert.trainable = False
    np.testing.assert_array_equal(random_bert(tiny.IDS, training=True), want)


def _moved(model):
    """Names of the weights that two steps of fit move."""
    before = [x.numpy() for x in model.weights]
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(tiny.IDS, np.ones((4, 2)), epochs=2, verbose=0)
    after = zip(model.weights, before, strict=True)
    return {x.path for x, old in after if not np.array_equal(x.numpy(), old)}


def test_partly_frozen_survives_a_file(tmp_path):
    # large random weights: no gradient is too small to be seen
    encoder = bert(tiny.folder(tmp_path / "folder"), length=8)
    for layer in encoder.layers:
        if layer.name.startswith(("embeddings_", "layer_0_")):
            layer.trainable = False
    inputs = keras.Input((8,), dtype="int32", name="title")
    head = keras.layers.Dense(2, name="head")
    model = keras.Model(inputs, head(encoder(inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(tiny.IDS), model(tiny.IDS))

    moved = _moved(loaded)
    assert moved == _moved(model)
    frozen = [x.path for x in encoder.weights if "layer_1_" not in x.path]
    assert len(frozen) == 5 + 16 and moved.isdisjoint(frozen)
    # a key's bias shifts all scores of a query alike: softmax does not see it
    trained = [
        x.path for x in model.weights if "layer_1_" in x.path or "head" in x.path
    ]
    assert {x for x in trained if "key/bias" not in x} <= moved


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pooling": "max"}, r"`pooling` wants one of \['mean', 'cls', 'pooler', None"),
        ({"weights": "imagenet"}, "`weights` wants one of"),
        ({"length": 11}, "`length` wants at most 10.*Received: length=11"),
        ({"vocabulary": tiny.WORDS + list("xyz")}, "vocab_size. Received: 13 tokens"),
        ({"config": {**tiny.CONFIG, "model_type": "t5"}}, "Received: model_type='t5'"),
        ({"config": {**tiny.CONFIG, "hidden_act": "tanh"}}, "hidden_act='tanh'"),
        (
            {"config": {**tiny.CONFIG, "position_embedding_type": "relative_key"}},
            "position_embedding_type='relative_key'",
        ),
        ({"config": {"hidden_size": 8}}, r"without \['num_hidden_layers', 'num_atten"),
    ],
)
def test_bad_arguments(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        bert(tiny.folder(tmp_path), **{"length": 8, **options})


def test_without_a_checkpoint_all_must_be_given():
    with pytest.raises(ValueError, match="`bert` without `checkpoint` wants"):
        bert(config=tiny.CONFIG, vocabulary=tiny.WORDS)
    with pytest.raises(ValueError, match="vocabulary=None, weights=None"):
        bert(config=tiny.CONFIG, weights=None)
