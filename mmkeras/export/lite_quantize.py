"""Smaller TFLite files: weights and activations in fewer bits, the front end in float.

TensorFlow's own converter quantises every product in the graph, those of the spectrum
and the mel filters among them, and their numbers are then 100 dB off.
ai-edge-quantizer takes a recipe by name scope, and the scopes come from `lite_graph`.
"""

import contextlib
import io
import warnings

import numpy as np

from mmkeras.export.lite_graph import FLOAT, SCOPE

MODES = (None, "float16", "dynamic", "int8")
#: What `lite_graph.trace` makes of embeddings, in bits.
EMBEDDING_BITS = {None: None, "float16": 16, "dynamic": 8, "int8": 8}
#: Builtin code of CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED -> axis of the channels.
_CHANNEL_AXES = {3: 0, 4: 3, 9: 0}
_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
#: What stands between the convolutions of a picture's network.
_BETWEEN = ("ADD", "MUL", "PAD", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "HARD_SWISH")
_IMAGE, _TEXT = (f"{SCOPE.format(kind)}/" for kind in ("image", "text"))
#: Scope -> operations that compute in whole integers in "int8". Masks, norms and
#: softmax do not; nor does a text encoder, whose activations have outliers that 8 bits
#: a tensor cannot hold; nor the head, whose name is that of the model's output.
_INTEGER = {
    f"^(?!.*({_TEXT}|PartitionedCall))": _PRODUCTS,
    f"^(?!.*PartitionedCall).*{_IMAGE}": _PRODUCTS + _BETWEEN,
}


def quantize_file(content, mode, rows=()):
    """Quantises a float TFLite file.

    Args:
        content: bytes of the file.
        mode: "float16", "dynamic" or "int8".
        rows: for "int8" a list of dicts, input -> array of one row.

    Returns:
        bytes.

    Raises:
        ImportError: ai-edge-quantizer is not installed.
    """
    _package()  # says how to install it
    content = prepared(content, wake=mode == "int8")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        # that calibration keeps all tensors; and progress bars
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")
        job, ranges = _job(content, mode), None
        if mode == "int8":
            recipe = job.get_quantization_recipe()
            ranges = _ranges(_without_unread_names(content), recipe, rows)
        result = job.quantize(ranges, enable_progress_report=False)
    return shared(bytes(result.quantized_model))


def shared(content):
    """The file with equal scales and zero points stored once.

    Each channel has a scale of 4 bytes and a zero point of 8, which is 0 in all
    weights: beside 9 weights a channel, in a depthwise convolution, that is much.
    """
    import flatbuffers
    from ai_edge_litert.tools import flatbuffer_utils

    class Builder(flatbuffers.Builder):
        def CreateNumpyVector(self, x):  # noqa: N802, the package's name
            if x.dtype == "uint8":  # weights, where the runtime wants them aligned
                self.Prep(16, x.size)
                return super().CreateNumpyVector(x)
            key = x.dtype.str, x.tobytes()
            if key not in found:
                found[key] = super().CreateNumpyVector(x)
            return found[key]

    found, builder = {}, Builder(len(content))
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:  # some come as bytes, which are packed one by one
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, "uint8")
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _job(content, mode):
    """ai-edge-quantizer's work on a file, told what to compute in what."""
    quantizer = _package()
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName as Op

    job = quantizer.Quantizer(content)
    if mode == "float16":
        job.add_weight_only_config(
            ".*", Op.ALL_SUPPORTED, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    else:
        for name in _PRODUCTS:
            job.add_dynamic_config(".*", Op[name], 8)
    if mode == "int8":
        for scope, names in _INTEGER.items():
            for name in names:
                job.add_static_config(scope, Op[name], 8, 8)
    job.update_quantization_recipe(
        FLOAT, Op.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
    )
    return job


def prepared(content, wake):
    """The file as ai-edge-quantizer needs it.

    The scope of its weights is put into the name of every model output: the converter
    calls it "PartitionedCall:0", and a front end that ends the model would not be known
    as one. `wake`: see `_wake`.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        for operator in graph.operators:
            taken = [graph.tensors[i] for i in operator.inputs if i >= 0]
            data = [model.buffers[x.buffer].data for x in taken]
            names = [x.name for x, y in zip(taken, data, strict=True) if y is not None]
            for i in operator.outputs:
                if b"PartitionedCall" in graph.tensors[i].name:
                    whole = b";".join([graph.tensors[i].name, *names])
                    graph.tensors[i].name = whole
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if wake and code in _CHANNEL_AXES and len(taken) == 3:
                _wake(model, *taken[1:], _CHANNEL_AXES[code])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _without_unread_names(content):
    """The file without the names of tensors that nothing reads.

    A loop's counters, for one, are never made: calibration, which asks for every tensor
    that has a name, would stop at them.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for graph in model.subgraphs:
        read = {i for operator in graph.operators for i in operator.inputs}
        made = {i for operator in graph.operators for i in operator.outputs}
        for i in made - read - set(graph.outputs):
            graph.tensors[i].name = b""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _wake(model, kernel, bias, axis):
    """Lets no channel of a kernel be all but zero beside its bias.

    The integers of a bias count in steps of input scale times kernel scale: behind a
    dead channel they overflow. One weight of 1e-4 of the bias is less than 8 bits show.
    """
    raw, offsets = (model.buffers[x.buffer].data for x in (kernel, bias))
    if raw is None or offsets is None or kernel.type or bias.type:  # 0 is float32
        return
    weights = np.frombuffer(bytes(raw), "float32").reshape(kernel.shape).copy()
    channels = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    least = 1e-4 * np.abs(np.frombuffer(bytes(offsets), "float32"))
    dead = np.flatnonzero(np.abs(channels).max(axis=1) < least)
    if len(dead):
        first = np.moveaxis(weights, axis, -1)[(0,) * (weights.ndim - 1)]
        first[dead] = least[dead]
        model.buffers[kernel.buffer].data = np.frombuffer(weights.tobytes(), "uint8")


def _ranges(content, recipe, rows):
    """Smallest and largest value of each tensor: name -> {"min", "max"}.

    Over all rows: left to itself, ai-edge-quantizer takes a moving average, in which
    the first row has most of the weight and clips the others.
    """
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    calibrator = Calibrator(content, qsv_update_func=min_max_update)
    calibrator.calibrate({"serve": rows}, manager)
    return calibrator.get_model_qsvs()


def _package():
    try:
        from ai_edge_quantizer import quantizer
    except ImportError as error:
        raise ImportError(
            "`quantize` wants the package ai-edge-quantizer. Install it with "
            "`pip install mmkeras[tflite]`, or leave `quantize=None`."
        ) from error
    return quantizer
