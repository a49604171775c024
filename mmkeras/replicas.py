"""Replicas: the joined batch of all devices, for what looks across the rows.

Most losses are sums over rows, and a strategy may add the replicas' sums. A contrastive
loss or a correlation is not: each row needs the rows of the other replicas. So every
replica gathers the whole batch, computes the same loss G on it, and gives G / N to the
optimizer, which adds up the N replicas' gradients. The gradient of a gather is the sum
over the replicas of what they send back to it, hence dG/dw for every weight w, whether
it lies before the gather (an encoder's) or after it (a temperature): one device's step.

A loss that is a sum over rows, each of which looks at all others, need not be computed
N times: of batch x batch logits each replica takes its own rows, and `whole` adds up.
"""

import keras


def gather(tensors):
    """Each tensor joined over all replicas along axis 0.

    The tensors themselves where there is one replica, outside a `tf.distribute`
    replica (also while Keras builds a model under a strategy's scope), and on the
    backends other than TensorFlow, whose sharded arrays are whole already.

    Example:
    >>> mmkeras.replicas.gather({"photo": np.ones((2, 3))})["photo"].shape
    (2, 3)

    Args:
        tensors: a tensor, or a list or dict of tensors, of rank 1 or more. Replicas may
            hold different numbers of rows.
    """
    context = _context()
    if context is None:
        return tensors
    # one at a time: the gradient of several together wants them of one shape
    return keras.tree.map_structure(
        lambda tensor: context.all_gather(tensor, axis=0), tensors
    )


def share(loss):
    """This replica's share of a loss of the joined batch: loss / replicas.

    `keras.losses` owe it to the optimizer; what a layer gives to `add_loss` does not
    need it: there Keras divides.
    """
    context = _context()
    return loss if context is None else loss / context.num_replicas_in_sync


def whole(part):
    """The joined batch's loss G, of which each replica has a part, for `add_loss`.

    G, the parts' sum, on every replica. The gradient is that of replicas x part, since
    Keras divides what `add_loss` gets by the replicas and the optimizer adds up.
    """
    context = _context()
    if context is None:
        return part
    part = part * context.num_replicas_in_sync
    kept = keras.ops.stop_gradient(part)
    return part + context.all_reduce("MEAN", kept) - kept


def several():
    """Whether this code runs as one of several replicas."""
    return _context() is not None


def _context():
    """The replica's context where there is more than one replica, or None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()  # None outside of a replica
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context
