"""Relational distillation: how rows lie to one another, not where they lie."""

import keras
from keras import ops

_TINY = 1e-12


def distance_loss(teacher, student, presence=None):
    """How the distances between rows differ, each side's in units of their mean.

    d_ij = |x_i - x_j| / mean_{i != j} |x_i - x_j|,
    L = mean_{i != j} huber(d_ij(teacher) - d_ij(student)), huber(z) = z^2 / 2 where
    |z| <= 1, else |z| - 1/2.

    Example:
    >>> x = np.random.default_rng(0).normal(size=(5, 3))
    >>> round(float(mmkeras.distillation.distance_loss(x, 10.0 * x)), 6)
    0.0

    Args:
        teacher: float tensor `(batch, dim)`.
        student: float tensor `(batch, dim)`; dims may differ.
        presence: optional tensor `(batch,)`, 0 leaves a row out, NaN or not.

    Returns:
        Scalar; 0 where fewer than two rows count.

    Reference:
        Park et al. 2019, arXiv:1904.05068, equations 5 to 7. Departs: a mean over the
        pairs i != j, where the published code counts the zeros i = j too.
    """
    teacher, student, there = _rows(teacher, student, presence)
    pairs = _distinct_pairs(there)
    teacher, student = _relative(teacher, pairs), _relative(student, pairs)
    return _mean(_huber(teacher - student), pairs)


def angle_loss(teacher, student, presence=None):
    """How the angles differ that any three rows form.

    c_ijk = cos of the angle at x_j between x_i and x_k,
    L = mean over distinct i, j, k of huber(c_ijk(teacher) - c_ijk(student)).

    It holds batch^3 numbers and batch^2 dim: for batches of some hundred rows or fewer.

    Example:
    >>> x = np.random.default_rng(0).normal(size=(5, 3))
    >>> round(float(mmkeras.distillation.angle_loss(x, 7.0 - x)), 6)
    0.0

    Args:
        teacher: float tensor `(batch, dim)`.
        student: float tensor `(batch, dim)`; dims may differ.
        presence: optional tensor `(batch,)`, 0 leaves a row out, NaN or not.

    Returns:
        Scalar; 0 where fewer than three rows count.

    Reference:
        Park et al. 2019, arXiv:1904.05068, equations 8 and 9. Departs: a mean over
        distinct rows, where the published code counts the zeros of the others too.
    """
    teacher, student, there = _rows(teacher, student, presence)
    pairs = _distinct_pairs(there)
    # [j, i, k]: both are not j, and not each other
    triples = pairs[:, :, None] * pairs[:, None, :] * pairs[None, :, :]
    return _mean(_huber(_cosines(teacher) - _cosines(student)), triples)


@keras.saving.register_keras_serializable("mmkeras")
class RelationalDistillation(keras.distillation.DistillationLoss):
    """The student's rows shall lie to one another as the teacher's: RKD.

    L = distances * distance_loss + angles * angle_loss. The two features may differ in
    width and scale. Of a distribution strategy each replica relates its own rows.

    Example:
    >>> loss = mmkeras.distillation.RelationalDistillation()
    >>> x = np.random.default_rng(0).normal(size=(5, 3))
    >>> round(float(loss.compute_loss(x, x @ np.eye(3)[::-1])), 6)
    0.0

    Args:
        distances: Number, weight of `distance_loss`.
        angles: Number, weight of `angle_loss`.
        teacher_layer_name: optional name of the teacher's layer whose output is meant;
            default: the teacher's output.
        student_layer_name: as `teacher_layer_name`, of the student.

    Call arguments (of `compute_loss`):
        teacher_outputs: float tensor `(batch, dim)`, or a pair of it and of presence
            `(batch,)`, 1 where the row counts.
        student_outputs: as `teacher_outputs`; a row counts where both say so.

    Raises:
        ValueError: weights that are negative or all 0, or one layer named alone.

    Reference:
        Park et al. 2019, arXiv:1904.05068.
    """

    def __init__(
        self,
        distances=1.0,
        angles=2.0,
        teacher_layer_name=None,
        student_layer_name=None,
    ):
        if min(distances, angles) < 0 or distances + angles == 0:
            raise ValueError(
                "`distances` and `angles` want numbers of 0 or more, one above 0. "
                f"Received: distances={distances}, angles={angles}"
            )
        if (teacher_layer_name is None) != (student_layer_name is None):
            raise ValueError(  # Keras' Distiller would take both models' outputs
                "`teacher_layer_name` and `student_layer_name` want both or neither. "
                f"Received: {teacher_layer_name!r} and {student_layer_name!r}"
            )
        self.distances, self.angles = distances, angles
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        teacher, there = _feature(teacher_outputs)
        student, too = _feature(student_outputs)
        if there is not None and too is not None:
            there = there * ops.cast(too, there.dtype)
        both = ops.stop_gradient(teacher), student, too if there is None else there
        loss = 0.0
        if self.distances:
            loss += self.distances * distance_loss(*both)
        if self.angles:
            loss += self.angles * angle_loss(*both)
        return loss

    def validate_outputs(self, teacher_outputs, student_outputs):
        """A feature alone fits one with its presence."""

    def get_config(self):
        return {
            "distances": self.distances,
            "angles": self.angles,
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _feature(outputs):
    if isinstance(outputs, list | tuple):
        return outputs
    return ops.convert_to_tensor(outputs), None


def _rows(teacher, student, presence):
    """Both in float32 or better, zeros where a row does not count, and 0 / 1 a row."""
    teacher, student = _float(teacher), _float(student)
    dtype = keras.backend.result_type(teacher.dtype, student.dtype)
    teacher, student = ops.cast(teacher, dtype), ops.cast(student, dtype)
    if presence is None:
        return teacher, student, ops.ones((ops.shape(teacher)[0],), dtype)
    there = ops.convert_to_tensor(presence) > 0
    teacher = ops.where(there[:, None], teacher, 0)
    student = ops.where(there[:, None], student, 0)
    return teacher, student, ops.cast(there, dtype)


def _float(x):
    x = ops.convert_to_tensor(x)
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def _distinct_pairs(there):
    apart = 1 - ops.eye(ops.shape(there)[0], dtype=there.dtype)
    return there[:, None] * there[None, :] * apart


def _differences(x):
    """[j, i] = x_i - x_j, and its square; at least so long that a root has a slope."""
    apart = x[None, :, :] - x[:, None, :]
    squares = ops.sum(apart * apart, axis=-1)
    return apart, ops.maximum(squares, _TINY)


def _relative(x, pairs):
    distances = ops.sqrt(_differences(x)[1])
    mean = _mean(distances, pairs)
    return distances / ops.where(mean > 0, mean, 1)


def _cosines(x):
    apart, squares = _differences(x)
    units = apart * ops.rsqrt(squares)[:, :, None]
    return ops.matmul(units, ops.transpose(units, (0, 2, 1)))


def _huber(z):
    size = ops.abs(z)
    return ops.where(size <= 1, z * z / 2, size - 0.5)


def _mean(values, weights):
    total = ops.sum(weights)
    return ops.sum(values * weights) / ops.where(total > 0, total, 1)
