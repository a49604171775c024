"""Does an exported SavedModel answer as `model.predict` does, in both loaders?"""

import contextlib
import logging

import keras
import numpy as np

from mmkeras.export import endpoints, warmup
from mmkeras.export.report import EndpointCheck
from mmkeras.model import with_features


def need_tensorflow(what):
    """Refuses an export under another backend than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{what} wants Keras' TensorFlow backend. Received: "
            f"{keras.backend.backend()}. Save the model as `.keras`, then load and "
            f"export it under KERAS_BACKEND=tensorflow."
        )


def questions(model, examples=None, max_bytes=None):
    """What is asked of every endpoint, and what Keras answers.

    Args:
        model: the multimodal model that is exported.
        examples: optional dict, modality -> list of raw values, as `saved_model`.
        max_bytes: optional dict, modality -> Integer; what is made up is not larger.

    Returns:
        dict, endpoint -> (inputs as numpy, expected outputs as numpy). The raw rows
        are one with every modality absent, one made up by kind (a picture, a word, a
        wave) and then `examples`.
    """
    contracts = endpoints.in_order(model)
    given, count = _encoded(contracts, examples or {})
    raw = {}
    for name, contract in contracts.items():
        probe = made_up(contract)
        if max_bytes is not None and len(probe) > max_bytes[name]:
            probe = b""
        raw[name] = np.array([b"", probe, *given.get(name, [b""] * count)], "O")
    tensors = {k: np.asarray(v) for k, v in endpoints.read(contracts, raw).items()}
    noise = made_noise(model.input, contracts, count + 2)
    expected = endpoints.by_name(model.predict(tensors, verbose=0))
    asked = {
        "serve": (noise, endpoints.by_name(model.predict(noise, verbose=0))),
        "serve_raw": (raw, expected),
    }
    for name in endpoints.towers(model):
        asked[name] = {name: raw[name]}, {"embedding": expected[name]}
    if "features" in endpoints.names(model):
        _, fused = with_features(model)(tensors, training=False)
        asked["features"] = raw, {"features": np.asarray(fused)}
    examples = {"inputs": np.array(warmup.examples(raw), "O")}
    for name, (method, key) in endpoints.examples_endpoints(model).items():
        result = {"outputs": expected[key]}
        if method == "classify":
            scores = endpoints.heads(model)[key].probabilities(expected[key])
            result = {"scores": np.asarray(scores)}
        asked[name] = examples, result
    return asked


def compare(folder, asked, default):
    """Asks a written SavedModel in TensorFlow's both loaders, and its warm-up requests.

    Args:
        folder: the SavedModel's folder.
        asked: the dict of `questions`.
        default: the endpoint that is also `serving_default`.

    Returns:
        tuple of `EndpointCheck`.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    v1 = ask_v1(folder, asked)
    with unoptimised():  # v1 went through the graph optimisers: most of the seconds
        answers = {"python": ask(loaded, asked), "v1 loader": v1}
        replay(loaded, warmup.read(folder), default)
    checks = []
    for name, (inputs, expected) in asked.items():
        gaps = {x: _gaps(expected, answer[name]) for x, answer in answers.items()}
        outputs = tuple(answers["python"][name])
        largest = {loader: max(x[0] for x in y) for loader, y in gaps.items()}
        mean = {loader: max(x[1] for x in y) for loader, y in gaps.items()}
        checks.append(EndpointCheck(name, tuple(inputs), outputs, largest, mean))
    return tuple(checks)


def ask(loaded, asked):
    """Answers of what `tf.saved_model.load` gave."""
    import tensorflow as tf

    answers = {}
    for name, (inputs, _) in asked.items():
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        answer = loaded.signatures[name](**tensors)
        answers[name] = {key: answer[key].numpy() for key in sorted(answer)}
    return answers


def ask_v1(folder, asked):
    """Answers of a SavedModel loaded as TF Serving does: a session on the serve tag."""
    import tensorflow as tf

    fed, wanted = {}, {}
    config = tf.compat.v1.ConfigProto()
    # once through the optimisers is enough for a graph that runs once
    config.graph_options.rewrite_options.meta_optimizer_iterations = 1
    with quiet(), tf.compat.v1.Session(graph=tf.Graph(), config=config) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        for name, (inputs, _) in asked.items():
            signature = meta.signature_def[name]
            fed.update({signature.inputs[k].name: x for k, x in inputs.items()})
            wanted[name] = {k: x.name for k, x in signature.outputs.items()}
        return session.run(wanted, fed)


def replay(loaded, requests, default):
    """Sends a SavedModel its warm-up requests.

    Args:
        loaded: what `tf.saved_model.load` gave.
        requests: list, as `warmup.read` gives.
        default: the endpoint that is also `serving_default`.

    Raises:
        ValueError: one is not answered.
    """
    import tensorflow as tf

    for name, method, inputs in requests:
        given = inputs if method == "predict" else {"inputs": inputs}
        tensors = {key: tf.constant(value) for key, value in given.items()}
        # the same function under two names, prepared once
        run = loaded.signatures[default if name == "serving_default" else name]
        try:
            run(**tensors)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise ValueError(
                f"The SavedModel does not answer its own warm-up request to '{name}'. "
                f"Nothing was written. {error}"
            ) from error


@contextlib.contextmanager
def unoptimised():
    """Functions that run for the first time in here run as they were traced."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    kept = before.get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": kept})


@contextlib.contextmanager
def quiet():
    """Holds back TensorFlow's advice, such as not to use the v1 loader."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def custom_ops(folder):
    """Operations in a SavedModel's graph that TensorFlow's core does not have."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    file = saved_model_pb2.SavedModel()
    with open(f"{folder}/saved_model.pb", "rb") as stream:
        file.ParseFromString(stream.read())
    graph = file.meta_graphs[0].graph_def
    used = {node.op for node in graph.node}
    for function in graph.library.function:
        used.update(node.op for node in function.node_def)
    own = {function.signature.name for function in graph.library.function}
    return tuple(sorted(x for x in used - own if not hasattr(tf.raw_ops, x)))


def made_up(contract):
    """An encoded value that a contract of this kind reads, or b"" if it does not."""
    import tensorflow as tf

    try:
        raw = _PROBES[contract.kind](contract) if contract.kind in _PROBES else b""
        contract.read(tf.constant([raw]))
    except (tf.errors.OpError, ValueError, AttributeError):
        return b""  # a contract of somebody's own, with a format of its own
    return raw


def _picture(contract):
    import tensorflow as tf

    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), "uint8")
    return tf.io.encode_png(pixels).numpy()


def _word(contract):
    return b"A word, and 2 more."


def _wave(contract):
    import tensorflow as tf

    rate = contract.sampling_rate
    tone = 0.5 * np.sin(np.arange(rate // 2) * 2 * np.pi * 440 / rate)
    return tf.audio.encode_wav(tone[:, None].astype("float32"), rate).numpy()


def _line(contract):
    return contract.example().encode()


_PROBES = {"image": _picture, "text": _word, "audio": _wave, "table": _line}


def _encoded(contracts, examples):
    """Examples as bytes, by modality, and how many rows there are."""
    unknown = sorted(set(examples) - set(contracts))
    if unknown:
        raise ValueError(
            f"`examples` wants the model's modalities. Received: {unknown}. "
            f"Valid names: {sorted(contracts)}"
        )
    counts = {name: len(values) for name, values in examples.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"`examples` wants as many values for each modality. Received: {counts}. "
            f"Give an empty string where a modality is absent."
        )
    encoded = {
        name: [_bytes(x, contracts[name].cell) for x in values]
        for name, values in examples.items()
    }
    return encoded, next(iter(counts.values()), 0)


def _bytes(value, cell):
    if isinstance(value, bytes):
        return value
    if cell == "value" or not value:
        return value.encode("utf8")
    with open(value, "rb") as file:
        return file.read()


def made_noise(inputs, contracts, count, length=None):
    """Random tensors for every input: grey levels, ids 0 and 1, samples.

    Args:
        inputs: dict, name -> `keras.KerasTensor`.
        contracts: dict, modality -> contract.
        count: Integer, rows.
        length: Integer, size of the dimensions that are not known.
    """
    rng = np.random.default_rng(0)
    made = {}
    for name, x in inputs.items():
        shape = (count, *[length if n is None else n for n in x.shape[1:]])
        if "int" in x.dtype or name.endswith("_present"):  # ids, or presence
            made[name] = rng.integers(0, 2, shape).astype(x.dtype)
        else:
            image = name in contracts and contracts[name].kind == "image"
            made[name] = rng.uniform(0, 255 if image else 1, shape).astype(x.dtype)
    return made


def _gaps(expected, answer):
    """Each output's largest and mean difference, relative where numbers are above 1.

    NaN counts as inf.
    """
    found = []
    for key, wanted in keras.tree.map_structure(np.asarray, expected).items():
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        gap = np.abs(wanted.astype("float64") - answer[key]) / scale
        gap = np.where(np.isnan(gap), np.inf, gap)
        found.append((float(gap.max(initial=0)), float(gap.mean()) if gap.size else 0))
    return found
