"""Augmentation of texts: layers on token ids that act in training alone.

As all of `mmkeras.augmentation` they rest at inference and while not trainable. They
choose whole words, never [CLS], [SEP], [PAD] or [MASK], and a text keeps at least one
word: what is present stays present. What word dropout and masking do to two texts that
were mixed by `mmkeras.data.mix` they do to each word of both.
"""

import keras
import numpy as np
from keras import ops

from mmkeras.augmentation import Augmentation, listed

_PROTECTED = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
#: What the vocabulary says of each token: special, the start of a word, or "##...".
_SPECIAL, _START, _CONTINUED = range(3)


class TokenAugmentation(Augmentation):
    """Base class of those that take ids `(batch, length)`: chooses words.

    Each word is chosen with probability `rate`, a word being a token and the "##"
    pieces behind it; the last one that would be left is not.

    Args:
        rate: Float in [0, 1], probability that a word is chosen.
        vocabulary: sequence of tokens, token number i at place i; the text encoders
            fill in their own where it is None.
        whole_words: Boolean, False to choose each piece for itself.
        seed: optional integer.
    """

    def __init__(
        self, rate=0.1, vocabulary=None, whole_words=True, seed=None, **kwargs
    ):
        super().__init__(rate, seed, **{**kwargs, "autocast": False})
        if isinstance(vocabulary, str | bytes):
            raise TypeError(
                f"`vocabulary` wants a list of tokens. Received: {vocabulary!r}"
            )
        self.vocabulary = None if vocabulary is None else tuple(vocabulary)
        self.whole_words = whole_words
        if vocabulary is not None:
            self._learn()

    def _learn(self):
        missing = [x for x in _PROTECTED[:3] if x not in self.vocabulary]
        if missing:
            raise ValueError(
                f"`vocabulary` wants the special tokens {list(_PROTECTED[:3])}. "
                f"Received: {len(self.vocabulary)} tokens without {missing}."
            )
        self.padding_id = self.vocabulary.index("[PAD]")
        self._kinds = np.array([self._kind(x) for x in self.vocabulary], "int32")

    def _kind(self, token):
        if token in _PROTECTED:
            return _SPECIAL
        continued = self.whole_words and token.startswith("##") and len(token) > 2
        return _CONTINUED if continued else _START

    def with_vocabulary(self, vocabulary):
        """A copy of the layer; it knows `vocabulary` where it knew none."""
        config = self.get_config()
        return type(self).from_config(
            {**config, "vocabulary": config["vocabulary"] or list(vocabulary)}
        )

    def call(self, ids, training=False):
        ids = ops.cast(ids, "int32")
        if self._rests(training):
            return ids
        if self.vocabulary is None:
            raise ValueError(
                f"`{type(self).__name__}` wants a `vocabulary`, to tell words from "
                f"special tokens. Received: None. Give it one, or the layer to the "
                f"`augment` of a text encoder, which fills in its own."
            )
        return self.augment(ids, self._chosen(ids))

    def augment(self, ids, chosen):
        """The ids without what is chosen.

        Args:
            ids: int32 tensor `(batch, length)`.
            chosen: Boolean tensor `(batch, length)`.
        """
        raise NotImplementedError(f"{type(self).__name__} must write `augment`.")

    def _chosen(self, ids):
        kind = ops.take(ops.convert_to_tensor(self._kinds, "int32"), ids, axis=0)
        content = kind != _SPECIAL
        # a piece behind [CLS] or [SEP] starts a word, whatever it looks like
        before = ops.pad(content[:, :-1], ((0, 0), (1, 0)), constant_values=False)
        start = (kind == _START) | (content & ~before)
        word = ops.maximum(ops.cumsum(ops.cast(start, "int32"), axis=1) - 1, 0)
        # draw number i is that of word i; the highest of a text's words is kept
        draws = self._uniform(ops.shape(ids))
        draw = ops.take_along_axis(draws, word, axis=1)
        best = ops.argmax(ops.where(content, draw, -1.0), axis=1)[:, None]
        best = ops.take_along_axis(word, ops.cast(best, "int32"), axis=1)
        return content & (draw < self.rate) & (word != best)

    def compute_output_spec(self, ids, training=False):
        return keras.KerasTensor(ids.shape, "int32")

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary": self.vocabulary and list(self.vocabulary),
            "whole_words": self.whole_words,
        }


@keras.saving.register_keras_serializable("mmkeras")
class WordDropout(TokenAugmentation):
    """Deletes words of a text in training; those behind move up, padding fills the end.

    Each word goes with probability `rate`, but for the last one left: of n words
    rate n - rate^n go on average.

    Example:
    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "cup", "##s"]
    >>> layer = mmkeras.text.WordDropout(0.5, words, seed=1)
    >>> layer(np.array([[2, 4, 5, 6, 7, 3, 0]]), training=True).numpy()
    array([[2, 4, 6, 7, 3, 0, 0]], dtype=int32)

    Args:
        rate: Float in [0, 1], probability that a word goes.
        vocabulary: sequence of tokens; the text encoders fill in their own.
        whole_words: Boolean, False to drop each piece of a word for itself.
        seed: optional integer.

    Call arguments:
        ids: integer tensor `(batch, length)`, padding at the end.

    Output shape: `(batch, length)`, int32.

    Raises:
        ValueError: `rate` is out of range, no vocabulary, or one without [CLS], [SEP]
            and [PAD].
        TypeError: `vocabulary` is a string.

    Reference:
        Iyyer et al. 2015 (deep averaging networks), ACL P15-1162. Departs: a text
        keeps a word.
    """

    def augment(self, ids, chosen):
        length = ids.shape[1]
        place = ops.arange(length, dtype="int32")[None]
        order = ops.argsort(ops.where(chosen, place + length, place), axis=1)
        kept = ops.where(chosen, self.padding_id, ids)
        return ops.take_along_axis(kept, ops.cast(order, "int32"), axis=1)


@keras.saving.register_keras_serializable("mmkeras")
class TokenMasking(TokenAugmentation):
    """Puts [MASK] in the place of words in training; nothing moves.

    Each word is masked with probability `rate`, all its pieces together, but for the
    last one left: of n words rate n - rate^n are masked on average.

    Example:
    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cup", "##s"]
    >>> layer = mmkeras.text.TokenMasking(0.5, words, seed=1)
    >>> layer(np.array([[2, 5, 6, 7, 3, 0]]), training=True).numpy()
    array([[2, 5, 4, 4, 3, 0]], dtype=int32)

    Args:
        rate: Float in [0, 1], probability that a word is masked.
        vocabulary: sequence of tokens; the text encoders fill in their own.
        whole_words: Boolean, False to mask each piece of a word for itself.
        mask_id: Integer; default: that of [MASK], or of [UNK] where there is none.
        seed: optional integer.

    Call arguments:
        ids: integer tensor `(batch, length)`, padding at the end.

    Output shape: `(batch, length)`, int32.

    Raises:
        ValueError: as `WordDropout`, or a vocabulary without [MASK] and [UNK].
        TypeError: `vocabulary` is a string.

    Reference:
        Devlin et al. 2018, arXiv:1810.04805. Departs: whole words, always masked,
        and nothing asks what they were.
    """

    def __init__(
        self,
        rate=0.1,
        vocabulary=None,
        whole_words=True,
        mask_id=None,
        seed=None,
        **kwargs,
    ):
        self.mask_id = mask_id
        super().__init__(rate, vocabulary, whole_words, seed, **kwargs)

    def _learn(self):
        super()._learn()
        if self.mask_id is not None and 0 <= self.mask_id < len(self.vocabulary):
            self._mask = self.mask_id
            return
        found = [x for x in ("[MASK]", "[UNK]") if x in self.vocabulary]
        if self.mask_id is not None or not found:
            raise ValueError(
                f"`mask_id` wants a token's number, 0 to {len(self.vocabulary) - 1}; "
                f"None is that of [MASK] or [UNK]. Received: mask_id={self.mask_id}"
            )
        self._mask = self.vocabulary.index(found[0])

    def augment(self, ids, chosen):
        return ops.where(chosen, self._mask, ids)

    def get_config(self):
        return {**super().get_config(), "mask_id": self.mask_id}


def augmented(ids, augment, vocabulary):
    """`ids` behind copies of the layers in `augment`, which learn the vocabulary.

    Args:
        ids: `KerasTensor` `(batch, length)`.
        augment: None, a layer, or a list of them.
        vocabulary: sequence of tokens.
    """
    for layer in listed(augment):
        if not isinstance(layer, TokenAugmentation):
            raise ValueError(
                f"`augment` wants `WordDropout` or `TokenMasking` of mmkeras.text, or "
                f"a layer of your own derived from "
                f"`mmkeras.text.augment.TokenAugmentation`. Received: {layer!r}"
            )
        ids = layer.with_vocabulary(vocabulary)(ids)
    return ids
