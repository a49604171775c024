"""Adam and AdamW for weights that begin to train later than others; and faster ones.

Adam divides its means by 1 - b^t, t being the steps of the whole optimizer. A weight
released at step 1,000 has means of zero and nothing to divide by: its steps grow to
6.6 times the learning rate, just where pretrained weights want care. Here t counts
from the step at which the weight joined. The update is one kernel where the backend
has it (`fused`).
"""

import keras
from keras import ops

from mmkeras.transfer import fused


class _Late:
    """Mixed into an Adam: each variable has its own step count.

    With t steps of the optimizer and s of the variable, its learning rate is
    multiplied by c(s) / c(t), c(t) = sqrt(1 - b2^t) / (1 - b1^t): the step is then
    that of an optimizer which began with the variable.
    """

    def __init__(self, *args, joined=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.joined = joined  # for each trained variable, the step at which it joined
        self.joined_by = {}  # the same by the variable's id, for a build to come

    def build(self, var_list):
        if self.joined_by and not self.built:
            self.joined = [self.joined_by.get(id(x), 0) for x in var_list]
            self.joined_by = {}
        super().build(var_list)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        joined = self.joined[index] if self.joined else 0
        if joined:
            steps = ops.cast(self.iterations + 1, "float32")
            factor = self._correction(steps - joined) / self._correction(steps)
            learning_rate = ops.cast(learning_rate, "float32") * factor
        if not fused.adam(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)

    def _correction(self, steps):
        return ops.sqrt(1 - ops.power(self.beta_2, steps)) / (
            1 - ops.power(self.beta_1, steps)
        )

    def get_config(self):
        return {**super().get_config(), "joined": self.joined and list(self.joined)}


@keras.saving.register_keras_serializable("mmkeras")
class Adam(_Late, keras.optimizers.Adam):
    """`keras.optimizers.Adam` whose weights may join late; see this module's head.

    Args:
        joined: optional list of integers, for each trained variable the step at which
            it began to train; all else as in Keras.
    """


@keras.saving.register_keras_serializable("mmkeras")
class AdamW(_Late, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` whose weights may join late; see this module's head.

    Args:
        joined: optional list of integers, for each trained variable the step at which
            it began to train; all else as in Keras.
    """


#: Keras' class -> ours, by exact class.
LATE = {keras.optimizers.Adam: Adam, keras.optimizers.AdamW: AdamW}
