"""SigLIP's sentence pieces: text to ids in Python; no TensorFlow core op reads them."""

import base64
import binascii
import functools
import re
import string

import keras
import numpy as np

from mmkeras.modality import ModalityInput

_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")


@keras.saving.register_keras_serializable("mmkeras")
class SentencePieceIds(ModalityInput):
    """Text as SigLIP's sentence pieces, its end, then the end again up to `length`.

    Text loses its punctuation and becomes lower case first, as in the original. One
    that is too long loses its end, the empty string is zeros (an absent modality).

    The ids come from the package sentencepiece, in Python: tables train and predict,
    and TFLite and ONNX files take the ids, but what reads text cannot become a
    SavedModel. `mmkeras.retrieval.zero_shot` makes a model of pictures alone, which
    can.

    Args:
        pieces: content of a sentencepiece model file, as bytes or base64.
        length: Integer >= 1, ids a text, its end among them.
        canonical: Boolean, whether punctuation and upper case go.

    Call arguments:
        ids: integer tensor `(batch, length)`.

    Output shape: `(batch, length)`, int32.

    Raises:
        ValueError: `pieces` is no sentencepiece model with "</s>", or `length` is
            below 1.
        ImportError: sentencepiece is not installed; the extra mmkeras[keras_hub] has
            it.

    Reference:
        Zhai et al. 2023, arXiv:2303.15343; Kudo and Richardson 2018, arXiv:1808.06226.
    """

    kind = "text"
    cell = "value"
    tensor_dtype = "int32"

    def __init__(self, pieces, length, canonical=True, **kwargs):
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        if not (isinstance(length, int) and length >= 1):
            raise ValueError(
                f"`length` wants an integer >= 1. Received: length={length}"
            )
        if isinstance(pieces, bytes):
            pieces = base64.b64encode(pieces).decode()
        self.pieces, self.length, self.canonical = pieces, length, canonical
        self.end_id = self._library.piece_to_id("</s>")
        if self.end_id == self._library.unk_id():
            raise ValueError(
                "`pieces` wants a model with '</s>'. Received: one without"
            )

    @functools.cached_property
    def _library(self):
        try:
            import sentencepiece
        except ImportError as error:
            raise ImportError(
                f"`SentencePieceIds` wants the package sentencepiece: {error}. Install "
                f"it with the extra mmkeras[keras_hub]."
            ) from error
        try:
            content = base64.b64decode(self.pieces, validate=True)
            return sentencepiece.SentencePieceProcessor(model_proto=content)
        except (RuntimeError, ValueError, TypeError, binascii.Error) as error:
            raise ValueError(
                f"`pieces` wants the content of a sentencepiece model. Received: "
                f"{str(self.pieces)[:40]!r}: {error}"
            ) from error

    @property
    def tensor_shape(self):
        return (self.length,)

    @property
    def padding_id(self):
        """The id behind a text's end: the end's own."""
        return self.end_id

    def trackables(self):
        """Refuses to be saved as a graph, in which nothing could read text."""
        raise ValueError(
            "Text of sentence pieces is read in Python, which no SavedModel can do. "
            "Export by `mmkeras.export.tflite` or `onnx`, whose files take ids, or a "
            "model without such text, as `mmkeras.retrieval.zero_shot` makes."
        )

    def read(self, raw):
        """Strings to ids, in Python, also inside tf.data on this machine.

        Args:
            raw: tf.string tensor `(batch,)`, or a scalar.

        Returns:
            int32 tensor `(batch, length)`; zeros where `raw` is empty.
        """
        import tensorflow as tf

        raw = tf.convert_to_tensor(raw, tf.string)
        ids = tf.numpy_function(self._read, [raw], tf.int32)
        return tf.ensure_shape(ids, (*raw.shape, self.length))

    def read_cell(self, cell):
        """One string, or its UTF-8 bytes, to a numpy array `(length,)`."""
        text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell
        if not text:
            return np.zeros(self.length, "int32")
        if self.canonical:
            text = " ".join(_PUNCTUATION.sub("", text.lower()).split())
        ids = self._library.encode(text)[: self.length - 1]
        row = np.full(self.length, self.end_id, "int32")
        row[: len(ids)] = ids
        return row

    def _read(self, raw):
        if np.ndim(raw) == 0:
            return self.read_cell(np.asarray(raw).item())
        rows = [self.read_cell(x) for x in raw]
        return np.array(rows, "int32").reshape(-1, self.length)

    def call(self, ids):
        return keras.ops.cast(ids, "int32")

    def compute_output_spec(self, ids):
        return keras.KerasTensor(ids.shape, "int32")

    def get_config(self):
        own = {"pieces": self.pieces, "length": self.length}
        return {**super().get_config(), **own, "canonical": self.canonical}
