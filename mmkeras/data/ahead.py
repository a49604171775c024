"""Batches made ahead of the one that is asked for."""


def ahead(dataset):
    """`dataset.prefetch(2)`, with tf.data's autotuning switched off.

    The thread that tunes sleeps for 10, 20, 40 ... ms. TensorFlow 2.21 joins it when a
    pass ends and at times does not wake it, so that the pass lasts until it wakes by
    itself: twice as long at worst. Without it, `num_parallel_calls=-1` means as many
    calls as there are cores.

    Example:
    >>> import tensorflow as tf
    >>> rows = mmkeras.data.ahead.ahead(tf.data.Dataset.range(3))
    >>> [int(x) for x in rows], rows.options().autotune.enabled
    ([0, 1, 2], False)
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)
