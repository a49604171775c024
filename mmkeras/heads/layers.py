"""Layers whose outputs have names: a table, a report and an export use the same."""

import keras
from keras import ops

from mmkeras.dropout import Dropout

KINDS = ("single", "multi", "number")


class Named:
    """What a layer can say of its outputs, once they have names and a kind."""

    temperature = 1.0

    def probabilities(self, outputs):
        """Outputs as probabilities, or the numbers themselves.

        softmax(z / T) or sigmoid(z / T), z the outputs and T the layer's `temperature`.
        """
        if self.temperature != 1:
            outputs = outputs / self.temperature
        if self.kind == "single":
            return ops.softmax(outputs, axis=-1)
        return ops.sigmoid(outputs) if self.kind == "multi" else outputs

    def decode(self, outputs, threshold=0.5):
        """Outputs as one dict a row: the class(es) and the score of each name.

        Args:
            outputs: array `(batch, len(classes))`, as the layer gives.
            threshold: Float, or a list of one a class, the score from which a class of
                kind "multi" is chosen.
        """
        scores = ops.convert_to_numpy(
            self.probabilities(ops.convert_to_tensor(outputs))
        )
        limits = threshold
        if not isinstance(threshold, list | tuple):
            limits = [threshold] * len(self.classes)
        rows = []
        for row in scores:
            named = {name: float(x) for name, x in zip(self.classes, row, strict=True)}
            if self.kind == "single":
                named = {"class": self.classes[int(row.argmax())], **named}
            elif self.kind == "multi":
                pairs = zip(named.items(), limits, strict=True)
                chosen = [n for (n, x), limit in pairs if x >= limit]
                named = {"class": "|".join(chosen), **named}
            rows.append(named)
        return rows


@keras.saving.register_keras_serializable("mmkeras")
class Prediction(Named, keras.layers.Dense):
    """A dense layer whose outputs have names: y = W x + b, logits or numbers.

    Example:
    >>> head = mmkeras.heads.Prediction(["cat", "dog"], kind="single")
    >>> head(np.zeros((1, 4))).shape
    TensorShape([1, 2])
    >>> head.decode(np.array([[0.0, 2.0]]))[0]["class"]
    'dog'

    Args:
        classes: list of strings, the name of each output.
        kind: "single" (one class a row, softmax), "multi" (any number of classes a
            row, sigmoid) or "number" (regression).
        dropout: Float in [0, 1), share of the inputs that training drops.
        temperature: Float above 0 that the logits are divided by where they become
            probabilities; the outputs are the logits as they were. See
            `mmkeras.analysis.fit_temperature`.
        mean: optional list of floats, one an output of kind "number", with `deviation`:
            y = mean + deviation * (W x + b), so that the layer learns numbers of
            size 1 and gives them in the labels' units.
        deviation: optional list of floats above 0.
        absent_labels: whether rows may lack a label, as `several` lets them.

    Call arguments:
        inputs: float tensor `(batch, dim)`.

    Output shape: `(batch, len(classes))`, float32.

    Raises:
        ValueError: unknown `kind`, an empty, repeated or missing class name, one that
            is "class" (the winner's column), a `temperature` that is not above 0, or of
            numbers not 1; `mean` or `deviation` of another length or kind.
    """

    def __init__(
        self,
        classes,
        kind="single",
        dropout=0.0,
        temperature=1.0,
        mean=None,
        deviation=None,
        absent_labels=False,
        **kwargs,
    ):
        classes = _checked(classes, kind)
        kwargs.setdefault("dtype", "float32")  # logits stay float32 under any policy
        super().__init__(len(classes), **kwargs)
        self.classes = classes
        self.kind = kind
        self.temperature = _temperature(temperature, kind)
        self.dropout = dropout
        self.input_dropout = Dropout(dropout, dtype=self.dtype_policy)
        self.mean, self.deviation = _units(mean, deviation, kind, self.units)
        self.absent_labels = absent_labels

    def call(self, inputs, training=False):
        outputs = super().call(self.input_dropout(inputs, training=training))
        if self.deviation is None:
            return outputs
        mean = ops.convert_to_tensor(self.mean, outputs.dtype)
        return mean + ops.convert_to_tensor(self.deviation, outputs.dtype) * outputs

    def get_config(self):
        own = {"classes": self.classes, "kind": self.kind, "dropout": self.dropout}
        own |= {"mean": self.mean, "deviation": self.deviation}
        own |= {"temperature": self.temperature, "absent_labels": self.absent_labels}
        config = {**super().get_config(), **own}
        del config["units"]
        return config


@keras.saving.register_keras_serializable("mmkeras")
class Outputs(Named, keras.layers.Layer):
    """Names for outputs that are made already, such as a late fusion's: y = x.

    Args:
        classes: list of strings, the name of each output.
        kind: "single", "multi" or "number", as `Prediction`.
        temperature: Float, as `Prediction`.

    Call arguments:
        inputs: float tensor `(batch, len(classes))`, logits or numbers.

    Output shape: `(batch, len(classes))`, float32.

    Raises:
        ValueError: as `Prediction`, or an input of another width.
    """

    def __init__(self, classes, kind="single", temperature=1.0, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.classes, self.kind = _checked(classes, kind), kind
        self.temperature = _temperature(temperature, kind)
        self.units = len(self.classes)

    def call(self, inputs):
        if inputs.shape[-1] != self.units:
            raise ValueError(
                f"Layer '{self.name}' names {self.units} outputs. Received: inputs of "
                f"width {inputs.shape[-1]}. A late fusion wants `units={self.units}`."
            )
        return inputs

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        own = {"classes": self.classes, "kind": self.kind}
        return {**super().get_config(), **own, "temperature": self.temperature}


def output_contract(model):
    """The layer that names the model's outputs, or None where no layer does.

    Raises:
        ValueError: a training model, whose outputs hold more than the named ones.
    """
    if any(getattr(x, "training_only", False) for x in model.layers):
        raise ValueError(
            f"'{model.name}' is a training model, whose outputs hold more than those "
            f"that have names. Give the model that it was made from: it is trained too."
        )
    # the model's own first: an encoder may be a model with a head of its own
    for layers in (model.layers, model._flatten_layers()):
        found = [x for x in layers if isinstance(x, Named)]
        if found:
            return found[-1]
    return None


def _checked(classes, kind):
    """The names as strings, once they and their kind are valid."""
    if kind not in KINDS:
        raise ValueError(f"`kind` wants one of {KINDS}. Received: kind={kind!r}")
    classes = [str(x) for x in classes]
    if len(set(classes)) != len(classes) or not classes:
        raise ValueError(
            f"`classes` wants different names, at least one. Received: {classes}"
        )
    if kind != "number" and "class" in classes:
        raise ValueError(
            f"A class cannot be called 'class': so is the column of the winner called, "
            f"beside a column of scores for each class. Received: {classes}"
        )
    if kind == "single" and len(classes) < 2:
        raise ValueError(
            f"Classification wants two or more classes. Received: {classes}"
        )
    return classes


def _temperature(temperature, kind):
    """The temperature as a float, once it is valid."""
    temperature = float(temperature)
    if not 0 < temperature < float("inf"):
        raise ValueError(
            f"`temperature` wants a float above 0. Received: {temperature}"
        )
    if kind == "number" and temperature != 1:
        raise ValueError(
            f"Numbers have no probabilities: `temperature` of kind 'number' wants 1. "
            f"Received: {temperature}"
        )
    return temperature


def _units(mean, deviation, kind, units):
    """Mean and deviation of the labels as lists of floats, or None and None."""
    if mean is None and deviation is None:
        return None, None
    pair = [None if x is None else [float(y) for y in x] for x in (mean, deviation)]
    fits = kind == "number" and all(x is not None and len(x) == units for x in pair)
    if not fits or not all(0 < x < float("inf") for x in pair[1]):
        raise ValueError(
            f"`mean` and `deviation` want {units} floats each, one a number of kind "
            f"'number', deviations above 0. Received: mean={mean}, "
            f"deviation={deviation}, kind={kind!r}"
        )
    return pair
