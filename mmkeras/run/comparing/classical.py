"""Classical features of raw cells: what was done before there were deep encoders.

    picture   64 colours, oriented gradients (324), of 64 x 64 pixels
    text      TF-IDF of words and pairs of words, at most 2,000
    sound     mean and deviation of MFCC and of their slopes (80)
    columns   standardised numbers, one-hot categories

Pictures and sounds by the encoders of `mmkeras.classic` and `mmkeras.audio`; texts by
scikit-learn, for its pairs of words.
"""

import numpy as np

from mmkeras import audio, classic, data
from mmkeras.data import cells
from mmkeras.data.bad import BadRows
from mmkeras.data.table import is_missing
from mmkeras.transfer.cache import forward

_SIDE = 64
_WORDS = 2000


class Classical:
    """Classical features of the modalities of a table.

    Args:
        contracts: dict, modality -> contract.
        columns: dict, modality -> column, or list of columns.
        on_bad_row: "raise" or "absent".
        kept: dict that takes the features of pictures and sounds, so that each is read
            once: share it between folds.
    """

    def __init__(self, contracts, columns, on_bad_row="raise", kept=None):
        self.contracts, self.columns = contracts, columns
        self.on_bad_row, self.kept = on_bad_row, {} if kept is None else kept
        self.vectorizers, self._encoders = {}, {}
        for name, x in contracts.items():
            if x.kind == "audio":
                statistics = audio.mfcc_statistics(x.sampling_rate, x.seconds)
                self._encoders[name] = forward(statistics)
            elif x.kind == "image":
                self._encoders[name] = forward(classic.picture(_SIDE))

    @property
    def texts(self):
        """Names of the texts, whose features are not to be standardised."""
        return [name for name, x in self.contracts.items() if x.kind == "text"]

    def fit(self, train):
        """Takes the words of the training rows. Gives itself."""
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError as error:
            raise ImportError(
                "Classical features want scikit-learn, which is not installed. "
                "Install it with `pip install mmkeras[cli]`."
            ) from error
        for name in self.texts:
            made = TfidfVectorizer(
                ngram_range=(1, 2),
                max_features=_WORDS,
                sublinear_tf=True,
                token_pattern=r"(?u)\b\w+\b",
            )
            self.vectorizers[name] = made.fit(self.strings(train, name))
        return self

    def blocks(self, frame):
        """Features of a table's rows: dict, modality -> (features, presence)."""
        return {name: self._block(frame, name) for name in self.contracts}

    def strings(self, frame, name):
        """The cells of a text, or lines of several columns; "" is absent."""
        if self.contracts[name].columns:
            bad = BadRows(self.on_bad_row, [], frame.index)
            lines, _ = cells.of(
                frame, self.columns[name], self.contracts[name], "", bad
            )
            return lines
        return ["" if is_missing(x) else str(x) for x in frame[self.columns[name]]]

    def encode(self, name, batch):
        """Features of a batch of one modality: strings, or tensors of its contract."""
        kind = self.contracts[name].kind
        if kind == "image":
            batch = _small(batch)
        if kind in ("image", "audio"):
            return np.asarray(self._encoders[name](batch))
        if kind == "text":
            return self.vectorizers[name].transform(batch).toarray()
        contract = self.contracts[name]
        return np.asarray(contract(contract.read(list(batch))))

    def _block(self, frame, name):
        if self.contracts[name].kind not in ("image", "audio"):
            strings = self.strings(frame, name)
            there = np.array([bool(x) for x in strings], "float32")
            return self.encode(name, strings), there
        kept = self.kept.setdefault(name, {})
        new = frame[[x not in kept for x in frame.index]]
        if len(new):
            new.attrs.update(frame.attrs)
            self._read(new, name, kept)
        found = [kept[x] for x in frame.index]
        there = np.array([x is not None for x in found], "float32")
        width = next((len(x) for x in kept.values() if x is not None), 1)
        empty = np.zeros(width)
        return np.stack([empty if x is None else x for x in found]), there

    def _read(self, frame, name, kept):
        batches = data.from_table(
            frame,
            {name: self.contracts[name]},
            columns={name: self.columns[name]},
            on_bad_row=self.on_bad_row,
            bad_rows=[],
            batch_size=32,
        )
        rows = iter(frame.index)
        for batch in batches.as_numpy_iterator():
            features = self.encode(name, batch[name])
            for x, there in zip(features, batch[f"{name}_present"], strict=True):
                kept[next(rows)] = x if there else None


def _small(batch):
    """Pictures scaled to 64 x 64 by the mean of the pixels."""
    import tensorflow as tf

    return tf.image.resize(batch, (_SIDE, _SIDE), method="area").numpy()
