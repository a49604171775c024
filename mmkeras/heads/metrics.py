"""Metrics of the heads, from logits; labels may be those of mixed rows."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class ClassAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of rows whose largest output is their class.

    Labels are class ids, or shares of the classes, of which the largest counts.
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        y_true = _ids(y_true, y_pred.shape[-1])
        return super().update_state(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable("mmkeras")
class LabelAccuracy(keras.metrics.BinaryAccuracy):
    """Share of a row's labels that are right, from logits; half a label counts."""

    def __init__(self, name="accuracy", dtype=None, threshold=0.0):
        super().__init__(name, dtype, threshold)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(_hard(y_true), y_pred, sample_weight)


@keras.saving.register_keras_serializable("mmkeras")
class MacroF1(keras.metrics.F1Score):
    """Unweighted mean of the classes' F1, from class labels or multi-hot rows.

    The winner is the largest output; with `threshold`, every output whose sigmoid
    reaches it.

    Args:
        num_classes: Integer.
        threshold: None for single labels, or a probability for multilabel rows.
    """

    def __init__(self, num_classes, threshold=None, name="macro_f1", dtype=None):
        super().__init__("macro", threshold=threshold, name=name, dtype=dtype)
        self.num_classes = num_classes

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.threshold is None:
            y_true = ops.one_hot(_ids(y_true, self.num_classes), self.num_classes)
        else:
            y_true, y_pred = _hard(y_true), ops.sigmoid(y_pred)
        return super().update_state(y_true, y_pred, sample_weight)

    def get_config(self):
        return {
            "num_classes": self.num_classes,
            "threshold": self.threshold,
            "name": self.name,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable("mmkeras")
class AreaUnderCurve(keras.metrics.AUC):
    """AUC-ROC, one class against the rest, mean over classes, from logits.

    Keras' approximation with 200 thresholds (about 1e-3 from the exact value).

    Args:
        num_classes: Integer.
        sparse: True for class labels (softmax), False for multi-hot rows (sigmoid).
    """

    def __init__(self, num_classes, sparse=True, name="auc_roc", dtype=None):
        super().__init__(
            multi_label=True, num_labels=num_classes, name=name, dtype=dtype
        )
        self.num_classes = num_classes
        self.sparse = sparse

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.sparse:
            y_true = ops.one_hot(_ids(y_true, self.num_classes), self.num_classes)
            y_pred = ops.softmax(y_pred, axis=-1)
        else:
            y_true, y_pred = _hard(y_true), ops.sigmoid(y_pred)
        return super().update_state(y_true, y_pred, sample_weight)

    def get_config(self):
        return {
            "num_classes": self.num_classes,
            "sparse": self.sparse,
            "name": self.name,
            "dtype": self.dtype,
        }


def is_dense(labels, classes):
    """Whether labels are rows `(batch, classes)` and no ids; classes >= 2."""
    labels = ops.convert_to_tensor(labels)
    return len(labels.shape) == 2 and labels.shape[-1] == classes


def _ids(labels, classes):
    """Class ids `(batch,)`; of shares the largest one's."""
    if is_dense(labels, classes):
        return ops.cast(ops.argmax(labels, axis=-1), "int32")
    return ops.reshape(ops.cast(labels, "int32"), (-1,))


def _hard(labels):
    """Multi-hot rows of 0 and 1: of mixed labels those of a half or more."""
    return ops.cast(ops.convert_to_tensor(labels) >= 0.5, "float32")
