"""TF-IDF against Keras' TextVectorization and scikit-learn, in models and exports."""

import keras
import numpy as np
import pytest

import mmkeras as mm

SENTENCES = ["a red cup on a table", "a blue hat", "the red hat", "a cup, a cup!"]


def dense(encoder, texts):
    """Features by word: dict of arrays, without the special tokens."""
    contract = mm.modality.contract(encoder)
    found = encoder(contract.read(texts)).numpy()
    assert not found[:, :4].any()
    return dict(zip(contract.vocabulary[4:], found[:, 4:].T, strict=True))


def test_numbers_are_text_vectorizations():
    encoder = mm.classic.tfidf(SENTENCES, normalize=False)
    found = dense(encoder, [*SENTENCES, "green cup", ""])
    layer = keras.layers.TextVectorization(output_mode="tf_idf")
    layer.adapt(SENTENCES)
    wanted = layer(np.array([*SENTENCES, "green cup", ""])).numpy()
    vocabulary = layer.get_vocabulary()
    assert set(vocabulary) == {*found, "[UNK]"}
    for i, word in enumerate(vocabulary[1:], 1):
        np.testing.assert_allclose(found[word], wanted[:, i], rtol=1e-6)


def test_sublinear_counts_at_length_one_are_scikit_learns():
    from sklearn.feature_extraction.text import TfidfVectorizer

    found = dense(mm.classic.tfidf(SENTENCES, sublinear=True), SENTENCES)
    made = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+", norm=None)
    counts = made.fit_transform(SENTENCES).toarray() / made.idf_
    words = made.get_feature_names_out()
    # theirs is log((1 + N) / (1 + n)) + 1
    there = np.array([[word in x for word in words] for x in map(_words, SENTENCES)])
    wanted = counts * np.log(1 + len(SENTENCES) / (1 + there.sum(0)))
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    for word, column in zip(words, wanted.T, strict=True):
        np.testing.assert_allclose(found[word], column, rtol=1e-5)


def _words(text):
    return "".join(x if x.isalpha() else " " for x in text).split()


def test_laws_file_and_missing_texts(tmp_path):
    encoder = mm.classic.tfidf([*SENTENCES, "", None, float("nan")])
    mm.testing.check_encoder(encoder)
    found = dense(encoder, ["a red hat", ""])
    assert not np.stack(list(found.values()))[:, 1].any()
    again = mm.classic.tfidf(SENTENCES)
    np.testing.assert_array_equal(
        again.get_layer("tfidf").idf, encoder.get_layer("tfidf").idf
    )


def test_word_pieces_in_place_of_words():
    pieces = mm.text.wordpiece_vocabulary(SENTENCES, size=60)
    encoder = mm.classic.tfidf(SENTENCES, vocabulary=pieces, normalize=False)
    contract = mm.modality.contract(encoder)
    ids = contract.read_cells(SENTENCES)
    counts = np.stack([np.bincount(x, minlength=len(pieces)) for x in ids])
    counts[:, [pieces.index(x) for x in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")]] = 0
    wanted = counts * np.log(1 + 4 / (1 + (counts > 0).sum(0)))
    np.testing.assert_allclose(encoder(ids), wanted, rtol=1e-5)


def test_what_is_refused():
    with pytest.raises(ValueError, match="at least one word"):
        mm.classic.tfidf(["", "...", None])
    with pytest.raises(ValueError, match="more than the 4 special"):
        mm.classic.tfidf(SENTENCES, size=4)
    with pytest.raises(ValueError, match="2 texts without one"):
        mm.classic.TfIdf(4).adapt([[0, 0], [0, 0]])
