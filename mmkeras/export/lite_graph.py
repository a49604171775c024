"""The graph of a TFLite file, traced from a Keras model that stays as it is.

The model's own layers are called once more, in a function: weights are shared, and
what acts in training alone rests. Three things change on the way. `LogMel` and `MFCC`
compute by matrix products, since TFLite's FFT takes few lengths. Every encoder computes
in a name scope that says its kind, by which quantisation tells the parts apart. And a
quantised file looks words up in a table of integers, which no quantiser makes.
"""

import functools

import keras
import numpy as np

from mmkeras.audio.features.mel import LogMel
from mmkeras.export import checks, endpoints
from mmkeras.export.lite_columns import Columns
from mmkeras.modality import ModalityInput, contract
from mmkeras.model import readers

#: Name scope of an encoder: `mmkeras_image`, `mmkeras_text`, ...
SCOPE = "mmkeras_{}"
#: Begins the names of the layers that stay in float whatever is quantised.
FLOAT = "mmkeras_float"


def trace(model, batch_size=1, any_length=False, embedding_bits=None, columns=False):
    """Traces the function that a TFLite file holds.

    Args:
        model: functional `keras.Model`.
        batch_size: Integer, or None for any.
        any_length: whether waveforms may have any length.
        embedding_bits: 8 or 16, of the numbers in embedding tables; None: float.
        columns: whether texts that come one at a time have their tokens in columns,
            which is faster in float but nothing that quantisers know.

    Returns:
        `(module, function)`: a `tf.Module` that tracks what the function needs, and the
        concrete function of the signature "serve".
    """
    import tensorflow as tf

    wanted = specs(model, batch_size, any_length)
    names = {id(x): name for name, x in inputs(model).items()}
    order = [names[id(x)] for x in model.inputs]
    swap = _Swap(embedding_bits, columns)

    def serve(**tensors):
        result = _scoped(model, [tensors[name] for name in order], swap)
        return named(model, result)

    module = tf.Module(name="mmkeras")
    # the tf.Variables: a tracked Keras model converts without an error, to NaN
    module.weights = [w.value for w in model.variables]
    module.resources = _resources(model)
    function = tf.function(serve, autograph=False).get_concrete_function(**wanted)
    _check_reached(model, swap.front_ends)
    return module, function


def check(model, what):
    """Refuses models that no single file can hold.

    Args:
        model: what the user gave.
        what: string that begins the message, such as "A TFLite file".

    Raises:
        TypeError: `model` is no functional keras.Model.
        ValueError: it has a list of outputs, layers that compute in 16 bits, answers of
            one name, or is not of the TensorFlow backend.
    """
    if not is_graph(model) or not model.built:
        raise TypeError(
            f"`model` wants a functional keras.Model: of `mmkeras.multimodal`, an "
            f"encoder, or layers between `keras.Input`s. Received: {model!r}"
        )
    if isinstance(model.output, list | tuple):
        raise ValueError(
            f"`model` wants one output or a dict of them, since the file names them. "
            f"Received: a list of {len(model.outputs)}."
        )
    checks.need_tensorflow(what)
    narrow = [
        x.name
        for x in model._flatten_layers()
        if x.weights and x.compute_dtype in ("float16", "bfloat16")
    ]
    if narrow:
        raise ValueError(
            f"{what} wants layers that compute in float32. Received: {narrow[:5]} "
            f"under a mixed policy. Build the model again under "
            f"`keras.config.set_dtype_policy('float32')`, give it the weights "
            f"(`set_weights`) and export that; a TFLite file becomes small by "
            f"`quantize='float16'`."
        )
    endpoints.check_names(model, ())


def inputs(model):
    """The model's input tensors by name, whatever structure they have."""
    if isinstance(model.input, dict):
        return dict(model.input)
    return {x.name: x for x in model.inputs}


def pack(model, tensors):
    """A dict of inputs in the structure that the model takes."""
    if isinstance(model.input, dict):
        return tensors
    packed = [tensors[x.name] for x in model.inputs]
    return keras.tree.pack_sequence_as(model.input, packed)


def contracts(model):
    """Input name -> contract, for a multimodal model, an encoder, or neither ({})."""
    found = [x for x in model._flatten_layers() if isinstance(x, ModalityInput)]
    if not found:
        return {}
    if len(model.inputs) == 1 and len(found) == 1:
        return {next(iter(inputs(model))): contract(model)}
    by_name = readers(model)
    return {name: by_name[name] for name in inputs(model) if name in by_name}


def specs(model, batch_size=1, any_length=False):
    """The signature's inputs as `tf.TensorSpec`s, by name."""
    import tensorflow as tf

    kinds = {name: x.kind for name, x in contracts(model).items()}
    found = {}
    for name, x in inputs(model).items():
        shape = list(x.shape[1:])
        if any_length and kinds.get(name) == "audio":
            shape = [None]
        found[name] = tf.TensorSpec([batch_size, *shape], x.dtype, name)
    return found


def named(model, result):
    """Outputs by name, probabilities added where a head has classes.

    "outputs", or the keys of a model with several; "scores" or `<key>_scores`.
    """
    tensors = result if isinstance(result, dict) else {"outputs": result}
    both = dict(tensors)
    for key, head in endpoints.heads(model).items():
        if head is not None and head.kind != "number":
            prefix = "" if key == "outputs" else f"{key}_"
            both[f"{prefix}scores"] = head.probabilities(tensors[key])
    return both


def _run(model, tensors, swap):
    """Calls the layers of a functional model as in inference."""

    def operation(layer):
        def call(*args, **kwargs):
            if is_graph(layer):
                return _scoped(layer, args[0], swap)
            chosen = swap(layer)
            if "training" in getattr(chosen, "_call_context_args", ()):
                kwargs["training"] = False
            return chosen(*args, **kwargs)

        return call

    # a Keras model of the same layers would add nodes to the user's layers
    return _graph(model)._run_through_graph(tensors, operation_fn=operation)


def _scoped(model, tensors, swap):
    """`_run`, in the scope of the encoder's kind if it is one."""
    import tensorflow as tf

    found = [x for x in model.layers if isinstance(x, ModalityInput)]
    scope = f"{SCOPE.format(found[0].kind)}/{model.name}" if found else model.name
    with tf.name_scope(scope):
        return _run(model, tensors, swap)


def is_graph(layer):
    """Whether a layer is a model whose layers can be called one by one."""
    return isinstance(layer, keras.Model) and hasattr(
        _graph(layer), "_run_through_graph"
    )


def _graph(model):
    return model._functional if isinstance(model, keras.Sequential) else model


class _Swap:
    """What is called in place of a layer: the layer itself, as a rule."""

    def __init__(self, embedding_bits, columns=False):
        self.embedding_bits = embedding_bits
        self.columns = Columns() if columns else None
        self.front_ends = {}

    def __call__(self, layer):
        if isinstance(layer, LogMel):
            return self._by_matrices(layer)
        if self.embedding_bits and type(layer) is keras.layers.Embedding:
            return functools.partial(_look_up, layer, self.embedding_bits)
        return layer if self.columns is None else self.columns(layer)

    def _by_matrices(self, layer):
        """A twin of a front end, without weights as they are, that needs no FFT."""
        if layer not in self.front_ends:
            config = {**layer.get_config(), "dft": "matmul"}
            config["name"] = f"{FLOAT}_{layer.name}"
            self.front_ends[layer] = type(layer).from_config(config)
        return self.front_ends[layer]


def _look_up(layer, bits, ids):
    """Rows of an embedding, kept as integers and one scale a row."""
    import tensorflow as tf

    with tf.init_scope():  # out of the function that is being traced: as numbers
        table = keras.ops.convert_to_numpy(layer.embeddings).astype("float32")
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-30) / top
    whole = tf.constant(np.round(table / scale).astype(f"int{bits}"))
    with tf.name_scope(layer.name):
        ids = tf.cast(ids, tf.int32)
        rows = tf.cast(tf.gather(whole, ids), tf.float32) * tf.gather(scale, ids)
        return tf.cast(rows, layer.compute_dtype)


def _check_reached(model, front_ends):
    hidden = [
        x.name
        for x in model._flatten_layers()
        if isinstance(x, LogMel) and x.dft != "matmul" and x not in front_ends
    ]
    if hidden:
        raise ValueError(
            f"A TFLite file wants `dft='matmul'` in every front end. Received: "
            f"{hidden}, inside of other layers, where `tflite` cannot put it. Build "
            f"them with `dft='matmul'`, or call them in the model's own graph."
        )


def _resources(model):
    """What layers capture beside variables; not the tables of contracts' `read`."""
    found = []
    for layer in model._flatten_layers():
        # a lookup table breaks the conversion even of a function without it
        if hasattr(layer, "trackables") and not isinstance(layer, ModalityInput):
            found += layer.trackables()
    return found
