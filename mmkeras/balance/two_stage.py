"""Training in two stages: first what the features are, then who decides by them.

A long tail of classes, or of modalities, does not harm the features so much as the
last layer, which learns how often a class or modality is there.
"""

import random

import keras

from mmkeras.model import fusion
from mmkeras.transfer.compiling import recompile, restart
from mmkeras.transfer.freezing import leaves_of, train_only


def second_stage(model, parts=("head",), fresh=True, seed=None):
    """Makes a trained model ready for its second stage: `parts` anew, the rest frozen.

    Stage one: fit the model on the rows as they come. Stage two: this, then fit again
    on rows that weigh as they should. Classes, after which each counts alike:

        model.compile("adam", head.loss)
        model.fit(mm.data.from_table(table, model, label="kind", batch_size=32))
        mm.balance.second_stage(model)
        model.fit(mm.data.from_table(table, model, label="kind", batch_size=32,
                                     class_weight="balanced"))

    Modalities: each learns by itself on all rows that have it (`supervised`), then the
    fusion on the rows that have several:

        mm.balance.second_stage(model, ("fusion", "head"))
        both = table[table.photo.notna() & table.title.notna()]
        model.fit(mm.data.from_table(both, model, label="kind", batch_size=32))

    Frozen means what it does in `mmkeras.transfer.freeze`: no weight and no statistic
    of batch normalisation moves, no dropout acts, also after a reload. Modality dropout
    hides modalities still. To free all again, unfreeze the encoders after
    `second_stage(model, ("fusion", "head"), fresh=False)`.

    The model is compiled again if it was compiled: with fresh weights its optimizer
    begins anew, too, at step 0 of its schedule. Models that share its layers, such as
    the model of a trunk, are changed as well; compile those yourself.

    Args:
        model: a multimodal model or its trunk.
        parts: what trains, a name or several: "head" (all heads), "fusion", or, of
            several heads, the name of an output.
        fresh: whether the parts' weights are drawn anew from their initialisers; False
            lets them go on. What `Standardize` and other `Normalization` layers were
            adapted to stays in any case. An initialiser that has a seed of its own
            gives the weights that it gave at first.
        seed: optional integer that the new weights follow; default: Keras' own seed.

    Returns:
        `model`.

    Raises:
        ValueError: no or unknown parts, or parts without weights (the message lists the
            valid names); a training model such as `supervised` makes.

    Reference:
        Kang et al. 2020, arXiv:1910.09217: classifier re-training (cRT). Departs: rows
        weigh by class, where the paper draws them so.
    """
    layers = _chosen(model, parts)
    train_only(model, layers)
    if not fresh:
        return recompile(model)
    _renew(layers, seed)
    return restart(model)


def normalize_head(model, tau=1.0, part="head"):
    """Evens out the lengths of a trained head's class vectors, without training.

    w_c <- w_c / |w_c|^tau, b <- 0. A frequent class has a long vector and so large
    logits; tau = 1 makes all as long, tau = 0 leaves them.

    Args:
        model: a multimodal model or its trunk.
        tau: Float from 0 to 1; choose it on validation rows. `get_weights` of the head
            first: the weights change in place.
        part: "head", or the name of an output.

    Returns:
        `model`.

    Raises:
        ValueError: an unknown part, `tau` outside [0, 1], or a head that is no dense
            layer of one class a row.

    Reference:
        Kang et al. 2020, arXiv:1910.09217, tau-normalisation; without a bias as there.
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"`tau` wants a float in [0, 1]. Received: tau={tau}")
    layers = _chosen(model, part)
    for layer in layers:
        kind = getattr(layer, "kind", "single")
        if not isinstance(layer, keras.layers.Dense) or kind != "single":
            raise ValueError(
                f"`normalize_head` wants a dense head of one class a row, such as "
                f"mmkeras.heads.classification(classes). Received: part={part!r}, "
                f"which holds {layer!r}. Valid names: {sorted(_parts(model))}"
            )
    for layer in layers:
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        length = ((kernel**2).sum(axis=0, keepdims=True)) ** 0.5
        layer.kernel.assign(kernel / (length + (length == 0)) ** tau)
        if layer.use_bias:
            layer.bias.assign(keras.ops.zeros_like(layer.bias))
    return model


def _chosen(model, parts):
    """The layers of the named parts, once the names are valid."""
    valid = _parts(model)
    names = [parts] if isinstance(parts, str) else list(parts)
    if not names or set(names) - set(valid):
        raise ValueError(
            f"`parts` wants one or more of {sorted(valid)}. Received: {parts!r}"
        )
    layers = [x for name in names for x in valid[name]]
    if not any(x.weights for x in layers):
        some = sorted(k for k, v in valid.items() if any(x.weights for x in v))
        raise ValueError(
            f"`parts` wants what has weights (a late fusion holds its own heads). "
            f"Received: {parts!r}. Valid names: {some}"
        )
    return layers


def _parts(model):
    """Part -> its layers: the fusion, all heads, and each of several by its output."""
    fused = fusion(model)
    outputs = model.output if isinstance(model.output, dict) else {"head": model.output}
    found = {}
    for name, x in outputs.items():
        layer, node, _ = x._keras_history
        before = layer._inbound_nodes[node].input_tensors
        if [y._keras_history.operation for y in before] != [fused]:
            raise ValueError(
                f"`model` wants heads right behind its fusion, as `multimodal` and "
                f"`trunk` make them. Received: '{model.name}' with '{layer.name}' as "
                f"output '{name}'. Of a training model give the one it was made from."
            )
        found[name] = [layer]
    heads = [x for layers in found.values() for x in layers]
    return {**found, "fusion": [fused], "head": heads}


def _renew(layers, seed):
    """Draws the layers' weights anew, as building them once more would."""
    for layer in layers:
        for leaf in leaves_of(layer) if isinstance(layer, keras.Model) else [layer]:
            # what a Normalization layer was adapted to is no training's result
            if leaf.weights and not isinstance(leaf, keras.layers.Normalization):
                twin = _twin(leaf, seed)
                for old, new in zip(leaf.weights, twin.weights, strict=True):
                    old.assign(keras.ops.convert_to_numpy(new))
                seed = None if seed is None else seed + 1


def _twin(layer, seed):
    """A layer of the same config and shapes with weights of its own."""
    state = random.getstate()
    try:
        if seed is not None:
            random.seed(seed)  # initialisers without a seed take theirs from here
        twin = type(layer).from_config(layer.get_config())
        twin.build_from_config(layer.get_build_config())
    finally:
        if seed is not None:
            random.setstate(state)
    return twin
