"""What each modality learns by itself, epoch by epoch: see the imbalance first."""

import keras
import numpy as np
import pandas
from keras import ops

from mmkeras.balance.parts import parts
from mmkeras.model import encoders


class Monitor(keras.callbacks.Callback):
    """Records each modality's own learning after every epoch, on a fixed batch.

    Columns of the history, for each modality: `<name>_alone_loss`, with only this
    modality shown; `<name>_without_loss`, with this one hidden; both over the rows that
    have it. `<name>_gradient_norm`, the Euclidean norm of the gradient of the loss of
    the whole batch by the encoder's trainable weights (0 where it is frozen); and
    `trunk_gradient_norm`, by those of fusion and head. All as at inference, without
    dropout. The gradient norms are there on TensorFlow only; other backends have no
    tape that a callback could use, and the columns are left out.

    Example:
        monitor = mmkeras.balance.Monitor(model, (inputs, labels), head.loss)
        model.fit(dataset, epochs=5, callbacks=[monitor])
        monitor.table()

    Args:
        model: the multimodal model, whether it is fitted itself or through a training
            model that shares its layers.
        data: `(inputs, labels)` of arrays, or a dataset whose first batch is taken.
        loss: a `keras.losses.Loss`, such as a head's.

    Raises:
        ValueError: `model` has several outputs, or one modality alone.
    """

    def __init__(self, model, data, loss):
        super().__init__()
        self._parts = parts(model)
        self._whole, self._loss = model, loss
        self._features = keras.Model(model.input, self._parts.features)
        batch = data if isinstance(data, tuple) else next(iter(data))
        convert = ops.convert_to_tensor
        self._inputs = {key: convert(batch[0][key]) for key in self._parts.inputs}
        self._labels = convert(batch[1])
        self._rows = []

    def on_epoch_end(self, epoch, logs=None):
        row = {**self._losses(), **self._norms()}
        self._rows.append({"epoch": epoch, **row})
        if logs is not None:
            logs.update(row)

    def table(self):
        """One row an epoch, as a `pandas.DataFrame`."""
        return pandas.DataFrame(self._rows).set_index("epoch")

    def _losses(self):
        features = self._features(self._inputs, training=False)
        names = sorted(self._parts.features)
        found = {}
        for name in names:
            others = [x for x in names if x != name]
            found[f"{name}_alone_loss"] = self._shown(features, name, [name])
            found[f"{name}_without_loss"] = self._shown(features, name, others)
        return found

    def _shown(self, features, counted, shown):
        """Mean loss over the rows that have `counted`, with only `shown` there."""
        present = {x: self._inputs[f"{x}_present"] for x in self._parts.features}
        presence = {
            x: y if x in shown else ops.zeros_like(y) for x, y in present.items()
        }
        fused = self._parts.fusion(features, presence, training=False)
        outputs = self._parts.head(fused, training=False)
        rows = ops.convert_to_numpy(self._loss.call(self._labels, outputs))
        rows = rows[ops.convert_to_numpy(present[counted]) > 0]
        return float(np.mean(rows)) if len(rows) else float("nan")

    def _norms(self):
        if keras.backend.backend() != "tensorflow":
            return {}
        groups = self._groups()
        variables = [x for group in groups.values() for x in group]
        inputs, labels = self._inputs, self._labels
        squares = _squares(self._whole, self._loss, inputs, labels, variables)
        norms = {}
        for name, group in groups.items():
            own, squares = squares[: len(group)], squares[len(group) :]
            norms[f"{name}_gradient_norm"] = float(np.sqrt(sum(own)))
        return norms

    def _groups(self):
        """Trainable weights of each encoder, and of what is behind them."""
        nested = [x for x in self._whole.layers if isinstance(x, keras.Model)]
        own = encoders(self._whole) if nested else {}
        groups = {name: x.trainable_variables for name, x in own.items()}
        behind = (self._parts.fusion, self._parts.head)
        groups["trunk"] = [y for x in behind for y in x.trainable_variables]
        return groups


def _squares(model, loss, inputs, labels, variables):
    """Squared norm of the gradient by each variable, on TensorFlow's tape."""
    import tensorflow as tf

    values = [x.value for x in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        value = loss(labels, model(inputs, training=False))
    gradients = tape.gradient(value, values)
    found = [tf.convert_to_tensor(x) for x in gradients if x is not None]
    squares = iter(float(tf.reduce_sum(tf.square(x))) for x in found)
    return [0.0 if x is None else next(squares) for x in gradients]
