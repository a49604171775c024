"""The functions that an exported model offers, traced from a multimodal model."""

from mmkeras.export.merging import merged
from mmkeras.export.raw import Reader
from mmkeras.heads import Named, output_contract
from mmkeras.losses.memory import without_memory
from mmkeras.model import has_fusion, readers, with_features
from mmkeras.towers import is_two_tower, tower

NAMES = ("serve", "serve_raw", "features")
#: What TF Serving calls the endpoints that its Classify and Regress calls reach.
METHODS = {
    "classify": "tensorflow/serving/classify",
    "regress": "tensorflow/serving/regress",
}


def trace(model, reader, thresholds):
    """Traces the endpoints of a model.

    Args:
        model: a multimodal model. Its LoRA is merged in what is traced, and goes on in
            the model itself.
        reader: the `Reader` of its contracts.
        thresholds: dict, output -> list of floats, as `checked_thresholds` gives.

    Returns:
        `(module, functions)`: a `tf.Module` that tracks the model's variables (each
        once) and the lookup tables of its layers, and a dict, endpoint ->
        concrete function.
    """
    import tensorflow as tf

    module = tf.Module(name="mmkeras")
    with merged(model) as unused:
        # the tf.Variables themselves: a tracked Keras model does not load in TF
        # Serving, and keras.export writes every variable twice
        out = {id(w) for w in unused}
        kept = [w for w in without_memory(model) if id(w) not in out]
        module.weights = [w.value for w in kept]
        module.resources = _resources(model)
        return module, _functions(model, reader, thresholds)


def _functions(model, reader, thresholds):
    """The endpoints as `trace` gives them."""
    import tensorflow as tf

    tensors_in = tensor_specs(model)
    bytes_in = {x: tf.TensorSpec([None], tf.string, x) for x in reader.contracts}
    examples_in = tf.TensorSpec([None], tf.string, "inputs")
    apart = towers(model)
    fused = has_fusion(model)
    whole = with_features(model) if fused else model

    # traced once, called by several endpoints
    @tf.function(input_signature=[tensors_in])
    def run(tensors):
        found = whole(tensors, training=False)
        return found if fused else (found, None)

    @tf.function(input_signature=[bytes_in])
    def tensors_of(raw):
        return reader(raw)

    def serve(**tensors):
        return with_scores(model, run(tensors)[0], thresholds)

    def serve_raw(**raw):
        tensors, statuses = tensors_of(raw)
        return {**with_scores(model, run(tensors)[0], thresholds), **statuses}

    def features(**raw):
        tensors, statuses = tensors_of(raw)
        return {"features": run(tensors)[1], **statuses}

    functions = {
        "serve": tf.function(serve).get_concrete_function(**tensors_in),
        "serve_raw": tf.function(serve_raw).get_concrete_function(**bytes_in),
    }
    for name in apart:
        functions[name] = _tower_function(model, name, reader)
    if fused:
        whole_in = tf.function(features).get_concrete_function(**bytes_in)
        functions["features"] = whole_in
    for name, (method, key) in examples_endpoints(model).items():

        def answer(inputs, method=method, key=key):
            tensors, _ = tensors_of(parse(inputs, reader.contracts))
            outputs = by_name(run(tensors)[0])[key]
            if method == "regress":
                return {"outputs": outputs}
            classes, scores = classes_and_scores(heads(model)[key], outputs)
            return {"classes": classes, "scores": scores}

        functions[name] = tf.function(answer).get_concrete_function(examples_in)
    return functions


def _tower_function(model, name, reader):
    """One tower's endpoint: raw values of its modality alone to embeddings."""
    import tensorflow as tf

    alone = tower(model, name)
    sizes = {name: reader.max_bytes[name]}
    reader = Reader({name: reader.contracts[name]}, reader.on_bad_value, sizes)

    def answer(**raw):
        tensors, statuses = reader(raw)
        found = alone(tensors[name], training=False)
        there = tensors[f"{name}_present"][:, None] > 0
        return {"embedding": tf.where(there, found, tf.zeros_like(found)), **statuses}

    raw = tf.TensorSpec([None], tf.string, name)
    return tf.function(answer).get_concrete_function(**{name: raw})


def names(model):
    """Names of a model's endpoints."""
    own = NAMES if has_fusion(model) else [*NAMES[:2], *towers(model)]
    return [*own, *examples_endpoints(model)]


def towers(model):
    """The modalities that have an endpoint of their own: those of a `two_tower`.

    Raises:
        ValueError: one has the name of another endpoint.
    """
    if not is_two_tower(model):
        return []
    found = list(in_order(model))
    taken = sorted({*NAMES, "serving_default"} & set(found))
    if taken:
        raise ValueError(
            f"A modality's name names the endpoint of its tower. Received: {taken}, "
            f"which are endpoints already. Give these modalities other names."
        )
    return found


def examples_endpoints(model):
    """Endpoints that take tf.Examples: name -> (key of `METHODS`, output).

    "classify" for outputs with class names, "regress" for a single number, in a model
    with several heads "<key>_classify" and so on: TF Serving has one output in each.
    """
    found = {}
    for key, head in heads(model).items():
        number = head is not None and head.kind == "number"
        if head is not None and (not number or len(head.classes) == 1):
            method = "regress" if number else "classify"
            found[f"{prefix(key)}{method}"] = method, key
    return found


def parse(examples, names):
    """Serialised tf.Examples to raw values; a feature that is not there is absent.

    Args:
        examples: tf.string tensor `(batch,)`.
        names: modalities, the names of the features (bytes, one value each).
    """
    import tensorflow as tf

    feature = tf.io.FixedLenFeature([], tf.string, default_value="")
    return tf.io.parse_example(examples, dict.fromkeys(names, feature))


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


def outputs(model):
    """The model's output tensors, by the names they have in an export.

    "outputs" for a model with one, the keys of a dict of heads.
    """
    if isinstance(model.output, dict):
        return dict(model.output)
    return {"outputs": model.output}


def heads(model):
    """Output name -> the layer that names it, or None where another layer makes it."""
    output_contract(model)  # raises where it is a model for training alone
    makers = {key: x._keras_history.operation for key, x in outputs(model).items()}
    return {
        key: layer if isinstance(layer, Named) else None
        for key, layer in makers.items()
    }


def by_name(outputs):
    """A model's outputs as a dict; "outputs" is that of a model with one."""
    return outputs if isinstance(outputs, dict) else {"outputs": outputs}


def prefix(key):
    """What stands before the names of an output's endpoints and tensors."""
    return "" if key == "outputs" else f"{key}_"


def with_scores(model, tensors, thresholds):
    """Names the outputs, and adds probabilities and class names where a head has them.

    For "outputs": `scores` `(batch, classes)`, `classes` `(batch, classes)`, the name
    of each score, as TF Serving's Classify gives them, and `class` `(batch,)`, the
    winner; for multilabel heads those that reach their thresholds, joined by "|", and
    `chosen`, bool `(batch, classes)`. In a model with several heads `<key>_scores` and
    so on.
    """
    import tensorflow as tf

    named = {}
    tensors = by_name(tensors)
    for key, head in heads(model).items():
        named[key] = tensors[key]
        if head is None or head.kind == "number":
            continue
        classes, scores = classes_and_scores(head, tensors[key])
        added = {"scores": scores, "classes": classes}
        if head.kind == "single":
            added["class"] = tf.gather(head.classes, tf.argmax(tensors[key], -1))
        else:
            chosen = added["chosen"] = scores >= tf.constant(thresholds[key])
            texts = tf.where(chosen, [f"|{x}" for x in head.classes], "")
            joined = tf.strings.reduce_join(texts, axis=-1)
            added["class"] = tf.strings.regex_replace(joined, r"^\|", "")
        named |= {f"{prefix(key)}{name}": x for name, x in added.items()}
    return named


def check_names(model, statuses):
    """Refuses a model of whose answers two have one name.

    Args:
        model: a multimodal model.
        statuses: modalities that have a `<name>_status`.

    Raises:
        ValueError: two answers have one name; the message says whose both are.
    """
    owners = {f"{name}_status": f"the status of modality '{name}'" for name in statuses}
    for key, head in heads(model).items():
        parts = {key: f"the output '{key}'"}
        if head is not None and head.kind != "number":
            added = ["scores", "classes", "class", *["chosen"] * (head.kind == "multi")]
            parts |= {f"{prefix(key)}{x}": f"the {x} of output '{key}'" for x in added}
        for name in sorted(set(parts) & set(owners)):
            raise ValueError(
                f"The answers of an export want different names. Received: '{name}' is "
                f"{parts[name]} and {owners[name]}. Nothing was written. Give one of "
                f"the heads (or the modality) another name."
            )
        owners |= parts


def classes_and_scores(head, outputs):
    """The name and the probability of every class, both `(batch, classes)`."""
    import tensorflow as tf

    scores = head.probabilities(outputs)
    return tf.broadcast_to(tf.constant(head.classes), tf.shape(scores)), scores


def checked_thresholds(model, thresholds):
    """Thresholds of the multilabel heads: output -> list of floats, one a class.

    Args:
        model: a multimodal model.
        thresholds: a float for every class, or dict, class name -> float, with 0.5 for
            those that it leaves out.

    Raises:
        ValueError: a class is unknown, or a threshold is not in [0, 1].
    """
    multi = {k: x.classes for k, x in heads(model).items() if x and x.kind == "multi"}
    given = thresholds if isinstance(thresholds, dict) else {"": thresholds}
    numbers = all(isinstance(x, int | float) and 0 <= x <= 1 for x in given.values())
    known = sorted({name for classes in multi.values() for name in classes})
    unknown = isinstance(thresholds, dict) and set(thresholds) - set(known)
    if not numbers or unknown:
        raise ValueError(
            f"`thresholds` wants a number from 0 to 1, or a dict of them by class of a "
            f"multilabel head. Received: {thresholds!r}. Valid names: {known}"
        )
    if isinstance(thresholds, dict):
        return {k: [float(thresholds.get(x, 0.5)) for x in v] for k, v in multi.items()}
    return {key: [float(thresholds)] * len(x) for key, x in multi.items()}


def _resources(model):
    """What the layers' functions capture beside variables: tables, loaded modules."""
    found = []
    for layer in model._flatten_layers():
        if hasattr(layer, "trackables"):
            found += layer.trackables()
    return found
