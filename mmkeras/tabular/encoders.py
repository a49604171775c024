"""A multi-layer perceptron over a table's columns."""

import keras

from mmkeras import modality
from mmkeras.dropout import Dropout
from mmkeras.tabular.columns import Columns


def mlp(columns, units=(64, 32), *, rate=0.0, activation="relu", name="mlp"):
    """Dense layers over numbers and categories.

    h_0 = columns(x), h_i = dropout(activation(W_i h_{i-1} + b_i)); the feature is the
    last h. One-hot categories make the rows of W_1 their embeddings.

    Example:
    >>> import pandas
    >>> train = pandas.DataFrame({"age": [20, 40], "colour": ["red", "blue"]})
    >>> columns = mm.tabular.Columns.from_frame(train, ["age", "colour"])
    >>> encoder = mm.tabular.mlp(columns, units=(16, 8))
    >>> encoder(columns.read(["34,red", "34,"])).shape
    TensorShape([2, 8])

    Args:
        columns: `mmkeras.tabular.Columns`.
        units: Integers, width of each layer; the last is the feature's.
        rate: Float in [0, 1), dropout behind each layer.
        activation: name of a Keras activation.
        name: String.

    Returns:
        `keras.Model`, float tensor `(batch, columns)` to a feature
        `(batch, units[-1])`. Layers are called "dense1", "dense2", ...

    Raises:
        TypeError: `columns` is no `Columns`.
        ValueError: `units` is empty.
    """
    if not isinstance(columns, Columns):
        raise TypeError(
            f"`columns` wants a `mmkeras.tabular.Columns`. Received: {columns!r}. "
            f"Make one with `Columns.from_frame(train, [names])`."
        )
    units = [units] if isinstance(units, int) else list(units)
    if not units:
        raise ValueError("`units` wants at least one width. Received: none.")
    inputs = modality.tensor_input(columns, "table")
    x = columns(inputs)
    for i, width in enumerate(units, 1):
        x = keras.layers.Dense(width, activation=activation, name=f"dense{i}")(x)
        x = Dropout(rate, name=f"dropout{i}")(x)
    return keras.Model(inputs, x, name=name)
