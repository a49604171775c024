"""A map of what the fusion makes of the rows: near points look alike to the head."""

import dataclasses

import keras
import numpy as np

from mmkeras.analysis.rows.errors import of_outputs
from mmkeras.analysis.subsets import batches
from mmkeras.heads import output_contract
from mmkeras.model import with_features

METHODS = ("pca", "umap")


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """What `embedding_map` gives.

    Args:
        method: "pca" or "umap".
        kind: "single", "multi" or "number" (see `mmkeras.heads`).
        points: array `(rows, 2)`.
        true: array `(rows,)`: names of classes, joined by "|" where there are several,
            or numbers (of several outputs the first).
        predicted: array `(rows,)`, alike.
        explained: array `(2,)`, the share of the variance along each axis; None for
            "umap", whose axes mean nothing.
    """

    method: str
    kind: str
    points: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    explained: np.ndarray | None

    def to_frame(self):
        """DataFrame, a row per row: x, y, true and predicted."""
        import pandas

        return pandas.DataFrame(
            {
                "x": self.points[:, 0],
                "y": self.points[:, 1],
                "true": self.true,
                "predicted": self.predicted,
            }
        ).rename_axis("row")

    def __str__(self):
        told = f"{self.method.upper()} of the fused features of {len(self.points)} rows"
        if self.explained is None:
            return told
        return f"{told}, {self.explained.sum():.0%} of their variance"


def embedding_map(model, dataset, method="pca", *, seed=0, batch_size=32):
    """Lays the fused features of the rows out on a plane.

    - "pca": the two directions in which the rows differ most; distances are shadows of
      the real ones.
    - "umap": neighbours stay neighbours; distances between groups say little. Wants
      `umap-learn`.

    Example:
    >>> pixels = mmkeras.image.Pixels((2, 2))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> head = mmkeras.heads.classification(["cat", "dog"]).layer
    >>> model = mmkeras.multimodal({"photo": tiny}, mmkeras.fusion.Concat(), head)
    >>> photo = np.random.default_rng(0).uniform(0, 255, (6, 2, 2, 3))
    >>> rows = {"photo": photo, "photo_present": np.ones(6)}
    >>> found = mmkeras.analysis.embedding_map(model, (rows, np.arange(6) % 2))
    >>> found.points.shape
    (6, 2)

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        dataset: batched dataset of `(inputs, labels)`, as `mmkeras.data.from_table`
            gives, or a tuple of arrays.
        method: "pca" or "umap".
        seed: Integer, of "umap".
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.

    Returns:
        `EmbeddingMap`; `plots.embedding_map` draws it.

    Raises:
        ValueError: an unknown method, fewer than 3 rows, several outputs.
        ImportError: scikit-learn, or for "umap" umap-learn, is not installed.
    """
    _check(method)
    labels, outputs, features = run(model, dataset, batch_size)
    report = of_outputs(labels, outputs, _empty(labels), output_contract(model))
    return of_features(features, report, method, seed)


def run(model, dataset, batch_size=32):
    """Labels, outputs and fused features `(rows, dim)` of all rows, in one pass."""
    if isinstance(model.output, dict | list):
        raise ValueError(
            f"`model` wants one output. Received: {sorted(model.output)}. Take each: "
            f"`keras.Model(model.input, model.output['name'])`."
        )
    whole = with_features(model)
    found = []
    for inputs, labels in batches(dataset, batch_size):
        known = {name: inputs[name] for name in model.input}
        found.append((labels, *whole.predict_on_batch(known)))
    labels, outputs, features = map(np.concatenate, zip(*found, strict=True))
    features = keras.ops.convert_to_numpy(features).astype("float64")
    return labels, outputs, features.reshape(len(features), -1)


def of_features(features, report, method="pca", seed=0):
    """The map of features that are there already.

    Args:
        features: array `(rows, dim)`.
        report: `ErrorReport` of the same rows.
        method: as `embedding_map`.
        seed: as `embedding_map`.
    """
    _check(method)
    if len(features) < 3:
        raise ValueError(
            f"`dataset` wants 3 rows or more for a map. Received: {len(features)}"
        )
    laid = _pca if method == "pca" else _umap
    points, explained = laid(features, seed)
    true, predicted = (_column(report, x) for x in ("true", "predicted"))
    return EmbeddingMap(method, report.kind, points, true, predicted, explained)


def _pca(features, seed):
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise ImportError(
            "method='pca' wants scikit-learn, which is not installed. Install it with "
            "`pip install mmkeras[cli]`."
        ) from error
    if features.shape[1] == 1:
        features = np.concatenate([features, np.zeros_like(features)], axis=1)
    made = PCA(2, svd_solver="full")
    with np.errstate(invalid="ignore"):  # rows that are all alike
        points = made.fit_transform(features)
    return points, np.nan_to_num(made.explained_variance_ratio_)


def _umap(features, seed):
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' wants umap-learn, which is not installed. Install it with "
            "`pip install umap-learn`, or take method='pca'."
        ) from error
    near = min(15, len(features) - 1)
    # one thread: with a seed there is no other way
    made = UMAP(n_components=2, n_neighbors=near, random_state=seed, n_jobs=1)
    return np.asarray(made.fit_transform(features), "float64"), None


def _check(method):
    if method not in METHODS:
        raise ValueError(f"`method` wants one of {METHODS}. Received: {method!r}")


def _empty(labels):
    import pandas

    return pandas.DataFrame(index=range(len(labels)))


def _column(report, what):
    column = next(x for x in report.rows if x == what or str(x).startswith(f"{what}_"))
    return report.rows[column].to_numpy()
