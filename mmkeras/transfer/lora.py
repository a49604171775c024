"""LoRA: a pretrained dense layer learns through two thin matrices beside it.

Hu et al. 2021, arXiv:2106.09685; the layers' own `enable_lora` in Keras.
"""

import difflib

import keras

from mmkeras.model import encoder as encoder_of
from mmkeras.transfer.compiling import recompile
from mmkeras.transfer.freezing import block_of, hold_base, leaves_of, train_from

_KINDS = (keras.layers.Dense, keras.layers.EinsumDense)


def enable_lora(model, name, rank=4, layers=None):
    """Freezes an encoder and lets low-rank updates of its dense layers learn.

    W x becomes W x + B A x, B being zero at first: with rank r a kernel (n, m) learns
    r (n + m) numbers in place of n m. Kernels, biases, norms and all else in the
    encoder stay, and its dropout rests. A compiled model is compiled again, its
    optimizer's state carried over.

    Merge before saving (`merge_lora`): a `.keras` file holds merged kernels only, and
    so do exports, which merge by themselves. Loaded by `load_model`, a model saved
    before merging has the same outputs, new LoRA weights on the merged kernels and an
    optimizer without a past.

    Example:
        mmkeras.transfer.enable_lora(
            model, "title", rank=8, layers=["attention_query", "attention_value"]
        )

    Args:
        model: a multimodal model.
        name: modality whose encoder learns so.
        rank: Integer, r.
        layers: list of words; a Dense or EinsumDense layer takes part whose name ends
            in one of them, or whose block is one of them ("layer_5"). Default: all.

    Returns:
        `model`.

    Raises:
        ValueError: unknown modality, no such dense layer (the message lists near
            names), or LoRA is on already.
    """
    encoder = encoder_of(model, name)
    owners = _chosen(encoder, layers)
    dense = [x for _, parts in owners for x in parts]
    enabled = [x.name for x in dense if x.lora_enabled]
    if enabled:
        raise ValueError(
            f"LoRA is on already in {enabled}. Merge it first: `merge_lora(model)`."
        )
    train_from(model, name, len(leaves_of(encoder)))
    encoder.trainable = True  # the model asks the encoder first, then its layers
    chosen = {id(leaf) for leaf, _ in owners}
    for leaf in leaves_of(encoder):
        leaf.trainable = id(leaf) in chosen
    for layer in dense:
        layer.enable_lora(rank)
    for leaf, _ in owners:
        hold_base(leaf)
    return recompile(model)


def merge_lora(model):
    """Adds what LoRA has learned to the kernels and removes its weights.

    The outputs stay the same. The encoders concerned are then frozen; `unfreeze` them
    to go on.

    Args:
        model: a multimodal model, or an encoder.

    Returns:
        `model`, compiled again if it was compiled.
    """
    for leaf in leaves_of(model):
        merged = [x for x in _dense_in(leaf) if x.lora_enabled]
        for layer in merged:
            _merge(layer)
        if merged:
            leaf.trainable = True  # the kernels know the flag they had before
            leaf.trainable = False
    return recompile(model)


def _merge(layer):
    update = keras.ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
    update = update * (layer.lora_alpha / layer.lora_rank)
    kernel = layer._kernel
    kernel.assign(kernel + keras.ops.cast(update, kernel.dtype))
    for weight in ("lora_kernel_a", "lora_kernel_b"):
        delattr(layer, weight)
    layer.lora_enabled = False
    layer.lora_rank = layer.lora_alpha = None


def _chosen(encoder, words):
    """The layers that take part: pairs of a layer of the graph and the dense in it."""
    leaves = [(x, _dense_in(x)) for x in leaves_of(encoder)]
    found = [(x, [y for y in parts if _meant(x, y, words)]) for x, parts in leaves]
    found = [(x, parts) for x, parts in found if parts]
    met = [(x.name, y.name, block_of(x.name)) for x, parts in found for y in parts]
    for word in words or ():
        if not any(_fits(word, *names) for names in met):
            names = [y.name for _, parts in leaves for y in parts]
            near = difflib.get_close_matches(word, names, 5, 0.3)
            raise ValueError(
                f"Encoder '{encoder.name}' has no Dense or EinsumDense layer whose "
                f"name ends in '{word}'. Near names: {near or names[:10]}"
            )
    if not found:
        raise ValueError(
            f"Encoder '{encoder.name}' has no Dense or EinsumDense layer, so there is "
            f"nothing for LoRA to learn in. Use `freeze(model, name, until=...)`."
        )
    return found


def _dense_in(leaf):
    return [x for x in leaf._flatten_layers() if isinstance(x, _KINDS)]


def _meant(leaf, layer, words):
    names = (leaf.name, layer.name, block_of(leaf.name))
    return words is None or any(_fits(word, *names) for word in words)


def _fits(word, leaf, layer, block):
    return leaf.endswith(word) or layer.endswith(word) or block == word
