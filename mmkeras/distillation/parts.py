"""What shows a distiller the inside of a model, and compares it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("mmkeras")
class Shown(keras.layers.Layer):
    """A feature with its presence, as distillation losses take it.

    A row counts where the teacher has some modality and the student too; elsewhere
    the feature is zeros, whatever stood there.

    Call arguments:
        feature: float tensor `(batch, dim)`.
        presences: list of lists, for each model the presence `(batch,)` of each of its
            modalities.

    Output shape: a pair, `(batch, dim)` and `(batch,)`, 1 where the row counts.
    """

    def call(self, feature, presences):
        there = 1.0
        for own in presences:
            there *= ops.cast(ops.any(ops.stack(own) > 0, axis=0), feature.dtype)
        zeros = ops.zeros_like(feature)
        return ops.where(there[:, None] > 0, feature, zeros), there

    def compute_output_shape(self, feature_shape, presences_shape):
        return feature_shape, feature_shape[:1]


@keras.saving.register_keras_serializable("mmkeras")
class Beside(keras.layers.Layer):
    """Lets the output through, and keeps in the graph what is computed beside it.

    Call arguments:
        outputs: tensor.
        others: any tensors, unused.

    Output shape: that of `outputs`.
    """

    def call(self, outputs, others):
        return outputs

    def compute_output_shape(self, outputs_shape, others_shape):
        return outputs_shape


@keras.saving.register_keras_serializable("mmkeras")
class PresentFeatures(keras.distillation.FeatureDistillation):
    """Keras' FeatureDistillation of what `Shown` gives: the mean over rows that count.

    Args:
        loss: name of a Keras loss, such as "mse".
        teacher_layer_name: name of the teacher's `Shown`.
        student_layer_name: name of the student's.
    """

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        (teacher, there), (student, _) = teacher_outputs, student_outputs
        losses = self.loss(ops.stop_gradient(teacher), student)
        there = ops.cast(there, losses.dtype)
        return ops.sum(losses * there) / ops.maximum(ops.sum(there), 1)

    def validate_outputs(self, teacher_outputs, student_outputs):
        """A pair against one loss, which Keras' own check refuses."""
