"""The functions that an exported model offers, traced from a multimodal model."""

import keras

from mmkeras.heads import Named
from mmkeras.model import fusion, readers

NAMES = ("serve", "serve_raw", "features")


def trace(model):
    """Traces the endpoints of a model.

    Args:
        model: a multimodal model.

    Returns:
        `(module, functions)`: a `tf.Module` that tracks the model's variables (each
        once) and the lookup tables of its layers, and a dict, endpoint ->
        concrete function.
    """
    import tensorflow as tf

    contracts = in_order(model)
    module = tf.Module(name="mmkeras")
    # the tf.Variables themselves: a tracked Keras model does not load in TF Serving,
    # and keras.export writes every variable twice
    module.weights = [w.value for w in model.variables]
    module.resources = _resources(model)
    tensors_in = tensor_specs(model)
    bytes_in = {x: tf.TensorSpec([None], tf.string, x) for x in contracts}
    whole = with_features(model)

    # traced once, called by several endpoints
    @tf.function(input_signature=[tensors_in])
    def run(tensors):
        return whole(tensors, training=False)

    @tf.function(input_signature=[bytes_in])
    def tensors_of(raw):
        return read(contracts, raw)

    def serve(**tensors):
        return with_scores(model, run(tensors)[0])

    def serve_raw(**raw):
        return with_scores(model, run(tensors_of(raw))[0])

    def features(**raw):
        return {"features": run(tensors_of(raw))[1]}

    return module, {
        "serve": tf.function(serve).get_concrete_function(**tensors_in),
        "serve_raw": tf.function(serve_raw).get_concrete_function(**bytes_in),
        "features": tf.function(features).get_concrete_function(**bytes_in),
    }


def in_order(model):
    """The model's contracts by modality, in the order of its inputs."""
    contracts = readers(model)
    return {name: contracts[name] for name in model.input if name in contracts}


def tensor_specs(model):
    """The model's inputs as `tf.TensorSpec`s, by name."""
    import tensorflow as tf

    return {
        name: tf.TensorSpec([None, *x.shape[1:]], x.dtype, name)
        for name, x in model.input.items()
    }


def read(contracts, raw):
    """Raw values to the model's inputs: `<name>` and `<name>_present`.

    Args:
        contracts: dict, modality -> contract.
        raw: dict, modality -> tf.string tensor `(batch,)`.
    """
    inputs = {name: contract.read(raw[name]) for name, contract in contracts.items()}
    inputs |= {f"{x}_present": y.presence(raw[x]) for x, y in contracts.items()}
    return inputs


def with_features(model):
    """The model with two outputs: its own and what its fusion layer gives."""
    layer = fusion(model)
    # not layer.output: a fusion that is also part of a trunk has two
    nodes = [x for depth in model._nodes_by_depth.values() for x in depth]
    (fused,) = next(x.output_tensors for x in nodes if x.operation is layer)
    return keras.Model(model.input, (model.output, fused), name="with_features")


def outputs(model):
    """The model's output tensors, by the names they have in an export.

    "outputs" for a model with one, the keys of a dict of heads.
    """
    if isinstance(model.output, dict):
        return dict(model.output)
    return {"outputs": model.output}


def heads(model):
    """Output name -> the layer that names it, or None where another layer makes it."""
    makers = {key: x._keras_history.operation for key, x in outputs(model).items()}
    return {
        key: layer if isinstance(layer, Named) else None
        for key, layer in makers.items()
    }


def with_scores(model, tensors):
    """Names the outputs, and adds probabilities and class names where a head has them.

    For "outputs": `scores` `(batch, classes)`, `classes` `(batch, classes)`, the name
    of each score, as TF Serving's Classify gives them, and for single labels `class`
    `(batch,)`, the winner. In a model with several heads `<key>_scores` and so on.
    """
    import tensorflow as tf

    named = {}
    tensors = tensors if isinstance(tensors, dict) else {"outputs": tensors}
    for key, head in heads(model).items():
        named[key] = tensors[key]
        if head is None or head.kind == "number":
            continue
        prefix = "" if key == "outputs" else f"{key}_"
        names = tf.constant(head.classes)
        scores = head.probabilities(tensors[key])
        named[f"{prefix}scores"] = scores
        named[f"{prefix}classes"] = tf.broadcast_to(names, tf.shape(scores))
        if head.kind == "single":
            named[f"{prefix}class"] = tf.gather(names, tf.argmax(tensors[key], -1))
    return named


def _resources(model):
    """What the layers' functions capture beside variables: tables, loaded modules."""
    found = []
    for layer in model._flatten_layers():
        if hasattr(layer, "trackables"):
            found += layer.trackables()
    return found
