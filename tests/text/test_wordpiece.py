import random

import numpy as np
import pytest
import tensorflow as tf
import tokenizers

from mmkeras.text.wordpiece import WordPiece, character_table

OPTIONS = [(True, None), (False, None), (True, False), (False, True)]


@pytest.mark.parametrize(("lowercase", "strip_accents"), OPTIONS)
def test_every_character_becomes_what_the_library_makes_of_it(lowercase, strip_accents):
    draw = random.Random(0)
    points = [*range(0x3100), *(draw.randrange(0x3100, 0x110000) for _ in range(9000))]
    texts = [f"x{chr(c)}y {chr(c)}" for c in points if not 0xD800 <= c < 0xE000]
    normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    splitter = tokenizers.pre_tokenizers.BertPreTokenizer()
    want = [
        [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(x))]
        for x in texts
    ]
    got = WordPiece(["[UNK]"], lowercase, strip_accents, 100)._words(tf.constant(texts))
    got = [[word.decode() for word in row] for row in got.to_list()]
    assert [x for x in zip(texts, want, got, strict=True) if x[1] != x[2]] == []


@pytest.mark.parametrize(("lowercase", "strip_accents"), OPTIONS)
def test_pages_that_share_a_row_are_alike_in_the_library(lowercase, strip_accents):
    page, index, _ = character_table(lowercase, strip_accents)
    normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents
    )
    pages, counts = np.unique(page, return_counts=True)
    shared = [i for i in range(len(page)) if counts[page[i]] > 1]
    assert len(shared) > 2000 and counts.max() < 4000 and len(pages) == len(index)
    points = [256 * i + k for i in shared for k in range(256)]
    texts = normalizer.normalize_str("0".join(map(chr, points))).split("0")
    kept = np.array([x == chr(c) for c, x in zip(points, texts, strict=True)])
    gone = np.array([x == "" for x in texts])
    assert (kept | gone).all()
    # row 0 of the table is "stays as it is"
    stays = index[page[np.array(points) // 256], np.array(points) % 256] == 0
    np.testing.assert_array_equal(stays, kept)


def test_longest_match_by_hand():
    words = ["[UNK]", "un", "##aff", "##able", "##a", "unaf", "##f", "a"]
    pieces = WordPiece(words, True, None, 100)
    got = pieces(tf.constant(["unaffable unaff", "Xa a", "", "una"]), 100).to_list()
    # greedy: "unaf" wins over "un", then "##f", "##able"; x is in no token
    assert got == [[5, 6, 3, 5, 6], [0, 7], [], [1, 4]]


def test_limit_counts_pieces():
    pieces = WordPiece(["[UNK]", "a", "##b"], True, None, 100)
    text = tf.constant(["ab ab ab", "a"])
    assert pieces(text, 3).to_list() == [[1, 2, 1], [1]]
    assert pieces(text, 0).to_list() == [[], []]


def test_table_made_inside_a_graph_outlives_it():
    pieces = WordPiece(["[UNK]", "a"], True, None, 100)
    data = tf.data.Dataset.from_tensor_slices(["a", "b a"]).batch(2)
    assert next(iter(data.map(lambda x: pieces(x, 4)))).to_list() == [[1], [0, 1]]
    assert pieces(tf.constant(["a"]), 4).to_list() == [[1]]
