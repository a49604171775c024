"""Parts of a model's graph by themselves, and gradients with respect to any tensor.

`keras.Model` on tensors within a graph would add nodes to the user's layers at every
call, and cannot hold one tensor fixed while another moves. So the graph is walked here.
"""

import keras


def ordered(tensors, known=()):
    """The calls that make symbolic tensors, parents first.

    Args:
        tensors: list of `KerasTensor`.
        known: ids of the tensors whose makers are left out.

    Returns:
        List of Keras nodes: `.operation`, `.input_tensors`, `.outputs`.
    """
    found, seen, stack = [], set(), [(x, False) for x in reversed(tensors)]
    # no recursion: a DenseNet is deeper than Python's stack
    while stack:
        tensor, done = stack.pop()
        node = maker(tensor)
        if done:
            found.append(node)
        elif id(tensor) not in known and id(node) not in seen:
            seen.add(id(node))
            stack.append((tensor, True))
            stack += [(x, False) for x in reversed(node.input_tensors)]
    return found


def maker(tensor):
    """The call that made a symbolic tensor."""
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def run(outputs, given):
    """Computes symbolic tensors from the values of others, as in inference.

    Example:
    >>> x = keras.Input((2,))
    >>> middle = x * 2
    >>> y = middle + x
    >>> given = [(x, np.ones((1, 2))), (middle, np.zeros((1, 2)))]
    >>> mmkeras.analysis.attributing.graph.run(y, given).numpy().tolist()
    [[1.0, 1.0]]

    Args:
        outputs: `KerasTensor`, or nested structure of them.
        given: list of pairs (`KerasTensor`, its value). What lies behind a given
            tensor is not computed.

    Raises:
        ValueError: an output needs an input that is not given.
    """
    values = {id(tensor): value for tensor, value in given}
    for node in ordered(keras.tree.flatten(outputs), set(values)):
        if node.is_input:
            raise ValueError(
                f"`given` wants a value for the input '{node.outputs[0].name}'."
            )
        args, kwargs = node.arguments.fill_in(values)
        made = keras.tree.flatten(node.operation(*args, **kwargs))
        for tensor, value in zip(node.outputs, made, strict=True):
            values.setdefault(id(tensor), value)
    return keras.tree.map_structure(lambda x: values[id(x)], outputs)


def with_gradients(function):
    """A compiled function that gives outputs and gradients, on any Keras backend.

    Args:
        function: `(moving, fixed) -> (values, outputs)`: two dicts of tensors in, a
            number for each row `(batch,)` and any other tensor out. No row may depend
            on another.

    Returns:
        Function `(moving, fixed) -> (outputs, gradients)` on numpy arrays; gradients
        are those of each row's value, a dict like `moving`. A tensor that no value
        depends on has zeros.
    """
    return _BACKENDS[keras.backend.backend()](function)


def _tensorflow(function):
    import tensorflow as tf

    @tf.function
    def compiled(moving, fixed):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(moving)
            values, outputs = function(moving, fixed)
            total = tf.reduce_sum(values)
        zero = tf.UnconnectedGradients.ZERO
        return outputs, tape.gradient(total, moving, unconnected_gradients=zero)

    traced = {}

    def call(moving, fixed):
        convert = tf.convert_to_tensor
        moving, fixed = keras.tree.map_structure(convert, (moving, fixed))
        shapes = tuple(tuple(x.shape) for x in keras.tree.flatten((moving, fixed)))
        # by hand: TensorFlow takes one function a model for tracing too often
        if shapes not in traced:
            traced[shapes] = compiled.get_concrete_function(moving, fixed)
        made = traced[shapes](moving, fixed)
        return keras.tree.map_structure(lambda x: x.numpy(), made)

    return call


def _jax(function):
    import jax
    import numpy as np

    def total(moving, fixed):
        values, outputs = function(moving, fixed)
        return values.sum(), outputs

    compiled = jax.jit(jax.value_and_grad(total, has_aux=True))

    def call(moving, fixed):
        (_, outputs), gradients = compiled(moving, fixed)
        return keras.tree.map_structure(np.asarray, (outputs, gradients))

    return call


def _torch(function):
    import torch

    def call(moving, fixed):
        moving, fixed = keras.tree.map_structure(
            keras.ops.convert_to_tensor, (moving, fixed)
        )
        names = list(moving)
        moving = {x: moving[x].detach().requires_grad_(True) for x in names}
        values, outputs = function(moving, fixed)
        made = torch.autograd.grad(
            values.sum(), [moving[x] for x in names], allow_unused=True
        )
        gradients = {
            x: torch.zeros_like(moving[x]) if g is None else g
            for x, g in zip(names, made, strict=True)
        }
        return keras.tree.map_structure(
            keras.ops.convert_to_numpy, (outputs, gradients)
        )

    return call


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
