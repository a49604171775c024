"""Does an exported SavedModel answer as `model.predict` does, in both loaders?"""

import contextlib
import logging
import time

import keras
import numpy as np

from mmkeras.export import answers, endpoints, warmup
from mmkeras.export.raw import Reader
from mmkeras.export.report import EndpointCheck
from mmkeras.model import with_features

#: They call a function of the Python process that traced them; no server has it.
PYTHON_OPS = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
#: The endpoints that are timed, at one row, and how often.
TIMED = ("serve", "serve_raw")
_REQUESTS = 5


def need_tensorflow(what):
    """Refuses an export under another backend than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{what} wants Keras' TensorFlow backend. Received: "
            f"{keras.backend.backend()}. Save the model as `.keras`, then load and "
            f"export it under KERAS_BACKEND=tensorflow."
        )


def questions(model, examples=None, reader=None, thresholds=None):
    """What is asked of every endpoint, and what Keras answers.

    Args:
        model: the multimodal model that is exported.
        examples: optional dict, modality -> list of raw values, as `saved_model`.
        reader: `Reader` of the raw endpoints; what is made up is within its limits.
        thresholds: dict, output -> list of floats, as `endpoints.checked_thresholds`.

    Returns:
        dict, endpoint -> (inputs as numpy, expected answers as `answers.expected` has
        them). The raw rows are one with every modality absent, one made up by kind (a
        picture, a word, a wave) and then `examples`.
    """
    reader = reader or Reader(endpoints.in_order(model))
    contracts = reader.contracts
    if thresholds is None:
        thresholds = endpoints.checked_thresholds(model, 0.5)
    given, count = _encoded(contracts, examples or {})
    raw = {}
    for name, contract in contracts.items():
        probe = made_up(contract)
        probe = probe if len(probe) <= reader.max_bytes[name] else b""
        raw[name] = np.array([b"", probe, *given.get(name, [b""] * count)], "O")
    tensors = {k: np.asarray(v) for k, v in endpoints.read(contracts, raw).items()}
    noise = made_noise(model.input, contracts, count + 2)
    random = endpoints.by_name(model.predict(noise, verbose=0))
    found = endpoints.by_name(model.predict(tensors, verbose=0))
    absent = reader.on_bad_value == "absent"
    told = answers.statuses(tensors, contracts) if absent else {}
    asked = {
        "serve": (noise, answers.expected(model, random, thresholds)),
        "serve_raw": (raw, {**answers.expected(model, found, thresholds), **told}),
    }
    for name in endpoints.towers(model):
        own = {key: x for key, x in told.items() if key == f"{name}_status"}
        own["embedding"] = answers.Numbers(found[name])
        asked[name] = {name: raw[name]}, own
    if "features" in endpoints.names(model):
        _, fused = with_features(model)(tensors, training=False)
        fused = keras.ops.convert_to_numpy(fused)
        asked["features"] = raw, {"features": answers.Numbers(fused), **told}
    examples = {"inputs": np.array(warmup.examples(raw), "O")}
    for name, (method, key) in endpoints.examples_endpoints(model).items():
        if method == "classify":
            result = answers.classified(endpoints.heads(model)[key], found[key])
        else:
            result = {"outputs": answers.Numbers(found[key])}
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
    v1, milliseconds = ask_v1(folder, asked)
    with unoptimised():  # v1 went through the graph optimisers: most of the seconds
        found = {"python": ask(loaded, asked), "v1 loader": v1}
        replay(loaded, warmup.read(folder), default)
    checks = []
    for name, (inputs, expected) in asked.items():
        gaps = {x: answers.gaps(expected, y[name]) for x, y in found.items()}
        worst = {x: max(y, key=y.get) for x, y in gaps.items()}
        largest = {x: max(y.values())[0] for x, y in gaps.items()}
        check = EndpointCheck(
            name=name,
            inputs=tuple(inputs),
            outputs=tuple(found["python"][name]),
            differences=largest,
            mean_differences={
                x: max(g for _, g in y.values()) for x, y in gaps.items()
            },
            farthest=worst[max(largest, key=largest.get)],
            milliseconds=milliseconds.get(name),
        )
        checks.append(check)
    return tuple(checks)


def ask(loaded, asked):
    """Answers of what `tf.saved_model.load` gave."""
    import tensorflow as tf

    found = {}
    for name, (inputs, _) in asked.items():
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        answer = loaded.signatures[name](**tensors)
        found[name] = {key: answer[key].numpy() for key in sorted(answer)}
    return found


def ask_v1(folder, asked):
    """Asks a SavedModel loaded as TF Serving does: a session on the serve tag.

    Returns:
        `(answers, milliseconds)`: endpoint -> its answers, and, of those in `TIMED`,
        the median wall time of a request of one row.
    """
    import tensorflow as tf

    found, milliseconds = {}, {}
    config = tf.compat.v1.ConfigProto()
    # once through the optimisers is enough for a graph that runs once
    config.graph_options.rewrite_options.meta_optimizer_iterations = 1
    with quiet(), tf.compat.v1.Session(graph=tf.Graph(), config=config) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        for name, (inputs, _) in asked.items():
            signature = meta.signature_def[name]
            wanted = {k: x.name for k, x in signature.outputs.items()}
            fed = {signature.inputs[k].name: x for k, x in inputs.items()}
            found[name] = session.run(wanted, fed)
            if name in TIMED:
                row = {key: x[1:2] for key, x in fed.items()}
                milliseconds[name] = _milliseconds(session, wanted, row)
    return found, milliseconds


def _milliseconds(session, wanted, fed):
    """Median wall time of a request, after one that warms up."""
    seconds = []
    for _ in range(1 + _REQUESTS):
        start = time.perf_counter()
        session.run(wanted, fed)
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds[1:]))


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
    """Operations in a SavedModel's graph that a server of TensorFlow's core lacks."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    file = saved_model_pb2.SavedModel()
    with open(f"{folder}/saved_model.pb", "rb") as stream:
        file.ParseFromString(stream.read())
    used = operations(file.meta_graphs[0].graph_def)
    lacking = {x for x in used if not hasattr(tf.raw_ops, x)}
    return tuple(sorted(lacking | used.intersection(PYTHON_OPS)))


def operations(graph):
    """Operations of a GraphDef and of the functions in it, by name."""
    own = {function.signature.name for function in graph.library.function}
    return {node.op for node in nodes(graph)} - own


def nodes(graph):
    """Nodes of a GraphDef and of the functions in it."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


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
