import json
import random
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tokenizers

from mmkeras import modality
from mmkeras.text import TokenIds, embedding_mean, wordpiece_vocabulary
from tests.text.hard import HARD, encode, fuzzed, library

OPTIONS = [(True, None), (False, None), (True, False), (False, True)]
LENGTH = 48
REFERENCE = Path(__file__).parents[1] / "reference/minilm_l6_torch.npz"
NOT_UTF8 = [b"\xff\xfe", b"a\xe2\x28\xa1b", b"\xed\xa0\x80x", b"ab\xf0\x9f"]
NOT_UTF8 += [b"\xc0\x80"]


@pytest.fixture(scope="module")
def words():
    """A vocabulary of some of the hard strings: the rest is unknown to it."""
    return wordpiece_vocabulary(HARD[:26], size=400)


@pytest.fixture
def contract(words):
    return TokenIds(words, LENGTH)


@pytest.mark.parametrize(("lowercase", "strip_accents"), OPTIONS)
def test_ids_are_the_librarys(words, lowercase, strip_accents):
    contract = TokenIds(words, LENGTH, lowercase, strip_accents)
    texts = HARD + fuzzed(2000)
    want = encode(library(words, lowercase, strip_accents), texts, LENGTH)
    known = np.isin(want, [contract.vocabulary.index("[UNK]")], invert=True)
    assert known.mean() > 0.5  # the test sees real pieces, not unknown words alone
    np.testing.assert_array_equal(contract.read(texts), want)
    np.testing.assert_array_equal(contract.read_cells(texts), want)


@pytest.mark.weights
def test_ids_are_the_librarys_on_minilm(minilm):
    texts = HARD + fuzzed(2000, seed=1)
    made = tokenizers.Tokenizer.from_file(f"{minilm}/tokenizer.json")
    want = encode(made, texts, 64)
    contract = TokenIds.from_checkpoint(minilm, 64)
    np.testing.assert_array_equal(contract.read(texts), want)
    np.testing.assert_array_equal(contract.read_cells(texts), want)


@pytest.mark.weights
def test_ids_of_the_reference_sentences(minilm):
    reference = np.load(REFERENCE)
    ids = TokenIds.from_checkpoint(minilm, 64).read(list(reference["sentences"]))
    np.testing.assert_array_equal(ids, reference["input_ids"])


def test_every_way_of_reading_is_the_same(contract):
    texts = HARD + NOT_UTF8
    want = contract.read(texts).numpy()
    assert want.dtype == "int32" and want.shape == (len(texts), LENGTH)
    data = tf.data.Dataset.from_tensor_slices(texts)
    batched = np.concatenate([*data.batch(7).map(contract.read).as_numpy_iterator()])
    single = np.stack([*data.map(contract.read).as_numpy_iterator()])
    np.testing.assert_array_equal(batched, want)
    np.testing.assert_array_equal(single, want)
    np.testing.assert_array_equal(contract.read_cells(texts), want)
    np.testing.assert_array_equal([contract.read_cell(x) for x in texts], want)
    assert data.batch(7).map(contract.read).element_spec.shape[1] == LENGTH


def test_empty_is_padding_and_a_typed_sep_is_text(contract):
    sep, pad = contract.vocabulary.index("[SEP]"), contract.padding_id
    empty, typed, space = contract.read(["", "[SEP]", " "]).numpy()
    assert (empty == pad).all()
    assert (typed == sep).sum() == 1
    assert space[1] == sep and (space[2:] == pad).all()


def test_padding_need_not_be_zero():
    contract = TokenIds(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a"], 5)
    want = [[3, 3, 3, 3, 3], [1, 4, 2, 3, 3]]
    assert contract.read(["", "a"]).numpy().tolist() == want
    assert contract.read_cells(["", "a"]).tolist() == want


def test_bytes_that_are_not_utf8_are_left_out(contract):
    clean = ["", "a(b", "x", "ab", ""]
    got = contract.read(NOT_UTF8).numpy()
    # a text of nothing but bad bytes is there, though no word is left of it
    got[[0, 4]] = contract.padding_id
    np.testing.assert_array_equal(got, contract.read(clean))
    draw = random.Random(0)
    noise = [draw.randbytes(draw.randrange(1, 30)) for _ in range(500)]
    np.testing.assert_array_equal(contract.read(noise), contract.read_cells(noise))
    np.testing.assert_array_equal(
        contract.read_cell("a\ud800b"), contract.read_cell("ab")
    )


@pytest.mark.parametrize("text", ["a b," * 250_000, "x" * 10**6, "\0" * 10**6])
def test_a_megabyte(contract, text):
    np.testing.assert_array_equal(contract.read(text), contract.read_cell(text))


def test_call_is_the_identity(contract):
    ids = contract.read(HARD[:5])
    np.testing.assert_array_equal(contract(ids), ids)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        wide = TokenIds(contract.vocabulary, LENGTH)
        assert wide(np.array([[40001.0]])).numpy() == [[40001]]
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_vocabulary_survives_a_file_inside_another_model(words, tmp_path):
    encoder = embedding_mean(words, LENGTH, units=4, lowercase=False)
    inputs = keras.Input((LENGTH,), dtype="int32", name="title")
    keras.Model(inputs, keras.layers.Dense(2)(encoder(inputs))).save(
        tmp_path / "outer.keras"
    )
    loaded = keras.models.load_model(tmp_path / "outer.keras")
    before = modality.contract(encoder)
    after = modality.contract(loaded)
    assert after.vocabulary == before.vocabulary and after.lowercase is False
    np.testing.assert_array_equal(after.read(HARD), before.read(HARD))


def test_read_leaves_in_a_saved_model(contract, tmp_path):
    module = tf.Module()
    module.tracked = contract.trackables()
    signature = [tf.TensorSpec([None], tf.string)]
    module.read = tf.function(contract.read, input_signature=signature)
    tf.saved_model.save(module, tmp_path / "read")
    loaded = tf.saved_model.load(tmp_path / "read")
    texts = tf.constant(HARD)
    np.testing.assert_array_equal(loaded.read(texts), contract.read(texts))


def test_the_files_of_a_checkpoint(words, tmp_path):
    # a folder of transformers 5: tokenizer.json alone, with truncation and padding
    made = library(words, lowercase=False, strip_accents=True)
    made.enable_truncation(3)
    made.enable_padding(length=7)
    (tmp_path / "five").mkdir()
    made.save(str(tmp_path / "five/tokenizer.json"))
    contract = TokenIds.from_checkpoint(tmp_path / "five", LENGTH)
    assert contract.lowercase is False and contract.strip_accents is True
    np.testing.assert_array_equal(contract.read(HARD), encode(made, HARD, LENGTH))

    # an older one: vocab.txt and settings
    (tmp_path / "four").mkdir()
    (tmp_path / "four/vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    settings = {"do_lower_case": False, "strip_accents": True}
    (tmp_path / "four/tokenizer_config.json").write_text(json.dumps(settings))
    older = TokenIds.from_checkpoint(str(tmp_path / "four"), LENGTH)
    shutil.rmtree(tmp_path / "four")
    assert older.vocabulary == contract.vocabulary
    np.testing.assert_array_equal(older.read(HARD), contract.read(HARD))
    assert TokenIds.from_checkpoint(tmp_path / "five", 9, lowercase=True).lowercase


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x["model"].update(type="BPE"), "model type 'BPE'"),
        (lambda x: x.update(normalizer={"type": "NFC"}), "normalizer type 'NFC'"),
        (lambda x: x["normalizer"].update(clean_text=False), "value of clean_text"),
        (lambda x: x["normalizer"].update(handle_chinese_chars=False), "chinese"),
        (lambda x: x["added_tokens"][0].update(special=False), "added_tokens, "),
    ],
)
def test_tokenizers_that_would_give_other_ids_are_refused(
    words, tmp_path, change, match
):
    path = tmp_path / "tokenizer.json"
    library(words).save(str(path))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=match):
        TokenIds.from_checkpoint(tmp_path, 8)


def test_bad_arguments(words, tmp_path):
    with pytest.raises(ValueError, match=r"2 tokens without \['\[CLS\]', '\[SEP\]'\]"):
        TokenIds(["[PAD]", "[UNK]"], 8)
    with pytest.raises(TypeError, match="from_checkpoint"):
        TokenIds("some/folder", 8)
    for length in (1, 2.5, None):
        with pytest.raises(ValueError, match=f"Received: length={length}"):
            TokenIds(words, length)
    with pytest.raises(ValueError, match="tokenizer.json or a vocab.txt.*no file"):
        TokenIds.from_checkpoint(tmp_path, 8)
