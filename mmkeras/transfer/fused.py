"""Adam's update in one pass over memory, where the backend has a kernel for it.

Keras writes Adam as ten operations on whole tensors; for a network of 20 M weights
that is an eighth of a training step. TensorFlow's kernel computes the same numbers.

It also mends an embedding's step: where a word stands in a batch more than once, Keras
squares its gradients before it adds them up, and the step comes out too long.
"""

import keras


def adam(optimizer, gradient, variable, learning_rate):
    """Updates `variable` and its means as `keras.optimizers.Adam` does.

    Returns:
        Boolean: whether it did; otherwise Keras' own update must.
    """
    if keras.backend.backend() != "tensorflow" or optimizer.amsgrad:
        return False
    if variable.dtype not in ("float32", "float64"):
        return False
    import tensorflow as tf

    index = optimizer._get_variable_index(variable)
    dtype = variable.dtype
    steps = tf.cast(tf.convert_to_tensor(optimizer.iterations) + 1, dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=_handle(variable),
        m=_handle(optimizer._momentums[index]),
        v=_handle(optimizer._velocities[index]),
        beta1_power=tf.cast(optimizer.beta_1, dtype) ** steps,
        beta2_power=tf.cast(optimizer.beta_2, dtype) ** steps,
        lr=tf.cast(learning_rate, dtype),
        beta1=tf.cast(optimizer.beta_1, dtype),
        beta2=tf.cast(optimizer.beta_2, dtype),
        epsilon=tf.cast(optimizer.epsilon, dtype),
        # an embedding's gradient names the rows that were met; the others' means decay
        grad=tf.cast(tf.convert_to_tensor(gradient), dtype),
        use_locking=False,
    )
    return True


def _handle(variable):
    """The resource, on this replica where there are several."""
    value = variable.value if isinstance(variable, keras.Variable) else variable
    return value.handle
