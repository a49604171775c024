"""CLIP's byte pairs in the graph against keras_hub's tokenizer, an independent one."""

import json
import unicodedata

import keras_hub
import numpy as np
import pytest
import tokenizers

from mmkeras.testing import check_modality_input
from mmkeras.text import BytePairIds
from mmkeras.text.byte_pairs import END, START

SENTENCES = [
    "A photo of a cat.",
    "it's the cats' 3rd photograph, isn't it? They'll say: we've 1234 cats!!!",
    "Ein Bär läuft über die Straße",
    "ΟΔΟΣ ΑΣ istanbul İSTANBUL ǅ",
    "日本語 と emoji 🐈‍⬛🚀 text",
    "tabs\tand\u00a0spaces\u2003\nlines \u0085 x",
    "''s 'S 'sss I'M you'D ½ ² ৪ a1b2",
    "_under-score_ $5.00 (brackets) [x] {y} <|start| <b>",
    "aaaaaaaaaaaaaaaaaaa bbbbb ababababab",
    "ა ᎠᏰ 𐐀𐐨 ß ẞ \ufffd",
]


def trained():
    """Made as OpenAI's: bytes, bytes at a word's end, merges, special tokens."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=800, end_of_word_suffix="</w>", show_progress=False
    )
    library.train_from_iterator([x.lower() for x in SENTENCES * 2], trainer)
    merges = json.loads(library.to_str())["model"]["merges"]
    merges = [" ".join(x) for x in merges]
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(x + "</w>" for x in letters)]
    for merge in merges:
        word = merge.replace(" ", "")
        if word not in words:
            words.append(word)
    return [*words, START, END], merges


@pytest.fixture(scope="module")
def pair():
    """Ours, and keras_hub's of the same vocabulary."""
    words, merges = trained()
    assert len(merges) > 50
    theirs = keras_hub.models.CLIPTokenizer(
        {word: i for i, word in enumerate(words)}, merges
    )
    return BytePairIds.from_tokenizer(theirs, 40), theirs


def by_keras_hub(theirs, texts, length):
    begin, end = (theirs.token_to_id(x) for x in (START, END))
    out = np.zeros((len(texts), length), "int32")
    for row, text in zip(out, texts, strict=True):
        ids = [begin, *np.asarray(theirs(text))[: length - 2], end]
        row[: len(ids)] = ids
    return out


def test_the_ids_of_keras_hub(pair):
    ours, theirs = pair
    wanted = by_keras_hub(theirs, SENTENCES, 40)
    np.testing.assert_array_equal(ours.read(SENTENCES), wanted)
    assert len(np.unique(wanted)) > 100


def test_fuzzed(pair):
    ours, theirs = pair
    rng = np.random.default_rng(0)
    letters = sorted(set("".join(SENTENCES)) | set("abc '.,1sS\t"))
    # composed letters alone: see the docstring
    texts = ["".join(rng.choice(letters, rng.integers(1, 30))) for _ in range(400)]
    texts = [x for x in texts if unicodedata.is_normalized("NFC", x)]
    assert len(texts) > 300
    wanted = by_keras_hub(theirs, texts, 40)
    np.testing.assert_array_equal(ours.read(texts), wanted)


def test_laws(pair):
    check_modality_input(pair[0], ["A cat.", "ein Bär", "x" * 1000])


def test_too_long_and_typed_specials(pair):
    ours, theirs = pair
    short = BytePairIds(ours.vocabulary, ours.merges, 5)
    long = short.read(["a cat and another cat"]).numpy()[0]
    whole = ours.read(["a cat and another cat"]).numpy()[0]
    np.testing.assert_array_equal(long, [*whole[:4], whole[whole > 0][-1]])
    typed = ours.read([f"a {END} b"]).numpy()[0]
    assert list(typed).count(len(ours.vocabulary) - 1) == 1  # its own end alone
    invalid = ours.read([b"a \xff b"]).numpy()
    np.testing.assert_array_equal(invalid, ours.read(["a \ufffd b"]))


def test_what_is_refused(pair):
    words, merges = pair[0].vocabulary, pair[0].merges
    with pytest.raises(ValueError, match="without .'<|startoftext|>'"):
        BytePairIds([x for x in words if x != START], merges, 8)
    with pytest.raises(ValueError, match="'<|endoftext|>' last"):
        BytePairIds([END, *words[:-1]], merges, 8)
    with pytest.raises(ValueError, match="integer >= 2"):
        BytePairIds(words, merges, 1)
    with pytest.raises(ValueError, match="merge 'q zz'"):
        BytePairIds(words, [*merges, "q zz"], 8).read(["a"])
