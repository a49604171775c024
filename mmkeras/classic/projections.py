"""PCA and LDA: features in fewer numbers, found by linear algebra, not by training.

Layers on vectors, to stand behind an encoder whose features are known:

    pca = mm.classic.PCA(64)
    pca.adapt(features)
    shorter = keras.Model(encoder.input, pca(encoder.output))
"""

import keras
import numpy as np
from keras import ops

from mmkeras.classic import rows


@keras.saving.register_keras_serializable("mmkeras")
class Projection(keras.layers.Layer):
    """A linear map that does not train: y = (x - mean) W.

    Mean and W are saved with the layer. Until they are set, y is the first `units`
    numbers of x.

    Example:
    >>> layer = mmkeras.classic.Projection(1)
    >>> layer.set([1.0, 2.0], [[2.0], [0.0]])
    >>> layer(np.array([[4.0, 4.0]])).numpy()
    array([[6.]], dtype=float32)

    Args:
        units: Integer, width of the output.

    Call arguments:
        x: float tensor `(batch, dim)`.

    Output shape: `(batch, units)`, float32.

    Raises:
        ValueError: `units` is no positive integer, or x is not of rank 2.
    """

    def __init__(self, units, **kwargs):
        # float16 has no room for the difference of a feature and its mean
        super().__init__(**{"dtype": "float32", **kwargs})
        if not isinstance(units, int) or units < 1:
            raise ValueError(
                f"`units` wants a positive integer. Received: units={units!r}"
            )
        self.units = units

    def build(self, x_shape):
        if len(x_shape) != 2:
            raise ValueError(
                f"`{type(self).__name__}` wants vectors (batch, dim). Received: shape "
                f"{tuple(x_shape)}. Give its encoder `pooling='mean'`."
            )
        dim = x_shape[-1]
        self.mean = self.add_weight(
            shape=(dim,), initializer="zeros", trainable=False, name="mean"
        )
        self.kernel = self.add_weight(
            shape=(dim, self.units),
            initializer=keras.initializers.Identity(),
            trainable=False,
            name="kernel",
        )

    def set(self, mean, kernel):
        """Sets the mean `(dim,)` and W `(dim, units)`."""
        if not self.built:
            self.build((None, len(mean)))
        self.mean.assign(np.asarray(mean))
        self.kernel.assign(np.asarray(kernel))

    def call(self, x):
        return ops.matmul(x - self.mean, self.kernel)

    def compute_output_shape(self, x_shape):
        return (x_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("mmkeras")
class PCA(Projection):
    """Principal components: the directions in which the rows differ most.

    W = the first eigenvectors of the rows' covariance; with `whiten`, each divided by
    the deviation along it. The numbers are scikit-learn's `PCA`, svd_solver="full".

    Example:
    >>> layer = mmkeras.classic.PCA(1)
    >>> layer.adapt([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
    >>> layer(np.array([[4.0, 4.0]])).numpy().round(3)
    array([[2.828]], dtype=float32)

    Args:
        units: Integer, components, at most as many as rows or numbers in one.
        whiten: Boolean, whether the training rows' components have variance 1.

    Call arguments:
        x: float tensor `(batch, dim)`.

    Output shape: `(batch, units)`, float32.

    Raises:
        ValueError: from `adapt`; NaN among the rows, or fewer directions than `units`.

    Reference:
        Pearson, 1901, https://doi.org/10.1080/14786440109462720.
    """

    def __init__(self, units, whiten=False, **kwargs):
        super().__init__(units, **kwargs)
        self.whiten = whiten

    def adapt(self, x, presence=None):
        """Finds the components of the training rows.

        Args:
            x: array `(rows, dim)`.
            presence: optional array `(rows,)`; rows with 0 do not count.
        """
        x = rows.present(x, presence)
        rows.few(self.units, min(x.shape), f"of {x.shape[0]} rows of {x.shape[1]}")
        mean = x.mean(0)
        _, lengths, directions = np.linalg.svd(x - mean, full_matrices=False)
        kernel = rows.signed(directions[: self.units].T)
        if self.whiten:
            deviation = lengths[: self.units] / np.sqrt(len(x) - 1)
            least = deviation[0] * len(deviation) * np.finfo("float64").eps
            kernel = kernel / np.maximum(deviation, max(least, 1e-300))
        self.set(mean, kernel)

    def get_config(self):
        return {**super().get_config(), "whiten": self.whiten}


@keras.saving.register_keras_serializable("mmkeras")
class LDA(Projection):
    """Linear discriminants: the directions that part the classes best.

    W maximises |W' B W| where W' S W = 1, S being the covariance within the classes and
    B that of their means, both over the number of rows. The numbers are those of
    scikit-learn 1.9, `LinearDiscriminantAnalysis().transform`.

    Example:
    >>> layer = mmkeras.classic.LDA(1)
    >>> x = [[0.0, 9.0], [1.0, 1.0], [0.0, 4.0], [10.0, 9.0], [11.0, 1.0], [10.0, 4.0]]
    >>> layer.adapt(x, ["left"] * 3 + ["right"] * 3)
    >>> (layer(np.array([[0.0, 5.0], [11.0, 5.0]])).numpy() > 0).ravel()
    array([False,  True])

    Args:
        units: Integer, at most one less than the classes.
        shrinkage: Float from 0 to 1, how much S is drawn to a ball:
            (1 - a) S + a trace(S) / dim. Wanted where there are more numbers than rows:
            there, without, the classes of the training rows part wholly.

    Call arguments:
        x: float tensor `(batch, dim)`.

    Output shape: `(batch, units)`, float32.

    Raises:
        ValueError: `shrinkage` is out of range; from `adapt`: NaN among the rows, or
            fewer classes or directions than `units` wants.

    Reference:
        Fisher, 1936, https://doi.org/10.1111/j.1469-1809.1936.tb02137.x. Departs: of
        the two, scikit-learn shrinks B as well.
    """

    def __init__(self, units, shrinkage=0.0, **kwargs):
        super().__init__(units, **kwargs)
        self.shrinkage = rows.share("shrinkage", shrinkage)

    def adapt(self, x, labels, presence=None):
        """Finds the discriminants of the training rows.

        Args:
            x: array `(rows, dim)`.
            labels: array `(rows,)`, integers or strings.
            presence: optional array `(rows,)`; rows with 0 do not count.
        """
        labels = np.asarray(labels)
        if labels.shape != np.shape(x)[:1]:
            raise ValueError(
                f"`labels` wants one for each of {len(x)} rows. Received: shape "
                f"{labels.shape}"
            )
        labels = labels[rows.there(presence, len(labels))]
        x = rows.present(x, presence)
        classes, place, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        rows.few(self.units, len(classes) - 1, f"of {len(classes)} classes")
        means = np.stack([x[place == i].mean(0) for i in range(len(classes))])
        within = x - means[place]
        within = rows.shrunk(within.T @ within / len(x), self.shrinkage)
        white = rows.whitening(within)
        mean = x.mean(0)
        between = np.sqrt(counts)[:, None] * ((means - mean) @ white)
        _, _, directions = np.linalg.svd(between, full_matrices=False)
        rows.few(self.units, len(directions), "what the rows differ in")
        self.set(mean, rows.signed(white @ directions[: self.units].T))

    def get_config(self):
        return {**super().get_config(), "shrinkage": self.shrinkage}
