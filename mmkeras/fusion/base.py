"""What every fusion shares: the dict of features, presence, absent values, projections.

A fusion writes `build_fusion` (its weights) and `fuse` (its formula); reading and
checking the dicts, blanking what is absent, dropout and saving are done here.
"""

import keras
from keras import ops

from mmkeras.dropout import Dropout
from mmkeras.fusion import checks

# A score that softmax turns into exactly 0, and that float16 can still hold.
ABSENT_SCORE = -3e4
NORMALIZE = (None, "layer", "length")
# long enough for tanh to bend, short enough for it to tell values apart
_LENGTH = 3.0


class Fusion(keras.layers.Layer):
    """Base class of the fusions: dict of features and presence in, one tensor out.

    The order of the dict's keys does not matter: modalities are sorted by name. The
    value of an absent feature does not matter either, NaN included: it becomes zeros
    before anything is computed. Where all modalities are absent the output is finite;
    unless a fusion says otherwise it is zeros.

    A subclass sets `units` (or writes `fused_dim`), creates weights in `build_fusion`
    from `self.names` and `self.dims`, and computes in `fuse`, in `keras.ops` only.

    Args:
        dropout: Float in [0, 1), share of the features' entries that training drops.
        normalize: None; "layer": brings each feature to mean 0 and variance 1 over
            its entries, example by example; or "length": to mean 0 and Euclidean
            length 3, so that a wide feature is not louder than a narrow one. For
            encoders whose features differ much in size or width; neither has weights.

    Call arguments:
        features: dict, modality -> float tensor `(batch, dim)`; dims may differ. Where
            `takes_tokens`, also dicts `{"tokens": (batch, length, dim), "mask":
            (batch, length)}`.
        presence: optional dict, modality -> float tensor `(batch,)`, 1 present, 0
            missing. A modality that it does not name is present.

    Output shape: `(batch, units)`.

    Raises:
        ValueError: `features` is not a dict of tensors of the right rank, its names are
            not those of the first call, or `presence` names an unknown modality.
    """

    #: Whether token features are taken; a vector then is a sequence of one token.
    takes_tokens = False

    def __init__(self, dropout=0.0, normalize=None, **kwargs):
        super().__init__(**kwargs)
        if normalize not in NORMALIZE:
            raise ValueError(
                f"`normalize` wants one of {NORMALIZE}. "
                f"Received: normalize={normalize!r}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(
                f"`dropout` wants a float in [0, 1). Received: dropout={dropout!r}"
            )
        self.dropout = dropout
        self.normalize = normalize
        self.feature_dropout = Dropout(dropout, dtype=self.dtype_policy)
        #: Names of the modalities, sorted, the width of each, and its length: 1 for a
        #: vector, None for tokens. Set by `build`.
        self.names = None
        self.dims = None
        self.lengths = None

    def build_fusion(self):
        """Creates the weights, for the modalities in `self.names` and `self.dims`."""

    def fuse(self, features, presence):
        """Computes the fused tensor.

        Args:
            features: dict, modality -> tensor, zeros where absent. Vectors `(batch,
                dim)`; where `takes_tokens`, dicts of tokens and mask, for all.
            presence: tensor `(batch, modalities)` of 0 and 1, columns in the order of
                `self.names`.
        """
        raise NotImplementedError(f"{type(self).__name__} must write `fuse`.")

    def fused_dim(self):
        """Width of the output."""
        return self.units

    def build(self, features_shape, presence_shape=None):
        shapes = checks.feature_shapes(self, features_shape)
        checks.presence_names(self, sorted(shapes), presence_shape)
        self.names = tuple(sorted(shapes))
        self.dims = {name: shapes[name][-1] for name in self.names}
        self.lengths = {n: 1 if len(shapes[n]) == 2 else None for n in self.names}
        self.build_fusion()
        if not self.trainable:  # read from a file: the layers just made do not know
            self.trainable = True  # setting False on False does nothing
            self.trainable = False

    def call(self, features, presence=None, training=None):
        self._check(*_shapes(features, presence))
        return self.fuse(*self.prepared(features, presence))

    def compute_output_shape(self, features_shape, presence_shape=None):
        self._check(features_shape, presence_shape)
        first = features_shape[self.names[0]]
        if isinstance(first, dict):
            first = first["tokens"]
        return (first[0], self.fused_dim())

    def get_config(self):
        own = {"dropout": self.dropout, "normalize": self.normalize}
        return {**super().get_config(), **own}

    def _check(self, features_shape, presence_shape):
        shapes = checks.feature_shapes(self, features_shape)
        checks.same_modalities(self, shapes)
        checks.presence_names(self, self.names, presence_shape)

    def _column(self, features, presence, name):
        """Presence of one modality, `(batch,)`, exactly 0 or 1."""
        feature = features[name]
        mask = feature["mask"] if isinstance(feature, dict) else None
        if presence is not None and name in presence:
            column = ops.cast(presence[name] > 0, self.compute_dtype)
        else:
            tokens = feature if mask is None else mask
            column = ops.ones((ops.shape(tokens)[0],), self.compute_dtype)
        if mask is None:
            return column
        # nothing but padding is nothing there: attention would divide 0 by 0
        return column * ops.cast(ops.any(mask > 0, axis=-1), column.dtype)

    def _prepare(self, feature, column):
        """Blanks what is absent (by `where`: 0 * NaN is NaN), normalises, drops."""
        if not self.takes_tokens:
            return self._regularise(blank(feature, column[:, None] > 0))
        tokens, mask = _tokens_and_mask(feature, column)
        tokens = self._regularise(blank(tokens, mask[..., None] > 0))
        return {"tokens": blank(tokens, mask[..., None] > 0), "mask": mask}

    def _regularise(self, x):
        if self.normalize:
            x = _standardise(x)
        if self.normalize == "length":
            x = x * (_LENGTH / x.shape[-1] ** 0.5)
        return self.feature_dropout(x) if self.dropout else x

    # -- for subclasses ---------------------------------------------------------------

    def prepared(self, features, presence=None):
        """What `fuse` takes, from what `call` is given."""
        columns = [self._column(features, presence, name) for name in self.names]
        prepared = {
            name: self._prepare(features[name], column)
            for name, column in zip(self.names, columns, strict=True)
        }
        return prepared, ops.stack(columns, axis=1)

    def dense(self, name, dim, units, **kwargs):
        """A built `keras.layers.Dense` from `dim` to `units` called `name`."""
        kwargs = {"dtype": self.dtype_policy, **kwargs}
        layer = keras.layers.Dense(units, name=name, **kwargs)
        layer.build((None, dim))
        return layer

    def dense_each(self, suffix, units, dim=None, **kwargs):
        """One `dense` per modality, called `<modality>_<suffix>`, in a dict."""
        return {
            name: self.dense(
                f"{name}_{suffix}", dim or self.dims[name], units, **kwargs
            )
            for name in self.names
        }

    def projections(self, units, **kwargs):
        """One linear map per modality to `units`; {} where `units` is None.

        Raises:
            ValueError: `units` is None and the features differ in width.
        """
        if units is None:
            checks.equal_dims(self)
            return {}
        return self.dense_each("projection", units, **kwargs)

    def stack(self, features, layers=None):
        """Features, through `layers[name]` where given: `(batch, M, units)`."""
        layers = layers or {}
        columns = [
            layers[name](features[name]) if name in layers else features[name]
            for name in self.names
        ]
        return ops.stack(columns, axis=1)

    def concatenate(self, features, names=None):
        """Features side by side, `(batch, sum of dims)`."""
        return ops.concatenate([features[n] for n in names or self.names], axis=-1)


def softmax_over_present(scores, presence):
    """Softmax over the modalities that are there; 0 for the others.

    Args:
        scores: tensor `(batch, modalities)` or `(batch, modalities, units)`.
        presence: tensor `(batch, modalities)` of 0 and 1.

    Returns:
        Tensor like `scores` that sums to 1 over the modalities; to 0 where all are
        absent.
    """
    if len(scores.shape) == 3:
        presence = presence[..., None]
    absent = ops.cast(ABSENT_SCORE, scores.dtype)
    weights = ops.softmax(ops.where(presence > 0, scores, absent), axis=1)
    return ops.where(presence > 0, weights, ops.zeros_like(weights))


def product_of_present(x, presence):
    """Product over the modalities that are there, in float32: five overflow float16.

    Args:
        x: tensor `(batch, modalities, units)`.
        presence: tensor `(batch, modalities)` of 0 and 1.

    Returns:
        float32 tensor `(batch, units)`; ones where all are absent.
    """
    x = ops.cast(x, "float32")
    x = ops.where(presence[..., None] > 0, x, ops.ones_like(x))
    return ops.prod(x, axis=1)


def narrowed(x, dtype):
    """`x` as `dtype`; what float16 cannot hold becomes its largest number."""
    if dtype == "float16":
        x = ops.clip(x, -65504.0, 65504.0)
    return ops.cast(x, dtype)


def any_present(presence):
    """`(batch, 1)`: 1 where at least one modality is there."""
    return ops.max(presence, axis=1, keepdims=True)


def blank(x, keep):
    """`x` where `keep`, else zeros: 0 * NaN is NaN, and so is its gradient."""
    return ops.where(keep, x, ops.zeros_like(x))


def _standardise(x):
    """Mean 0 and variance 1 over the last axis; zeros stay zeros."""
    wide = ops.cast(x, "float32")  # the variance of 1,000 entries overflows float16
    wide = wide - ops.mean(wide, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * ops.rsqrt(variance + 1e-6), x.dtype)


def _tokens_and_mask(feature, column):
    """Any feature as tokens `(batch, length, dim)` and mask `(batch, length)`."""
    if isinstance(feature, dict):
        mask = ops.cast(feature["mask"] > 0, column.dtype)
        return feature["tokens"], mask * column[:, None]
    if len(feature.shape) == 2:
        return feature[:, None, :], column[:, None]
    return feature, ops.ones_like(feature[..., 0]) * column[:, None]


def _shapes(features, presence):
    """Shapes of what `call` was given, nested as it was."""
    shapes = keras.tree.map_structure(lambda x: tuple(x.shape), features)
    if presence is None:
        return shapes, None
    return shapes, keras.tree.map_structure(lambda x: tuple(x.shape), presence)
