"""The strings behind a dataset's token ids, for what can only be done to strings."""

from collections.abc import Mapping

import numpy as np

from mmkeras.data.table import as_frame, is_missing


class Texts:
    """Strings by modality, in the order of a dataset's rows.

    Args:
        strings: dict, modality -> list of strings, "" where absent.
        contracts: dict, modality -> contract.
    """

    def __init__(self, strings, contracts):
        self.names = tuple(strings)
        self._strings, self._contracts = strings, contracts

    @classmethod
    def of(cls, texts, contracts):
        """From None, a table (path or DataFrame), or a dict of lists.

        Raises:
            ValueError: a modality that is no text, or a table without any.
        """
        if texts is None:
            return cls({}, contracts)
        known = [
            name
            for name, x in contracts.items()
            if x.kind == "text" and x.cell == "value"
        ]
        if not isinstance(texts, Mapping):
            frame = as_frame(texts)
            texts = {name: frame[name] for name in known if name in frame}
        wrong = sorted(set(texts) - set(known))
        if wrong or not texts:
            raise ValueError(
                f"`texts` wants strings of the modalities {known}, a column of the "
                f"table or an entry of the dict for each. Received: {wrong or 'none'}"
            )
        made = {name: [_text(x) for x in column] for name, column in texts.items()}
        return cls(made, contracts)

    def rows(self, name, rows):
        """Strings of some rows, a range."""
        return self._strings[name][rows.start : rows.stop]

    def read(self, name, strings):
        """Strings as tensors: numpy array `(batch, length)`."""
        import tensorflow as tf

        contract = self._contracts[name]
        return contract.compiled_read(tf.constant(strings, tf.string)).numpy()

    def check(self, inputs, rows):
        """Raises where the strings are not those of a batch's tensors."""
        for name in self.names:
            strings = self.rows(name, rows)
            if len(strings) < len(rows):
                raise _not_so_long(name, len(self._strings[name]), "more")
            same = self.read(name, strings) == inputs[name]
            same = same.reshape(len(rows), -1).all(1)
            if not same.all():
                place = int(np.argmin(same))
                raise ValueError(
                    f"`texts` of '{name}' want the strings of the dataset's rows, in "
                    f"its order. Row {rows[place]} differs: {strings[place]!r:.80}. "
                    f"Read the dataset without `shuffle`."
                )

    def end(self, rows):
        """Raises where there are more strings than the dataset had rows."""
        for name in self.names:
            if len(self._strings[name]) > rows:
                raise _not_so_long(name, len(self._strings[name]), rows)


def _not_so_long(name, count, rows):
    return ValueError(
        f"`texts` of '{name}' want a string for each row of the dataset. Received: "
        f"{count} strings, and {rows} rows"
    )


def _text(cell):
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if is_missing(cell):
        return ""
    return str(cell).encode("utf-8", "replace").decode()  # lone surrogates
