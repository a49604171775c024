"""The supervised contrastive loss, for `compile(loss=...)`."""

import keras
from keras import ops

from mmkeras.losses import formulas
from mmkeras.replicas import gather, share


@keras.saving.register_keras_serializable("mmkeras")
class SupervisedContrastive(keras.losses.Loss):
    """Rows of one class lie together: `supervised_contrastive` of labels and features.

    Counts over the joined batch of all replicas. A row of sample weight 0 is left out;
    other weights weigh the rows as anchors.

    Example:
    >>> model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    >>> model.compile("adam", loss=mmkeras.losses.SupervisedContrastive())
    >>> x, y = np.random.rand(8, 6), np.array([0, 1, 2, 3] * 2)
    >>> history = model.fit(x, y, verbose=0)

    Args:
        temperature: positive Number.

    Call arguments:
        y_true: integer tensor `(batch,)`, the class of each row.
        y_pred: float tensor `(batch, dim)`, or `(batch, views, dim)`: views are crops
            of a picture, or the modalities of a row (`keras.ops.stack`).
        sample_weight: optional tensor `(batch,)` or `(batch, views)`.

    Raises:
        ValueError: `temperature` is not positive; labels that are not one a row.

    Reference:
        Khosla et al. 2020, arXiv:2004.11362.
    """

    def __init__(self, temperature=0.1, name="supervised_contrastive"):
        super().__init__(name=name)
        if temperature <= 0:
            raise ValueError(
                "`temperature` wants a positive number. Received: "
                f"temperature={temperature}"
            )
        self.temperature = temperature

    def __call__(self, y_true, y_pred, sample_weight=None):
        # not `call`: Keras would take a mean over this replica's rows alone
        features, labels = ops.convert_to_tensor(y_pred), ops.convert_to_tensor(y_true)
        if len(labels.shape) > 1 and labels.shape[-1] != 1:
            raise ValueError(
                "`SupervisedContrastive` wants integer labels (batch,). Received: "
                f"y_true of shape {tuple(labels.shape)}. Pass the index of the class."
            )
        if sample_weight is None:
            sample_weight = ops.ones(ops.shape(features)[:-1], "float32")
        weights = ops.cast(sample_weight, "float32")
        features, labels, weights = gather([features, labels, weights])
        loss = formulas.supervised_contrastive(
            features, labels, self.temperature, weights
        )
        return share(loss)

    def get_config(self):
        return {"temperature": self.temperature, "name": self.name}
