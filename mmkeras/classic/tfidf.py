"""TF-IDF: a text as the words it has, rare ones counting more."""

from collections import Counter

import keras
import numpy as np
from keras import ops

from mmkeras.modality import tensor_input
from mmkeras.text.token_ids import TokenIds
from mmkeras.text.vocabulary import SPECIAL
from mmkeras.text.wordpiece import normalizer


def tfidf(
    sentences,
    size=2000,
    length=64,
    sublinear=False,
    normalize=True,
    vocabulary=None,
    name="tfidf",
    **options,
):
    """An encoder of texts to TF-IDF: nothing to train, all taken from `sentences`.

    It reads the same ids as the deep encoders, in the graph, and so is exported as
    they are. The numbers are those of `keras.layers.TextVectorization` with
    `output_mode="tf_idf"` (which takes strings, and so cannot stand in a TFLite file).

    Example:
    >>> encoder = mmkeras.classic.tfidf(["a red cup", "a blue hat", "a red hat"])
    >>> words = encoder.get_layer("token_ids")
    >>> words.vocabulary[4:]
    ('a', 'hat', 'red', 'blue', 'cup')
    >>> encoder(words.read(["a blue hat"]))[0, 4:].numpy().round(2)
    array([0.44, 0.54, 0.  , 0.72, 0.  ], dtype=float32)

    Args:
        sentences: list of strings, the training rows; "" and missing ones count for
            nothing.
        size: Integer, tokens at most: the most frequent words.
        length: Integer, ids a text; what is beyond is not read.
        sublinear: Boolean, 1 + log(count) in place of the count.
        normalize: Boolean, whether features have length 1.
        vocabulary: optional sequence of tokens in place of the words of `sentences`,
            such as `mmkeras.text.wordpiece_vocabulary` gives.
        name: String.
        **options: further arguments of `TokenIds`.

    Returns:
        `keras.Model`, int32 ids `(batch, length)` to a feature as wide as the
        vocabulary; column i belongs to token i. That of an absent text is zeros.

    Raises:
        ValueError: no sentence has a word.

    Reference:
        Spärck Jones, 1972, https://doi.org/10.1108/eb026526.
    """
    sentences = [x for x in sentences if isinstance(x, str) and x]
    if vocabulary is None:
        casing = {x: options[x] for x in ("lowercase", "strip_accents") if x in options}
        vocabulary = word_vocabulary(sentences, size, **casing)
    contract = TokenIds(vocabulary, length, name="token_ids", **options)
    places = contract.vocabulary
    ignored = [i for i, x in enumerate(places) if x in (*SPECIAL, "[MASK]", "")]
    weigh = TfIdf(len(places), ignored, sublinear, normalize, name="tfidf")
    weigh.adapt(contract.read_cells(sentences))
    inputs = tensor_input(contract, "text")
    return keras.Model(inputs, weigh(contract(inputs)), name=name)


def word_vocabulary(sentences, size=2000, lowercase=True, strip_accents=None):
    """The most frequent whole words, as a vocabulary of `TokenIds`.

    Words are split as BERT's are; punctuation is none. What is not in the vocabulary
    is read as [UNK].

    Example:
    >>> mmkeras.classic.word_vocabulary(["A red cup.", "a red hat"], size=6)
    ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'red']

    Args:
        sentences: iterable of strings.
        size: Integer, tokens at most, the four special ones among them.
        lowercase: Boolean, the same as `TokenIds` gets.
        strip_accents: Boolean, or None for the same as `lowercase`.

    Returns:
        List of strings: special tokens, then words, frequent ones first.

    Raises:
        ValueError: no sentence has a word, or `size` leaves no room for one.
    """
    from tokenizers import pre_tokenizers

    if size <= len(SPECIAL):
        raise ValueError(
            f"`size` wants more than the {len(SPECIAL)} special tokens. Received: "
            f"size={size!r}"
        )
    clean = normalizer(lowercase, strip_accents)
    split = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word
        for sentence in sentences
        for word, _ in split.pre_tokenize_str(clean.normalize_str(sentence))
        if any(map(str.isalnum, word))
    )
    if not counts:
        raise ValueError(
            "`sentences` wants strings with at least one word. Received: none."
        )
    words = sorted(counts, key=lambda x: (-counts[x], x))
    return [*SPECIAL, *words[: size - len(SPECIAL)]]


#: Texts that `adapt` counts at once.
_TEXTS = 256


@keras.saving.register_keras_serializable("mmkeras")
class TfIdf(keras.layers.Layer):
    """Counts of tokens, rare ones weighing more: y_t = count_t * idf_t.

    idf_t = log(1 + N / (1 + n_t)), n_t of the N texts given to `adapt` holding t;
    before it, 1. Weights are saved and do not train.

    Example:
    >>> layer = mmkeras.classic.TfIdf(4, ignored=[0], normalize=False)
    >>> layer.adapt([[1, 2, 0], [1, 3, 0]])
    >>> layer(np.array([[1, 1, 3]])).numpy().round(3)
    array([[0.   , 1.022, 0.   , 0.693]], dtype=float32)

    Args:
        tokens: Integer, size of the vocabulary.
        ignored: Integers, ids that do not count, such as padding.
        sublinear: Boolean, 1 + log(count) in place of the count.
        normalize: Boolean, whether rows are brought to length 1; zeros stay.

    Call arguments:
        ids: integer tensor `(batch, length)`.

    Output shape: `(batch, tokens)`, float32.

    Raises:
        ValueError: `adapt` gets no text with a token that counts.
    """

    def __init__(self, tokens, ignored=(0,), sublinear=False, normalize=True, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.tokens, self.ignored = tokens, list(ignored)
        self.sublinear, self.normalize = sublinear, normalize
        start = np.ones(tokens, "float32")
        start[self.ignored] = 0.0
        self.idf = self.add_weight(
            shape=(tokens,), initializer="ones", trainable=False, name="idf"
        )
        self.idf.assign(start)
        self.built = True

    def adapt(self, ids):
        """Takes the weights from the texts of the training rows.

        Args:
            ids: integer array `(texts, length)`; a text that holds nothing but ignored
                ids is left out.
        """
        ids, texts, holding = np.asarray(ids, "int32"), 0, np.zeros(self.tokens)
        for i in range(0, len(ids), _TEXTS):
            counts = ops.convert_to_numpy(self._counts(ids[i : i + _TEXTS])) > 0
            counts[:, self.ignored] = False
            texts += counts.any(axis=1).sum()
            holding += counts.sum(axis=0)
        if not texts:
            raise ValueError(
                f"`adapt` wants texts with tokens that count. Received: {len(ids)} "
                f"texts without one."
            )
        idf = np.log(1 + texts / (1 + holding))
        idf[self.ignored] = 0.0
        self.idf.assign(idf)

    def call(self, ids):
        counts = self._counts(ids)
        if self.sublinear:
            # log(max(c, 1)) is 0 for none and for one
            counts = ops.log(ops.maximum(counts, 1.0)) + ops.minimum(counts, 1.0)
        y = counts * self.idf
        if not self.normalize:
            return y
        squares = ops.sum(y * y, axis=-1, keepdims=True)
        return y * ops.rsqrt(ops.maximum(squares, 1e-12))

    def _counts(self, ids):
        return ops.sum(ops.one_hot(ids, self.tokens, dtype="float32"), axis=1)

    def compute_output_spec(self, ids):
        return keras.KerasTensor((ids.shape[0], self.tokens), "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "tokens": self.tokens,
            "ignored": self.ignored,
            "sublinear": self.sublinear,
            "normalize": self.normalize,
        }
