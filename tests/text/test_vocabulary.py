import pytest

from mmkeras.text import TokenIds, wordpiece_vocabulary

SENTENCES = ["a red cup stands on the table", "two blue cups, one Café"] * 5


def test_learns_whole_words_and_is_repeatable():
    words = wordpiece_vocabulary(SENTENCES, size=200)
    assert words == wordpiece_vocabulary(iter(SENTENCES), size=200)
    assert words[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    assert len(set(words)) == len(words) <= 200
    assert {"table", "cafe", ","} <= set(words)


def test_every_sentence_it_learned_from_is_known():
    # so small that the alphabet alone is left
    words = wordpiece_vocabulary(SENTENCES, size=10)
    ids = TokenIds(words, 64).read(SENTENCES).numpy()
    assert not (ids == words.index("[UNK]")).any()


def test_case_and_accents_stay_when_asked():
    words = wordpiece_vocabulary(SENTENCES, lowercase=False)
    assert "Café" in words


@pytest.mark.parametrize("sentences", [[], [""], ["  "]])
def test_no_words(sentences):
    with pytest.raises(ValueError, match="`sentences` wants strings with at least"):
        wordpiece_vocabulary(sentences)
