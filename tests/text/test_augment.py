"""Word dropout and masking: counted in Python, word by word."""

import keras
import numpy as np
import pytest

import mmkeras as mm
from mmkeras import testing, text

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *"abcdefgh", "##s", "##ing", "##"]
ID = {word: i for i, word in enumerate(WORDS)}
LAYERS = {"dropout": text.WordDropout, "masking": text.TokenMasking}
KEPT = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")


def ids(*sentences, length=16):
    rows = [[ID[x] for x in s.split()] for s in sentences]
    return np.array([row + [0] * (length - len(row)) for row in rows], "int32")


def words(row, whole=True):
    """A row's words as tuples of tokens, special ones apart."""
    found, open_ = [], False
    for token in (WORDS[i] for i in row):
        if token in KEPT:
            open_ = False
        elif whole and open_ and token.startswith("##") and token != "##":
            found[-1] += (token,)
        else:
            found.append((token,))
            open_ = True
    return found


HARD = ids(
    "[CLS] a ##s ##ing b c ##s d [UNK] e [SEP]",
    "[CLS] a ##s b [SEP] ##s c ##ing [SEP]",  # two texts, mixed and cut
    "[CLS] f ##ing [SEP]",
    "[CLS] [SEP]",
    "",
    "[CLS] a ## b [MASK] c d e f g h a b c [SEP]",
)


def run(layer, x=HARD):
    return np.asarray(layer(x, training=True))


@pytest.mark.parametrize("name", list(LAYERS))
def test_acts_in_training_while_trainable_and_only_then(name):
    layer = LAYERS[name](0.5, WORDS, seed=1)
    assert (run(layer) != HARD).any() and run(layer).dtype == "int32"
    np.testing.assert_array_equal(layer(HARD), HARD)
    np.testing.assert_array_equal(layer(HARD, training=False), HARD)
    layer.trainable = False
    np.testing.assert_array_equal(run(layer), HARD)
    np.testing.assert_array_equal(run(LAYERS[name](0.0, WORDS)), HARD)
    # where it rests it needs no vocabulary
    np.testing.assert_array_equal(LAYERS[name](0.5)(HARD), HARD)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_dropout_leaves_whole_words_in_order_and_special_tokens(rate, whole):
    layer = text.WordDropout(rate, WORDS, whole_words=whole, seed=0)
    for _ in range(20):
        for before, after in zip(HARD, run(layer), strict=True):
            tokens = after[after != 0]
            assert not after[len(tokens) :].any()  # compact
            had, has = words(before, whole), words(after, whole)
            rest = iter(had)
            assert whole is False or all(word in rest for word in has)
            rest = iter(before.tolist())
            assert all(token in rest for token in tokens.tolist())
            special = [i for i in before if WORDS[i] in KEPT[1:]]
            assert [i for i in after if WORDS[i] in KEPT[1:]] == special
            assert len(has) >= min(len(had), 1)  # the last word stays
            assert rate < 1 or len(has) == min(len(had), 1)


@pytest.mark.parametrize("mask", [None, ID["h"]])
def test_masking_puts_one_id_over_whole_words(mask):
    layer = text.TokenMasking(0.5, WORDS, mask_id=mask, seed=0)
    wanted = ID["[MASK]"] if mask is None else mask
    for _ in range(20):
        for before, after in zip(HARD, run(layer), strict=True):
            changed = before != after
            assert (after[changed] == wanted).all()
            assert not any(WORDS[i] in KEPT for i in before[changed])
            ends = np.cumsum([len(x) for x in words(before)])
            content = np.array([WORDS[i] not in KEPT for i in before])
            parts = np.split(after[content] != before[content], ends[:-1])
            tokens = np.split(before[content], ends[:-1])
            for part, token in zip(parts, tokens, strict=True):
                # the mask's own id may stand there already
                part = part[token != wanted]
                assert part.all() or not part.any()
            assert len(words(before)) == 0 or not changed[content].all()
    no_mask = [x for x in WORDS if x != "[MASK]"]
    y = run(text.TokenMasking(1.0, no_mask), np.array([[2, 4, 5, 3]]))
    assert (y == 1).sum() == 1  # [UNK]


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize(("count", "rate"), [(1, 0.5), (2, 0.5), (5, 0.2), (12, 0.3)])
def test_the_share_is_binomial_but_for_the_last_word(name, count, rate):
    letters = "abcdefgh"
    sentence = " ".join(letters[i % 8] + " ##s" * (i % 2) for i in range(count))
    rows = 4000
    x = np.repeat(ids(f"[CLS] {sentence} [SEP]", length=24), rows, axis=0)
    y = run(LAYERS[name](rate, WORDS, seed=5), x)
    left = np.array([len(words(row)) for row in y])
    n = np.arange(count + 1)
    ways = np.array([np.prod((count - np.arange(k)) / (np.arange(k) + 1)) for k in n])
    wanted = ways * rate**n * (1 - rate) ** (count - n)  # of k words gone
    wanted[count - 1] += wanted[count]
    wanted[count] = 0
    found = np.bincount(count - left, minlength=count + 1) / rows
    # five deviations of a share of 4,000 rows
    assert (np.abs(found - wanted) < 5 * np.sqrt(wanted / rows) + 1e-9).all()
    gone = (x != y) if name == "masking" else None
    if gone is not None and count > 1:  # each word alike, and rows apart
        share = gone[:, 1 : 2 * count // 2].mean(0)
        expected = rate - rate**count / count
        assert np.abs(share - expected).max() < 5 * np.sqrt(0.25 / rows)


@pytest.mark.parametrize("name", list(LAYERS))
def test_same_numbers_in_a_graph_after_its_config_and_under_xla(name):
    import tensorflow as tf

    layer = LAYERS[name](0.4, WORDS, seed=3)
    twin, other = (
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(x))
        for x in (layer, LAYERS[name](0.4, WORDS, seed=4))
    )
    assert twin.get_config() == layer.get_config()
    graphed = LAYERS[name](0.4, WORDS, seed=3)
    graphed.build(HARD.shape)
    graph = tf.function(lambda x: graphed(x, training=True))
    seen = []
    for _ in range(3):
        y = run(layer)
        np.testing.assert_array_equal(run(twin), y)
        np.testing.assert_array_equal(graph(HARD), y)
        seen.append(y.tobytes())
    assert len(set(seen)) == 3 and run(other).tobytes() not in seen
    # XLA draws other numbers: the same ones given, it does the same
    draws = np.random.default_rng(0).random(HARD.shape).astype("float32")
    for same in (layer, graphed):
        same._uniform = lambda shape: keras.ops.convert_to_tensor(draws)
    jitted = tf.function(lambda x: graphed(x, training=True), jit_compile=True)
    np.testing.assert_array_equal(jitted(HARD), run(layer))
    assert (run(layer) != HARD).any()


CONFIG = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
CONFIG["intermediate_size"] = 8
ENCODERS = {
    "mean": lambda **x: text.embedding_mean(WORDS, 16, units=4, **x),
    "rnn": lambda **x: text.rnn(WORDS, 16, units=4, embedding=4, **x),
    "bert": lambda **x: text.bert(
        None, 16, config=CONFIG, vocabulary=WORDS, weights=None, **x
    ),
}


@pytest.mark.parametrize("name", list(ENCODERS))
def test_encoders_take_it(name):
    layers = [text.WordDropout(0.3, seed=1), text.TokenMasking(0.3, seed=2)]
    encoder, plain = ENCODERS[name](augment=layers), ENCODERS[name]()
    names = [type(x).__name__ for x in encoder.layers]
    first = names.index("TokenIds")
    assert names[first + 1 : first + 3] == ["WordDropout", "TokenMasking"]
    assert not any(x in encoder.layers for x in layers)  # its own copies
    own = {x.path: x for x in encoder.weights if "seed" not in x.path}
    rest = [x for x in plain.weights if "seed" not in x.path]
    for weight, other in zip(own.values(), rest, strict=True):
        other.assign(weight)
    np.testing.assert_array_equal(encoder(HARD), plain(HARD))
    assert (np.asarray(encoder(HARD, training=True)) != np.asarray(plain(HARD))).any()
    if name == "mean":
        testing.check_encoder(encoder)


def test_a_word_that_is_dropped_is_not_seen():
    """The mean over what is left, against numpy on the layer's own draw."""
    encoder = ENCODERS["mean"](augment=text.WordDropout(0.5, seed=7))
    table = encoder.get_layer("embeddings_word").get_weights()[0]
    left = run(text.WordDropout(0.5, WORDS, seed=7))
    wanted = [
        table[row[row != 0]].mean(0) if row.any() else np.zeros(4) for row in left
    ]
    found = encoder(HARD, training=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: text.WordDropout(1.5), ValueError, "`rate` wants .*Received: rate"),
        (lambda: text.WordDropout(0.1, "abc"), TypeError, "`vocabulary` .*'abc'"),
        (lambda: text.WordDropout(0.1, ["a"]), ValueError, "`vocabulary` wants the sp"),
        (lambda: run(text.WordDropout(0.1)), ValueError, "wants a `vocabulary`, to"),
        (lambda: text.TokenMasking(0.1, WORDS, mask_id=99), ValueError, "`mask_id` wa"),
        (
            lambda: text.TokenMasking(0.1, ["[PAD]", "[CLS]", "[SEP]", "a"]),
            ValueError,
            "`mask_id` wants a token's number, 0 to 3",
        ),
        (
            lambda: ENCODERS["rnn"](augment=mm.audio.Gain(3.0)),
            ValueError,
            "`augment` wants `WordDropout` or .*Received: <Gain",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
