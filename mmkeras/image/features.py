"""From a network's feature map to the encoder's output: a vector, or tokens."""

import keras

POOLINGS = ("mean", "max", None)


@keras.saving.register_keras_serializable("mmkeras")
class FeatureTokens(keras.layers.Layer):
    """Feature map to tokens, row by row; every token is valid.

    Example:
    >>> out = mmkeras.image.FeatureTokens()(np.zeros((2, 7, 5, 16)))
    >>> out["tokens"].shape, out["mask"].shape
    (TensorShape([2, 35, 16]), TensorShape([2, 35]))

    Call arguments:
        features: float `(batch, height, width, dim)` or `(batch, length, dim)`.

    Output shape: `{"tokens": (batch, length, dim), "mask": (batch, length)}`, the mask
    float32.
    """

    def call(self, features):
        shape = self.compute_output_shape(features.shape)
        tokens = keras.ops.reshape(features, (-1, *shape["tokens"][1:]))
        batch = keras.ops.shape(features)[0]
        mask = keras.ops.ones((batch, shape["mask"][1]), dtype="float32")
        return {"tokens": tokens, "mask": mask}

    def compute_output_shape(self, input_shape):
        batch, *places, dim = input_shape
        length = 1
        for place in places:
            length *= place
        return {"tokens": (batch, length, dim), "mask": (batch, length)}

    def compute_output_spec(self, features):
        shape = self.compute_output_shape(features.shape)
        return {
            "tokens": keras.KerasTensor(shape["tokens"], features.dtype),
            "mask": keras.KerasTensor(shape["mask"], "float32"),
        }


def pool(features, pooling):
    """A vector, tokens or map to the encoder's output.

    Args:
        features: `KerasTensor` `(batch, dim)`, `(batch, length, dim)` or
            `(batch, height, width, dim)`.
        pooling: "mean", "max", or None for tokens.
    """
    check_pooling(pooling)
    rank = len(features.shape)
    if rank == 2 and pooling is not None:
        return features
    if rank not in (3, 4) or None in features.shape[1:]:
        raise ValueError(
            "An encoder's network wants the output (batch, dim), (batch, length, dim) "
            "or (batch, height, width, dim), all known but the batch; a vector has no "
            f"tokens. Received: shape {features.shape} with pooling={pooling!r}. Set "
            "`size`, or `pooling='mean'`."
        )
    if pooling is None:
        return FeatureTokens(name="tokens")(features)
    layers = {
        (3, "mean"): keras.layers.GlobalAveragePooling1D,
        (3, "max"): keras.layers.GlobalMaxPooling1D,
        (4, "mean"): keras.layers.GlobalAveragePooling2D,
        (4, "max"): keras.layers.GlobalMaxPooling2D,
    }
    return layers[rank, pooling](name="pool")(features)


def check_pooling(pooling):
    if pooling not in POOLINGS:
        raise ValueError(
            f"`pooling` wants one of {list(POOLINGS)}. Received: pooling={pooling!r}"
        )
