"""Corruptions of texts: how many, which, and that they are nested."""

from collections import Counter

import numpy as np
import pytest

from mmkeras.analysis.noise import text, tokens
from mmkeras.text import TokenIds

LONG = " ".join(f"Word{i}" for i in range(400))
LEVELS = (0.2, 0.4, 0.6, 0.8)


def rng(seed=0):
    return np.random.default_rng(seed)


def near(count, total, rate):
    """Within 4 standard deviations of a binomial."""
    return abs(count - total * rate) <= 4 * np.sqrt(total * rate * (1 - rate))


def edits(a, b):
    """Levenshtein's distance."""
    row = np.arange(len(b) + 1)
    for i, x in enumerate(a, 1):
        swap = row[:-1] + [x != y for y in b]
        best = np.minimum(swap, row[1:] + 1)
        new = [i]
        for value in best:
            new.append(min(value, new[-1] + 1))
        row = np.array(new)
    return int(row[-1])


def test_share_of_typos():
    words = LONG.split()
    letters = sum(map(len, words))
    counts = []
    for level in (0.1, 0.25, 0.5, 1.0):
        typed = text.typos(LONG, level, rng()).split(" ")
        counts.append(sum(map(edits, words, typed)))
        assert len(typed) == 400  # spaces stay
        if level <= 0.25:  # few enough that no two are one edit
            assert near(counts[-1], letters, 0.2 * level)
    assert counts == sorted(counts)
    assert 0.9 * letters * 0.2 < counts[-1] < 1.1 * letters * 0.2


def test_typos_are_nested():
    letters = list("etaoinshrdlu" * 30)
    typed = [
        text.typos(" ".join(letters), x, rng()).split(" ") for x in (0.2, 0.5, 1.0)
    ]
    for few, more in zip(typed, typed[1:], strict=False):
        assert all(a in (x, b) for x, a, b in zip(letters, few, more, strict=True))
        assert few != more


def test_typos_hit_the_key_beside():
    beside = {"s": "ad", "q": "w", "M": "N", "5": "46", "é": ""}
    for letter, keys in beside.items():
        made = Counter(text.typos(letter + "!", 1.0, rng(seed)) for seed in range(600))
        possible = [letter, "", letter * 2, *keys]
        assert set(made) == {f"{x}!" for x in possible}
        assert near(made[letter + "!"], 600, 0.8)
        assert near(made["!"], 600, 0.2 / (3 if keys else 2))


@pytest.mark.parametrize("damage", [text.typos, text.word_drop, text.word_swap])
def test_a_text_stays_present(damage):
    for short in ("a", " a ", "é", "  ", "!", "a b"):
        for seed in range(40):
            assert bool(damage(short, 1.0, rng(seed)).strip()) == bool(short.strip())


def test_dropped_words():
    words, before = LONG.split(), set()
    for level in LEVELS:
        left = text.word_drop(LONG, level, rng()).split()
        assert left == [x for x in words if x in set(left)]  # in order
        gone = set(words) - set(left)
        assert near(len(gone), 400, level)
        assert before <= gone
        before = gone
    assert len(text.word_drop(LONG, 1.0, rng()).split()) == 1


def test_swapped_words():
    words, before = LONG.split(), set()
    for level in LEVELS:
        found = text.word_swap(LONG, level, rng()).split()
        assert sorted(found) == sorted(words)
        moved = {a for a, b in zip(words, found, strict=True) if a != b}
        assert near(len(moved), 400, level)
        assert before <= moved
        before = moved
    found = text.word_swap(LONG, 1.0, rng()).split()
    assert all(a != b for a, b in zip(words, found, strict=True))


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "cup", "##s", "##t", "a", "b"]


@pytest.fixture(scope="module")
def contract():
    return TokenIds(VOCABULARY, length=12)


@pytest.mark.parametrize("name", ["word_drop", "word_swap"])
def test_ids_as_the_contract_reads_the_damaged_string(contract, name):
    sentence = "red cupst a cups b red"
    ids = contract.read_cell(sentence)
    changed = 0
    for seed in range(12):
        for level in (0.3, 0.6, 1.0):
            damage = getattr(tokens, name)
            found = damage(ids, level, rng(seed), contract=contract)
            string = getattr(text, name)(sentence, level, rng(seed))
            np.testing.assert_array_equal(found, contract.read_cell(string))
            changed += string != sentence
    assert changed > 25


def test_ids_without_words_and_full(contract):
    none = np.array([2, 3] + [0] * 10, "int32")
    for damage in (tokens.word_drop, tokens.word_swap):
        np.testing.assert_array_equal(damage(none, 1.0, rng(), contract=contract), none)
        full = contract.read_cell("red " * 30)
        found = damage(full, 0.5, rng(), contract=contract)
        assert (found[0], found[found != 0][-1]) == (2, 3)
