"""Distillation: a teacher with many modalities teaches a student with fewer.

`distiller` builds Keras' own `keras.distillation.Distiller`, which alone wants both
models to take the same inputs, with Keras' losses of logits and features and, of this
package, `RelationalDistillation`. What comes out is the student, a plain model.
"""

from mmkeras.distillation.distiller import distiller
from mmkeras.distillation.relations import (
    RelationalDistillation,
    angle_loss,
    distance_loss,
)

__all__ = ["RelationalDistillation", "angle_loss", "distance_loss", "distiller"]
