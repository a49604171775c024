"""CCA: what two modalities say of the same thing, by linear algebra."""

import keras
import numpy as np
from keras import ops

from mmkeras.classic import rows
from mmkeras.classic.projections import Projection


@keras.saving.register_keras_serializable("mmkeras")
class CCA(keras.layers.Layer):
    """Canonical correlations: each side is projected to where the two agree most.

    W_x, W_y maximise corr(x W_x, y W_y), direction after direction, each of variance 1
    and uncorrelated with those before. With C = U S V' the covariance of the whitened
    sides: W_x = C_xx^-1/2 U, W_y = C_yy^-1/2 V, and S the correlations.

    Example:
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(100, 1))
    >>> x = {"photo": np.hstack([rng.normal(size=(100, 2)), shared])}
    >>> x["title"] = np.hstack([-shared, rng.normal(size=(100, 1))])
    >>> layer = mmkeras.classic.CCA(["photo", "title"], units=1)
    >>> layer.adapt(x)
    >>> layer.correlations.numpy().round(3)
    array([1.], dtype=float32)
    >>> layer(x)["title"].shape
    TensorShape([100, 1])

    Args:
        modalities: the names of both.
        units: Integer, directions.
        regularization: Float from 0 to 1, how much each side's covariance is drawn to a
            ball: (1 - a) C + a trace(C) / dim. Wanted where there are more numbers than
            rows: there, without, everything correlates. With it the variances are not 1
            and the correlations those of the shrunk covariances.

    Call arguments:
        features: dict, the two names -> float tensor `(batch, dim)`.
        presence: optional dict, name -> float tensor `(batch,)`; an absent side is
            zeros.

    Output shape: dict, name -> `(batch, units)`, float32.

    Raises:
        ValueError: not two names, `regularization` out of range, features without one
            of them; from `adapt`: NaN among the rows, no pairs, fewer directions than
            `units`.

    Reference:
        Hotelling, 1936, https://doi.org/10.1093/biomet/28.3-4.321. scikit-learn's `CCA`
        finds the same directions one by one, and scales them otherwise.
    """

    def __init__(self, modalities, units, regularization=0.0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.modalities = list(modalities)
        if len(set(self.modalities)) != 2 or isinstance(modalities, str):
            raise ValueError(
                f"`modalities` wants two different names. Received: {modalities!r}"
            )
        self.units = units
        self.regularization = rows.share("regularization", regularization)
        self.sides = [Projection(units, name=f"side_{x}") for x in self.modalities]

    def build(self, features_shape, presence_shape=None):
        for name, side in zip(self.modalities, self.sides, strict=True):
            if name not in features_shape:
                raise ValueError(
                    f"`features` wants {self.modalities}. Received: "
                    f"{sorted(features_shape)}"
                )
            if not side.built:
                side.build(features_shape[name])
        self.correlations = self.add_weight(
            shape=(self.units,), initializer="zeros", trainable=False, name="corr"
        )

    def side(self, modality):
        """The `Projection` of one modality, to stand behind its encoder."""
        if modality not in self.modalities:
            raise ValueError(
                f"`modality` wants one of {self.modalities}. Received: {modality!r}"
            )
        return self.sides[self.modalities.index(modality)]

    def adapt(self, features, presence=None):
        """Finds the directions, on the rows that have both.

        Args:
            features: dict, name -> array `(rows, dim)`.
            presence: optional dict, name -> array `(rows,)`.
        """
        x, y = self._pairs(features, presence or {})
        rows.few(self.units, min(x.shape[1], y.shape[1]), "the narrower side")
        means = [x.mean(0), y.mean(0)]
        x, y = x - means[0], y - means[1]
        count = len(x) - 1
        white = [
            rows.whitening(rows.shrunk(z.T @ z / count, self.regularization))
            for z in (x, y)
        ]
        cross = white[0].T @ (x.T @ y / count) @ white[1]
        left, correlations, right = np.linalg.svd(cross, full_matrices=False)
        rows.few(self.units, len(correlations), "what the rows differ in")
        kernel = rows.signed(white[0] @ left[:, : self.units])
        turned = np.sign((kernel * (white[0] @ left[:, : self.units])).sum(0))
        kernels = [kernel, white[1] @ right[: self.units].T * turned]
        if not self.built:
            self.build({n: np.shape(features[n]) for n in self.modalities})
        for side, mean, one in zip(self.sides, means, kernels, strict=True):
            side.set(mean, one)
        self.correlations.assign(np.minimum(correlations[: self.units], 1.0))

    def _pairs(self, features, presence):
        missing = [x for x in self.modalities if x not in features]
        if missing:
            raise ValueError(
                f"`features` wants {self.modalities}. Received: {sorted(features)}"
            )
        counts = {len(features[x]) for x in self.modalities}
        if len(counts) != 1:
            raise ValueError(
                f"`features` wants the same rows of both. Received: {sorted(counts)}"
            )
        (count,) = counts
        both = np.ones(count, bool)
        for name in self.modalities:
            both &= rows.there(presence.get(name), count)
        return [rows.present(features[x], both, x) for x in self.modalities]

    def call(self, features, presence=None):
        found = {}
        for name, side in zip(self.modalities, self.sides, strict=True):
            found[name] = side(features[name])
            if presence and name in presence:
                there = ops.cast(presence[name], found[name].dtype)[:, None]
                found[name] = ops.where(there > 0, found[name], 0.0)
        return found

    def compute_output_spec(self, features, presence=None):
        return {
            name: keras.KerasTensor((features[name].shape[0], self.units), "float32")
            for name in self.modalities
        }

    def get_config(self):
        return {
            **super().get_config(),
            "modalities": self.modalities,
            "units": self.units,
            "regularization": self.regularization,
        }
