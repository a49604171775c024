"""CLIP's byte pairs in TensorFlow core ops: text to ids, in a graph that needs no more.

Radford et al. 2019 (GPT-2) and 2021, arXiv:2103.00020; Sennrich et al. 2015,
arXiv:1508.07909.
"""

import functools

import keras
import numpy as np

from mmkeras.modality import ModalityInput

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
#: Bytes of a word that are read.
_LONGEST = 256
# Unicode's white space, which RE2's \s is not
_SPACE = r"\t-\r\x{85}\p{Z}"
_WORDS = (
    rf"('s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^{_SPACE}\p{{L}}\p{{N}}]+|"
    rf"[{_SPACE}]+)"
)
_NEVER = np.iinfo("int64").max
# code points whose lower case is asked for; there is none behind
_CASED = 0x20000


@keras.saving.register_keras_serializable("mmkeras")
class BytePairIds(ModalityInput):
    """Text as CLIP's byte pairs: start, pairs, end, then 0 up to `length`.

    Words are lower case, begin as their bytes, the last one marked as the word's end,
    and join by the first of `merges` that applies, again and again. A text that is too
    long loses its end, the empty string is zeros (an absent modality), and a
    "<|endoftext|>" that somebody typed stays text. Bytes that are not UTF-8 become
    U+FFFD.

    Departs from the original: combining marks are not composed with their letter (NFC)
    and of a word of more than 256 bytes the rest is left out.

    Args:
        vocabulary: sequence of tokens, token number i at place i: all 256 bytes in
            GPT-2's letters, these with "</w>", what merges give, and the two special
            tokens, of which "<|endoftext|>" has the largest number.
        merges: sequence of strings "a b", the first joined first.
        length: Integer >= 2, ids a text, start and end among them.

    Call arguments:
        ids: integer tensor `(batch, length)`.

    Output shape: `(batch, length)`, int32.

    Raises:
        ValueError: the vocabulary lacks a byte, a special token or what a merge gives,
            or `length` is below 2.
    """

    kind = "text"
    cell = "value"
    tensor_dtype = "int32"
    padding_id = 0

    def __init__(self, vocabulary, merges, length, **kwargs):
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.vocabulary = tuple(vocabulary)
        self.merges = tuple(x for x in merges if not x.startswith("#version:"))
        self.length = length
        self._ids = {token: i for i, token in enumerate(self.vocabulary)}
        self._bytes = _bytes(self._ids, length)

    @classmethod
    def from_tokenizer(cls, tokenizer, length, **kwargs):
        """The contract of a keras_hub `CLIPTokenizer`.

        Args:
            tokenizer: `keras_hub.models.CLIPTokenizer`, or what its `from_preset`
                takes.
            length: Integer >= 2, ids a text.
            **kwargs: those of a layer, such as `name`.
        """
        if isinstance(tokenizer, str):
            import keras_hub

            tokenizer = keras_hub.models.CLIPTokenizer.from_preset(tokenizer)
        ids = dict(tokenizer.vocabulary)
        words = [""] * (max(ids.values()) + 1)
        for token, i in ids.items():
            words[i] = token
        return cls(words, tokenizer.merges, length, **kwargs)

    @property
    def tensor_shape(self):
        return (self.length,)

    def trackables(self):
        """The TensorFlow objects that `read` needs, for who saves it as a graph."""
        return [self.table]

    @functools.cached_property
    def table(self):
        """Two ids, a V + b, to what they join to, rank V + id; V the vocabulary's size.

        A `tf.lookup.StaticHashTable`; what is no pair gives the largest int64.
        """
        import tensorflow as tf

        ids, size = self._ids, len(self.vocabulary)
        keys, values = [], []
        for rank, merge in enumerate(self.merges):
            a, b = merge.split(" ")
            if not {a, b, a + b} <= set(ids):
                raise ValueError(
                    f"`vocabulary` wants what `merges` join. Received: merge "
                    f"'{merge}', of which a part or the whole is no token."
                )
            keys.append(ids[a] * size + ids[b])
            values.append(rank * size + ids[a + b])
        with tf.init_scope():  # outlives the graph that happens to ask first
            pairs = tf.lookup.KeyValueTensorInitializer(
                np.array(keys, "int64"), np.array(values, "int64")
            )
            return tf.lookup.StaticHashTable(pairs, _NEVER)

    def read(self, raw):
        """Strings to ids, in TensorFlow ops only.

        Args:
            raw: tf.string tensor `(batch,)`, or a scalar.

        Returns:
            int32 tensor `(batch, length)`; zeros where `raw` is empty.
        """
        import tensorflow as tf

        raw = tf.convert_to_tensor(raw, tf.string)
        if raw.shape.rank == 0:
            return self.read(raw[None])[0]
        words = _words(raw)[:, : self.length]  # a word is one token at least
        several, place = tf.unique(words.flat_values)
        tokens = tf.gather(self._joined(several), place)
        tokens = words.with_flat_values(tokens).merge_dims(1, 2)
        tokens = tf.cast(tokens[:, : self.length - 2], tf.int32)
        edge = tf.ones([tokens.nrows(), 1], tf.int32)
        begin, end = edge * self._ids[START], edge * self._ids[END]
        ids = tf.concat([begin, tokens, end], axis=1)
        ids = ids.to_tensor(0, shape=[None, self.length])
        return tf.where(raw[:, None] == "", 0, ids)

    def read_cell(self, cell):
        """One string, or its UTF-8 bytes, to a numpy array `(length,)`."""
        if isinstance(cell, str):
            cell = cell.encode("utf-8", "replace")
        return np.asarray(self.compiled_read(np.array([cell], object)))[0]

    def _joined(self, words):
        """Words `(n,)` to ragged ids `(n, tokens)`: the first merge, over and over."""
        import tensorflow as tf

        ids = self._letters(words)
        size = np.int64(len(self.vocabulary))
        places = tf.range(tf.shape(ids)[1])

        def ranked(ids):
            right = tf.pad(ids[:, 1:], [[0, 0], [0, 1]], constant_values=-1)
            found = self.table.lookup(ids * size + right)
            return tf.where((ids >= 0) & (right >= 0), found, _NEVER)

        def unfinished(ids, found):
            return tf.reduce_any(found < _NEVER)

        def step(ids, found):
            best = tf.reduce_min(found, axis=1, keepdims=True)
            at = tf.argmin(found, axis=1, output_type=tf.int32)[:, None]
            live = best < _NEVER
            # what stands behind the pair moves up by one
            later = tf.pad(ids[:, 1:], [[0, 0], [0, 1]], constant_values=-1)
            moved = tf.where(live & (places > at), later, ids)
            ids = tf.where(live & (places == at), best % size, moved)
            return ids, ranked(ids)

        shape = tf.TensorShape([None, None])
        ids, _ = tf.while_loop(
            unfinished, step, (ids, ranked(ids)), shape_invariants=(shape, shape)
        )
        counts = tf.reduce_sum(tf.cast(ids >= 0, tf.int64), axis=1)
        return tf.RaggedTensor.from_tensor(ids, lengths=counts)

    def _letters(self, words):
        """The bytes of words as ids `(n, longest)`, -1 behind a word's end."""
        import tensorflow as tf

        letters = tf.strings.bytes_split(words)[:, :_LONGEST]
        values = tf.io.decode_raw(letters.flat_values, tf.uint8)
        values = tf.cast(tf.reshape(values, [-1]), tf.int64)
        ends = tf.scatter_nd(
            letters.row_splits[1:, None] - 1,
            tf.ones_like(letters.row_splits[1:]),
            tf.shape(values, tf.int64),
        )
        ids = tf.gather(self._bytes, values + 256 * ends)
        return letters.with_flat_values(ids).to_tensor(-1)

    def call(self, ids):
        return keras.ops.cast(ids, "int32")

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, "int32")

    def get_config(self):
        own = {"vocabulary": list(self.vocabulary), "merges": list(self.merges)}
        return {**super().get_config(), **own, "length": self.length}


def _words(raw):
    """Strings `(batch,)` to ragged words `(batch, words)`, lower case."""
    import tensorflow as tf

    text = tf.strings.unicode_decode(raw, "UTF-8", errors="replace")
    page, lower = _lower_case()
    points = text.flat_values
    there = tf.minimum(points, _CASED - 1)
    small = tf.gather_nd(
        lower, tf.stack([tf.gather(page, there // 256), there % 256], 1)
    )
    points = tf.where(points < _CASED, small, points)
    text = tf.strings.unicode_encode(text.with_flat_values(points), "UTF-8")
    # the one letter that becomes two
    text = tf.strings.regex_replace(text, "\u0130", "i\u0307")
    text = tf.strings.regex_replace(text, rf"[{_SPACE}]+", " ")
    text = tf.strings.regex_replace(text, _WORDS, r" \1 ")
    words = tf.strings.split(text, " ")
    return tf.ragged.boolean_mask(words, words != "")


@functools.lru_cache
def _lower_case():
    """The lower case of code points: arrays (page `(512,)`, rows `(pages, 256)`)."""
    from tokenizers.normalizers import Lowercase

    points = np.arange(_CASED, dtype="int32")
    whole = (points < 0xD800) | (points >= 0xE000)  # surrogates are no characters
    whole &= points != 0x130
    text = Lowercase().normalize_str("".join(map(chr, points[whole])))
    points[whole] = [ord(x) for x in text]
    rows, page = np.unique(points.reshape(-1, 256), axis=0, return_inverse=True)
    return page.reshape(-1).astype("int32"), rows.astype("int32")


def _bytes(ids, length):
    """int64 array `(512,)`: the id of each byte, then of each at a word's end."""
    if not (isinstance(length, int) and length >= 2):
        raise ValueError(
            f"`length` wants an integer >= 2, room for start and end. Received: "
            f"length={length}"
        )
    letters = _letters_of_bytes()
    wanted = [*letters, *(x + _WORD_END for x in letters), START, END]
    missing = [x for x in wanted if x not in ids]
    if missing:
        raise ValueError(
            f"`vocabulary` wants all bytes, also with '{_WORD_END}', '{START}' and "
            f"'{END}'. Received: {len(ids)} tokens without {missing[:5]}"
        )
    if ids[END] != max(ids.values()):
        raise ValueError(
            f"`vocabulary` wants '{END}' last: encoders find a text's end by it. "
            f"Received: {ids[END]} of {len(ids)}"
        )
    return np.array([ids[x] for x in wanted[:512]], "int64")


def _letters_of_bytes():
    """GPT-2's letter of each byte: itself where it is seen, else one from U+0100 on."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(x) if x in seen else chr(next(others)) for x in range(256)]
