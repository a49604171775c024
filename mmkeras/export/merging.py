"""LoRA merged for an export, in a model that goes on learning with it."""

import contextlib

import keras


@contextlib.contextmanager
def merged(model):
    """Inside, every layer with LoRA computes with one merged kernel.

    Each kernel becomes W + (alpha / rank) A B, in a variable of its own. Afterwards the
    layers are as they were, variables, values and all.

    Args:
        model: the Keras model that is traced inside.

    Yields:
        list, the variables that nothing uses meanwhile: A and B.
    """
    import tensorflow as tf

    kept, unused = [], []
    try:
        for layer in model._flatten_layers():
            if not getattr(layer, "lora_enabled", False):
                continue
            table = hasattr(layer, "lora_embeddings_a")
            whole = layer.embeddings if table else layer.kernel
            own = layer._embeddings if table else layer._kernel
            value = keras.ops.cast(whole, own.dtype)
            kept.append((layer, own, own._value))
            own._value = tf.Variable(value, trainable=False, name=own.name)
            layer.lora_enabled = False
            unused += [
                x
                for name, x in vars(layer).items()
                if name.startswith("lora_") and isinstance(x, keras.Variable)
            ]
        yield unused
    finally:
        for layer, own, value in kept:
            own._value = value
            layer.lora_enabled = True
