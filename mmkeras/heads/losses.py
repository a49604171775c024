"""Losses of the heads, from logits or numbers."""

import keras
from keras import ops

from mmkeras.heads.metrics import is_dense


@keras.saving.register_keras_serializable("mmkeras")
class ClassCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross-entropy of logits; labels are class ids, or shares of the classes.

    -sum_c y_c log softmax(z)_c; an id is y = 1 for its class. Shares come from
    `mmkeras.data.mix`.

    Example:
    >>> loss = mmkeras.heads.ClassCrossentropy()
    >>> round(float(loss(np.array([[0.5, 0.5]]), np.array([[0.0, 0.0]]))), 4)  # log 2
    0.6931

    Args:
        **kwargs: those of `keras.losses.SparseCategoricalCrossentropy`.

    Call arguments:
        y_true: integers `(batch,)` or `(batch, 1)`, or floats `(batch, classes)`.
        y_pred: logits `(batch, classes)`, two classes or more.
    """

    def __init__(self, from_logits=True, **kwargs):
        super().__init__(from_logits=from_logits, **kwargs)

    def call(self, y_true, y_pred):
        if not is_dense(y_true, y_pred.shape[-1]):
            return super().call(y_true, y_pred)
        y_true = ops.cast(y_true, y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            y_true, y_pred, from_logits=self.from_logits
        )


@keras.saving.register_keras_serializable("mmkeras")
class PositiveWeighted(keras.losses.Loss):
    """Binary cross-entropy of logits whose positives weigh more.

    The mean over classes of w y softplus(-z) + (1 - y) softplus(z), z the logits.

    Example:
    >>> loss = mmkeras.heads.PositiveWeighted([3.0])
    >>> round(float(loss(np.array([[1.0]]), np.array([[0.0]]))), 4)  # 3 log 2
    2.0794

    Args:
        positive_weight: list of floats, one a class.
        **kwargs: those of `keras.losses.Loss`.

    Reference:
        King and Zeng 2001, Logistic regression in rare events data.
    """

    def __init__(self, positive_weight, name="positive_weighted", **kwargs):
        super().__init__(name=name, **kwargs)
        self.positive_weight = [float(x) for x in positive_weight]
        if not all(x > 0 for x in self.positive_weight):
            raise ValueError(
                f"`positive_weight` wants floats above 0. Received: "
                f"{self.positive_weight}"
            )

    def call(self, y_true, y_pred):
        y = ops.cast(y_true, y_pred.dtype)
        weight = ops.convert_to_tensor(self.positive_weight, y_pred.dtype)
        positive = weight * y * ops.softplus(-y_pred)
        return ops.mean(positive + (1 - y) * ops.softplus(y_pred), axis=-1)

    def get_config(self):
        return {**super().get_config(), "positive_weight": self.positive_weight}


@keras.saving.register_keras_serializable("mmkeras")
class StandardizedSquaredError(keras.losses.Loss):
    """Squared error in units of the labels' deviation: mean of ((y - z) / d)^2.

    1 for whoever always says the mean, whatever unit the labels are in.

    Example:
    >>> loss = mmkeras.heads.StandardizedSquaredError([10.0])
    >>> float(loss(np.array([[30.0]]), np.array([[10.0]])))  # (20 / 10)^2
    4.0

    Args:
        deviation: list of floats above 0, one an output: d.
        **kwargs: those of `keras.losses.Loss`.
    """

    def __init__(self, deviation, name="standardized_squared_error", **kwargs):
        super().__init__(name=name, **kwargs)
        self.deviation = [float(x) for x in deviation]

    def call(self, y_true, y_pred):
        deviation = ops.convert_to_tensor(self.deviation, y_pred.dtype)
        y_true = ops.reshape(ops.cast(y_true, y_pred.dtype), ops.shape(y_pred))
        return ops.mean(ops.square((y_true - y_pred) / deviation), axis=-1)

    def get_config(self):
        return {**super().get_config(), "deviation": self.deviation}
