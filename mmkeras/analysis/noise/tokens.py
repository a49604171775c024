"""Corruptions of texts as ids, where their strings are not known.

Those of `noise.text`, on the words that a `TokenIds` contract made: a word is a token
and the "##" pieces behind it, punctuation is a word of its own. Of a text that was too
long the part that was cut off stays unseen. Typos want strings.
"""

import numpy as np

from mmkeras.analysis.noise.level import corruption
from mmkeras.analysis.noise.text import dropped, swapped


@corruption
def word_drop(ids, level, rng, contract):
    """As `noise.text.word_drop`; the words behind move up.

    Example:
    >>> from mmkeras.analysis.noise import tokens
    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cup", "##s"]
    >>> contract = mm.text.TokenIds(words, length=8)
    >>> ids = contract.read_cell("a red cups")
    >>> tokens.word_drop(ids, 0.5, np.random.default_rng(0), contract=contract)
    array([2, 4, 3, 0, 0, 0, 0, 0], dtype=int32)

    Args:
        ids: integer array `(length,)`.
        level: Float in [0, 1].
        rng: `np.random.Generator`.
        contract: `mmkeras.text.TokenIds`.
    """
    return _with_words(ids, dropped(_words(ids, contract), level, rng), contract)


@corruption
def word_swap(ids, level, rng, contract):
    """As `noise.text.word_swap`, arguments as `word_drop`."""
    return _with_words(ids, swapped(_words(ids, contract), level, rng), contract)


def _words(ids, contract):
    """A text's words, each a list of ids."""
    edges = [contract.vocabulary.index(x) for x in ("[PAD]", "[CLS]", "[SEP]")]
    words = []
    for token in ids[~np.isin(ids, edges)].tolist():
        if words and contract.vocabulary[token].startswith("##"):
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _with_words(ids, words, contract):
    """`ids` with other words between [CLS] and [SEP]."""
    begin, end = (contract.vocabulary.index(x) for x in ("[CLS]", "[SEP]"))
    made = [begin, *(token for word in words for token in word), end]
    changed = np.full_like(ids, contract.padding_id)
    changed[: len(made)] = made
    return changed
