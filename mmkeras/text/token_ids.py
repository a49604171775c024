"""The contract of the modality text: strings become word-piece ids."""

import keras
import numpy as np

from mmkeras.modality import ModalityInput
from mmkeras.text.vocabulary import SPECIAL, read_tokenizer
from mmkeras.text.wordpiece import WordPiece


@keras.saving.register_keras_serializable("mmkeras")
class TokenIds(ModalityInput):
    """Text as ids of word pieces: [CLS] ... [SEP], then [PAD] up to `length`.

    `read` gives the ids of the original BERT tokenizer. A text that is too long loses
    its end, the empty string is padding alone (an absent modality), and a "[SEP]" that
    somebody typed stays text. Bytes that are not UTF-8 are left out, and so are control
    characters, NUL among them. `call` is the identity: encoders look ids up themselves.
    The vocabulary is saved with the layer.

    Example:
    >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cup", "##s"]
    >>> contract = mmkeras.text.TokenIds(words, length=8)
    >>> contract.read(["A cups!", ""]).numpy()
    array([[2, 4, 5, 6, 1, 3, 0, 0],
           [0, 0, 0, 0, 0, 0, 0, 0]], dtype=int32)

    Args:
        vocabulary: sequence of strings, token number i at place i; "" is a number
            without a token.
        length: Integer >= 2, ids a text, [CLS] and [SEP] among them.
        lowercase: Boolean, must be what the vocabulary was made with.
        strip_accents: Boolean, or None for the same as `lowercase`.
        max_word_chars: Integer, a word of more characters is [UNK].

    Call arguments:
        ids: integer tensor `(batch, length)`.

    Output shape: `(batch, length)`, int32.

    Raises:
        ValueError: the vocabulary lacks a special token, or `length` is below 2.
        TypeError: `vocabulary` is a string.

    Reference:
        Devlin et al. 2018, arXiv:1810.04805.
    """

    kind = "text"
    cell = "value"
    tensor_dtype = "int32"

    def __init__(
        self,
        vocabulary,
        length,
        lowercase=True,
        strip_accents=None,
        max_word_chars=100,
        **kwargs,
    ):
        kwargs.setdefault("autocast", False)  # ids are no float16, whatever the policy
        super().__init__(**kwargs)
        _check(vocabulary, length)
        self.length = length
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.max_word_chars = max_word_chars
        self._wordpiece = WordPiece(
            vocabulary, lowercase, strip_accents, max_word_chars
        )

    @classmethod
    def from_checkpoint(cls, folder, length, **kwargs):
        """The contract of a checkpoint folder, from its tokenizer files.

        Args:
            folder: path of a folder with tokenizer.json or vocab.txt.
            length: Integer >= 2, ids a text.
            **kwargs: arguments that override what the files say.
        """
        return cls(**{**read_tokenizer(folder), "length": length, **kwargs})

    @property
    def vocabulary(self):
        """Tuple of strings, token number i at place i."""
        return self._wordpiece.vocabulary

    @property
    def padding_id(self):
        """The id behind a text's end; encoders mask it."""
        return self._wordpiece.ids["[PAD]"]

    @property
    def tensor_shape(self):
        return (self.length,)

    def trackables(self):
        """The TensorFlow objects that `read` needs, for who saves it as a graph."""
        return [self._wordpiece.table]

    def read(self, raw):
        """Strings to ids, in TensorFlow ops only.

        Args:
            raw: tf.string tensor `(batch,)`, or a scalar.

        Returns:
            int32 tensor `(batch, length)`; padding alone where `raw` is empty.
        """
        import tensorflow as tf

        raw = tf.convert_to_tensor(raw, tf.string)
        if raw.shape.rank == 0:
            return self.read(raw[None])[0]
        ids = self._wordpiece(raw, self.length - 2)
        edge = tf.ones([ids.nrows(), 1], tf.int32)
        begin, end = (self._wordpiece.ids[x] for x in ("[CLS]", "[SEP]"))
        ids = tf.concat([edge * begin, ids, edge * end], axis=1)
        ids = ids.to_tensor(self.padding_id, shape=[None, self.length])
        return tf.where(raw[:, None] == "", self.padding_id, ids)

    def read_cell(self, cell):
        """One string, or its UTF-8 bytes, to a numpy array `(length,)`."""
        return self.read_cells([cell])[0]

    def read_cells(self, cells):
        """Strings to ids in Python, with the `tokenizers` library: fast in bulk.

        Args:
            cells: list of strings, or of their UTF-8 bytes.

        Returns:
            int32 array `(len(cells), length)`, the same ids as `read` gives.
        """
        cells = [_text(cell) for cell in cells]
        out = np.full((len(cells), self.length), self.padding_id, "int32")
        begin, end = (self._wordpiece.ids[x] for x in ("[CLS]", "[SEP]"))
        for row, cell, ids in zip(
            out, cells, self._wordpiece.encode(cells), strict=True
        ):
            if cell:
                ids = [begin, *ids[: self.length - 2], end]
                row[: len(ids)] = ids
        return out

    def call(self, ids):
        return keras.ops.cast(ids, "int32")

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, "int32")

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "length": self.length,
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "max_word_chars": self.max_word_chars,
        }


def _check(vocabulary, length):
    if isinstance(vocabulary, str | bytes):
        raise TypeError(
            f"`vocabulary` wants a list of tokens. Received: '{vocabulary}'. Read a "
            f"checkpoint folder's with `TokenIds.from_checkpoint(folder, length)`."
        )
    missing = [token for token in SPECIAL if token not in vocabulary]
    if missing:
        raise ValueError(
            f"`vocabulary` wants the special tokens {list(SPECIAL)}. Received: "
            f"{len(vocabulary)} tokens without {missing}. Learn one from sentences "
            f"with `mmkeras.text.wordpiece_vocabulary`."
        )
    if not (isinstance(length, int) and length >= 2):
        raise ValueError(
            f"`length` wants an integer >= 2, room for [CLS] and [SEP]. Received: "
            f"length={length}."
        )


def _text(cell):
    """A cell as a str without lone surrogates; bytes that are not UTF-8 replaced."""
    if isinstance(cell, str):
        cell = cell.encode("utf-8", "surrogatepass")
    return cell.decode("utf-8", "replace")
