"""Corruptions of texts as strings.

Each takes `(text, level, rng)`, level in [0, 1], and gives a text that keeps at least
one character or word: what is present stays present. Level 0 is the identity. What is
chosen at a level is chosen at every higher one too, with the same `rng` seed.
"""

import numpy as np

from mmkeras.analysis.noise.level import corruption

TYPOS = 0.2  # of the letters and digits, at level 1
_KEYS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")


@corruption
def typos(text, level, rng):
    """Mistypes each letter and digit with probability 0.2 * level.

    Each typo is one edit, as likely as the others: the key beside it (of a US
    keyboard; other scripts have the two below alone), no key, or the key twice.

    Example:
    >>> from mmkeras.analysis.noise import text
    >>> text.typos("a red stamp with a ship", 1.0, np.random.default_rng(3))
    ' reed stamp with s sjip'
    """
    draws = rng.random((len(text), 3))
    typed = [
        _mistyped(letter, *rest) if letter.isalnum() and hit < TYPOS * level else letter
        for letter, (hit, *rest) in zip(text, draws, strict=True)
    ]
    return "".join(typed) if "".join(typed).strip() else text


@corruption
def word_drop(text, level, rng):
    """Drops each word with probability `level`, but for the last one left.

    Of n words level * n - level^n go on average; all but one at level 1. Words are what
    stands between spaces.

    Example:
    >>> from mmkeras.analysis.noise import text
    >>> text.word_drop("a red stamp with a ship", 0.5, np.random.default_rng(0))
    'a a ship'
    """
    words = text.split()
    return " ".join(dropped(words, level, rng)) if words else text


@corruption
def word_swap(text, level, rng):
    """Lets words change places, each with probability `level`; all do at level 1.

    The chosen ones move on to the place of the next chosen one, in random order: where
    there are two or more, none of them stays.

    Example:
    >>> from mmkeras.analysis.noise import text
    >>> text.word_swap("a red stamp with a ship", 0.5, np.random.default_rng(0))
    'a stamp with red a ship'
    """
    words = text.split()
    return " ".join(swapped(words, level, rng)) if words else text


def dropped(words, level, rng):
    """The words that `word_drop` leaves of a list, in order."""
    draws = rng.random(len(words))
    kept = (draws >= level) | (draws == draws.max(initial=0.0))
    return [x for x, stays in zip(words, kept, strict=True) if stays]


def swapped(words, level, rng):
    """A list of words in the order of `word_swap`."""
    draws, order = rng.random(len(words)), rng.permutation(len(words))
    chosen = order[draws[order] < level]
    moved = list(words)
    for place, source in zip(chosen, np.roll(chosen, 1), strict=True):
        moved[place] = words[source]
    return moved


def _mistyped(letter, kind, which):
    beside = _beside(letter)
    slip = int(kind * (3 if beside else 2))
    return ("", letter * 2, beside and beside[int(which * len(beside))])[slip]


def _beside(letter):
    """The keys left and right of a letter or digit, in its case."""
    for row in _KEYS:
        place = row.find(letter.lower())
        if place >= 0:
            keys = row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
            return keys.upper() if letter.isupper() else keys
    return ""
