"""Standardising features by the training rows, for encoders that have no weights."""

import keras


@keras.saving.register_keras_serializable("mmkeras")
class Standardize(keras.layers.Normalization):
    """Each column to mean 0 and variance 1: y = (x - mean) / deviation.

    The identity until `mmkeras.transfer.adapt` has seen the training rows; the mean and
    the deviation are saved with the model and never train. It is a
    `keras.layers.Normalization` that says "adapt me": networks of keras.applications
    hold others, whose numbers belong to their weights.

    Example:
    >>> layer = mmkeras.standardize.Standardize()
    >>> layer.adapt(np.array([[0.0], [2.0]]))
    >>> layer(np.array([[2.0]])).numpy()
    array([[1.]], dtype=float32)

    Call arguments:
        x: float tensor `(batch, dim)`.

    Output shape: as `x`.
    """
