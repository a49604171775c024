"""Visual words: a picture as a bag of local patches, by OpenCV's SIFT.

SIFT finds its patches one picture at a time and cannot stand in a graph. Its words are
computed beforehand and become columns of the table:

    words = mm.classic.VisualWords(200).fit(train, "photo")
    table = words.join(table, "photo")
    columns = mm.tabular.Columns.from_frame(train, words.names("photo"))

A model of such columns is exported as any other; who serves it computes the words.
"""

import numpy as np
import pandas

from mmkeras.data import cells
from mmkeras.data.bad import BadRows, reason
from mmkeras.image.pixels import Pixels

_DIM = 128


class VisualWords:
    """Histograms of SIFT patches over a vocabulary of them, at length 1.

    d = sqrt(SIFT / sum SIFT) (RootSIFT); each patch of a picture counts for the nearest
    of `words` centres, found by k-means on the patches of the training pictures;
    y = sqrt(counts / sum counts). A picture without patches (a flat one), or a missing
    one, is zeros.

    Args:
        words: Integer, centres.
        size: Integer or pair of integers, pixels that pictures are scaled to.
        patches: Integer, patches of a picture at most, the strongest ones.
        seed: Integer, of k-means.

    Raises:
        ImportError: OpenCV is not installed.
        ValueError: from `fit`, fewer patches than `words`; from `transform`, before
            `fit`.

    Reference:
        Lowe, 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94; Csurka et al.
        2004; the roots: Arandjelović and Zisserman, 2012,
        https://doi.org/10.1109/CVPR.2012.6248018.
    """

    def __init__(self, words=200, size=256, patches=200, seed=0):
        self.words, self.patches, self.seed = words, patches, seed
        self.pixels = Pixels(size, method="area", scaling="none")
        self.centres = None
        self._sift = _opencv().SIFT_create(nfeatures=patches)

    def fit(self, frame, column):
        """Finds the words of the training rows' pictures. Gives itself."""
        return self.fit_patches(self.read(frame, column))

    def transform(self, frame, column):
        """Histograms of a table's pictures: float32 array `(rows, words)`."""
        return self.histograms(self.read(frame, column))

    def join(self, frame, column):
        """A copy of a table with the words of a picture column as columns."""
        found = pandas.DataFrame(
            self.transform(frame, column), frame.index, self.names(column)
        )
        joined = pandas.concat([frame, found], axis=1)
        joined.attrs.update(frame.attrs)
        return joined

    def names(self, column):
        """Names of the columns that `join` adds."""
        return [f"{column}_word{i}" for i in range(self.words)]

    def read(self, frame, column):
        """The patches of a table's pictures: list of arrays `(patches, 128)`."""
        root = frame.attrs.get("root", "")
        bad = BadRows("raise", None, frame.index, "VisualWords")
        found, unread = cells.files(frame[column], root, bad)
        bad.up_front(unread, root)
        return [self._described(x, row, frame) for row, x in enumerate(found)]

    def _described(self, cell, row, frame):
        import tensorflow as tf

        try:
            return self.describe(cell)
        except (ValueError, tf.errors.OpError) as error:
            where = f"row {row} (index {frame.index[row]!r})"
            path = f", '{cell}'" if isinstance(cell, str) else ""
            raise ValueError(
                f"`VisualWords` wants pictures that can be decoded. Received: {where}"
                f"{path}: {reason(error)}"
            ) from error

    def describe(self, cell):
        """RootSIFT of a picture's patches, `(patches, 128)`; none of a missing one.

        Args:
            cell: path or encoded bytes, or None for a missing picture.
        """
        if not cell:
            return np.zeros((0, _DIM), "float32")
        cv2 = _opencv()
        pixels = np.rint(self.pixels.read_cell(cell)).astype("uint8")
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        _, found = self._sift.detectAndCompute(grey, None)
        if found is None:
            return np.zeros((0, _DIM), "float32")
        found = found[: self.patches]  # OpenCV gives more where strengths are equal
        return np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-12))

    def fit_patches(self, patches):
        """Finds the words of patches, as `read` gives them. Gives itself."""
        from sklearn.cluster import MiniBatchKMeans

        patches = np.concatenate(patches)
        if len(patches) < self.words:
            raise ValueError(
                f"`words` wants fewer words than there are patches. Received: "
                f"words={self.words} for {len(patches)} patches."
            )
        found = MiniBatchKMeans(
            self.words, random_state=self.seed, n_init=1, batch_size=2048
        )
        self.centres = found.fit(patches).cluster_centers_.astype("float32")
        return self

    def histograms(self, patches):
        """Histograms of patches, as `read` gives them: `(pictures, words)`."""
        if self.centres is None:
            raise ValueError("`VisualWords` wants `fit` first. Received: no words yet.")
        return np.stack([self._histogram(x) for x in patches])

    def _histogram(self, patches):
        # the nearest: |p - c|^2 less |p|^2, which is the same for every centre
        far = (self.centres**2).sum(1) - 2 * patches @ self.centres.T
        counts = np.bincount(far.argmin(1), minlength=self.words)
        return np.sqrt(counts / max(len(patches), 1)).astype("float32")

    def save(self, path):
        """Writes the words to a safetensors file."""
        from safetensors.numpy import save_file

        size = np.array(self.pixels.size, "int64")
        numbers = np.array([self.patches, self.seed], "int64")
        save_file({"centres": self.centres, "size": size, "numbers": numbers}, path)

    @classmethod
    def load(cls, path):
        """The words of a file that `save` wrote."""
        from safetensors.numpy import load_file

        held = load_file(path)
        patches, seed = (int(x) for x in held["numbers"])
        size = tuple(int(x) for x in held["size"])
        made = cls(len(held["centres"]), size, patches, seed)
        made.centres = held["centres"]
        return made


def _opencv():
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "`VisualWords` wants OpenCV, which is not installed. Install it with "
            "`pip install mmkeras[sift]`."
        ) from error
    return cv2
