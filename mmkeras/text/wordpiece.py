"""BERT's WordPiece tokenizer in TensorFlow core ops: the ids of the original.

Text is normalised one character at a time through a table that is asked from the
`tokenizers` library itself, split at spaces, and matched greedily against a hash table,
all words in step. Core ops only, so a SavedModel needs no custom library to read text.

Reference: Devlin et al. 2018, arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144.
Departs: combining marks that are not accents (class Mc, a handful of them) are not
reordered when several follow each other.
"""

import functools

import numpy as np

# Code points come in pages of 256. The first page of each run speaks for the whole run
# (unassigned planes, private use), which makes the table four times cheaper.
_RUNS = ((0x330, 0xE00), (0xE10, 0xF00), (0xF01, 0xFFF), (0x1001, 0x10FF))
_PAGES = 0x1100
# row of the table for a character that stays as it is
_SELF = -1


def normalizer(lowercase, strip_accents):
    """The `tokenizers` library's own normaliser for BERT."""
    from tokenizers import normalizers

    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )


@functools.lru_cache
def character_table(lowercase, strip_accents):
    """What each Unicode character becomes: "É" -> "e", "," -> " , ", tab -> " ".

    Args:
        lowercase: Boolean.
        strip_accents: Boolean, or None for the same as `lowercase`.

    Returns:
        Integer arrays (page, index, rows). Character c becomes the code points
        `rows[index[page[c // 256], c % 256]]`, where 0 is nothing and -1 is c.
    """
    page = np.arange(_PAGES)
    for first, stop in _RUNS:
        page[first:stop] = first
    asked, page = np.unique(page, return_inverse=True)
    points = (asked[:, None] * 256 + np.arange(256)).ravel()
    # "0" stays "0" and is part of what no other character becomes: it can part them.
    # Surrogates are no characters, a UTF-8 decoder never gives them.
    points = points[(points != ord("0")) & ((points < 0xD800) | (points >= 0xE000))]
    text = "0".join(map(chr, points))
    text = normalizer(lowercase, strip_accents).normalize_str(text)
    texts = _spaced(text.split("0"))

    rows = {(_SELF,): 0}
    index = np.zeros(_PAGES * 256, "uint16")
    for point, text in zip(points.tolist(), texts, strict=True):
        if text != chr(point):
            row = tuple(_SELF if ord(x) == point else ord(x) for x in text)
            index[point] = rows.setdefault(row, len(rows))
    width = max(map(len, rows))
    table = np.array([row + (0,) * (width - len(row)) for row in rows], "int32")
    return page.astype("int32"), index.reshape(_PAGES, 256)[asked], table


def _spaced(texts):
    """Puts spaces around punctuation, as the library's pre-tokenizer splits it."""
    from tokenizers import pre_tokenizers

    text = "a" + "a".join(sorted(set("".join(texts)) - {"a"})) + "a"
    pieces = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)
    becomes, end = {}, 0
    for piece, (start, stop) in pieces:
        becomes.update(dict.fromkeys(text[end:start], " "))
        if piece != "a" and len(piece) == 1:
            becomes[piece] = f" {piece} "
        end = stop
    becomes = str.maketrans(becomes)
    return [text.translate(becomes) for text in texts]


class WordPiece:
    """Text to word-piece ids, as a graph (`__call__`) and in Python (`encode`).

    A plain object: its hash table, a TensorFlow resource, is made at the first call,
    and nothing tracks it but who asks for `table`.

    Args:
        vocabulary: sequence of strings, token number i at place i; "" is no token.
        lowercase: Boolean.
        strip_accents: Boolean, or None for the same as `lowercase`.
        max_word_chars: Integer, a longer word is unknown.
    """

    def __init__(self, vocabulary, lowercase, strip_accents, max_word_chars):
        self.vocabulary = tuple(vocabulary)
        self.ids = {token: i for i, token in enumerate(vocabulary) if token}
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.max_word_chars = max_word_chars
        self.unknown = self.ids["[UNK]"]
        # in characters of the text: "##ing" takes three
        self.longest = max(len(token.removeprefix("##")) or 2 for token in self.ids)

    @functools.cached_property
    def table(self):
        """The vocabulary as a `tf.lookup.StaticHashTable`: token -> id, else -1."""
        import tensorflow as tf

        with tf.init_scope():  # outlives the graph that happens to ask first
            pairs = tf.lookup.KeyValueTensorInitializer(
                list(self.ids), list(self.ids.values()), tf.string, tf.int32
            )
            return tf.lookup.StaticHashTable(pairs, -1)

    @functools.cached_property
    def library(self):
        """The same tokenizer in the `tokenizers` library: faster in bulk."""
        import tokenizers

        model = tokenizers.models.WordPiece(
            self.ids,
            unk_token="[UNK]",
            max_input_chars_per_word=self.max_word_chars,
        )
        library = tokenizers.Tokenizer(model)
        library.normalizer = normalizer(self.lowercase, self.strip_accents)
        library.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        return library

    def encode(self, texts):
        """Strings to lists of ids, in Python, through the `tokenizers` library."""
        return [x.ids for x in self.library.encode_batch_fast(texts)]

    def __call__(self, text, limit):
        """Strings `(batch,)` to ragged int32 ids `(batch, at most limit)`."""
        import tensorflow as tf

        # a word is one piece at least: what is behind `limit` words cannot be seen
        words = self._words(text)[:, :limit]
        pieces = self._pieces(words.flat_values)
        pieces = tf.RaggedTensor.from_row_splits(
            pieces, words.row_splits, validate=False
        )
        return pieces.merge_dims(1, 2)[:, :limit]

    def _words(self, text):
        """Strings `(batch,)` to ragged normalised words `(batch, words)`."""
        import tensorflow as tf

        page, index, table = character_table(self.lowercase, self.strip_accents)
        text = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
        points = text.flat_values
        place = tf.stack([tf.gather(page, points // 256), points % 256], axis=1)
        row = tf.cast(tf.gather_nd(index, place), "int32")
        out = tf.gather(table, row)
        out = tf.where(out == _SELF, points[:, None], out)
        keep = out > 0
        count = tf.reduce_sum(tf.cast(keep, text.row_splits.dtype), axis=1)
        # characters of a text = sum of what its characters became
        ends = tf.concat([[0], tf.cumsum(count)], axis=0)
        out = tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(out, keep), tf.gather(ends, text.row_splits), validate=False
        )
        return tf.strings.split(tf.strings.unicode_encode(out, "UTF-8"))

    def _pieces(self, words):
        """Words `(n,)` to ragged ids `(n, pieces)`: greedy longest match."""
        import tensorflow as tf

        count = tf.size(words)
        size = tf.strings.length(words, unit="UTF8_CHAR")
        spans = tf.range(self.longest, 0, -1)

        def step(start, unknown, out):
            live = tf.where(~unknown & (start < size))[:, 0]
            at = tf.gather(start, live)
            token, span = self._longest_match(
                tf.gather(words, live), at, tf.gather(size, live), spans
            )
            place = live[:, None]
            # 0 stands for "no piece in this step", so ids are kept one too high
            column = tf.scatter_nd(place, token + 1, tf.cast(count, "int64")[None])
            return (
                tf.tensor_scatter_nd_add(start, place, span),
                tf.tensor_scatter_nd_update(unknown, place, token < 0),
                tf.concat([out, column[:, None]], axis=1),
            )

        def unfinished(start, unknown, out):
            return tf.reduce_any(~unknown & (start < size))

        vector, matrix = tf.TensorShape([None]), tf.TensorShape([None, None])
        _, unknown, out = tf.while_loop(
            unfinished,
            step,
            (
                tf.zeros_like(size),
                size > self.max_word_chars,
                tf.zeros([count, 0], tf.int32),
            ),
            shape_invariants=(vector, vector, matrix),
        )
        # one unknown part makes the whole word unknown
        whole = tf.where(unknown, self.unknown + 1, 0)[:, None]
        out = tf.concat([whole, tf.where(unknown[:, None], 0, out)], axis=1)
        return tf.ragged.boolean_mask(out - 1, out > 0)

    def _longest_match(self, words, start, size, spans):
        """The longest token of each word at `start`: (id, or -1; its characters)."""
        import tensorflow as tf

        shape = [tf.size(words), self.longest]
        begin = tf.broadcast_to(start[:, None], shape)
        span = tf.broadcast_to(spans[None], shape)
        part = tf.strings.substr(
            tf.broadcast_to(words[:, None], shape), begin, span, unit="UTF8_CHAR"
        )
        part = tf.where(begin > 0, tf.strings.join(["##", part]), part)
        ids = tf.where(begin + span <= size[:, None], self.table.lookup(part), -1)
        best = tf.argmax(ids >= 0, axis=1, output_type=tf.int32)
        token = tf.gather(ids, best, batch_dims=1)
        return token, tf.where(token < 0, 0, tf.gather(spans, best))
