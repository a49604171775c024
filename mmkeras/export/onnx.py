"""An ONNX file: one model for ONNX Runtime, waveform and token ids in."""

import collections
import contextlib
import logging
import warnings
from pathlib import Path

import numpy as np

from mmkeras.export import companions, lite_check, lite_graph
from mmkeras.export.onnx_file import OUTPUT

#: Version of ONNX' operator set; ONNX Runtime of 2023 and later reads it.
OPSET = 18


def onnx(model, path, *, representative=None, tolerance=1e-4, overwrite=False):
    """Writes a model as an ONNX file of standard operations, for batches of any size.

    It takes the model's inputs by name (pictures as numbers, waveforms, token ids,
    `<name>_present`) and gives "outputs" as `model.predict`, or the keys of a model
    with several, and behind a head of `mmkeras.heads` "scores", or `<key>_scores`. A
    key that is an input's name too, as of `mmkeras.two_tower`, is `<key>_output`.
    `LogMel` and `MFCC` compute by matrix products, which `model.export(format="onnx")`
    of Keras does not know: it writes their FFT as an operation that ONNX lacks.

    Beside `products.onnx` lie the files that `tflite` writes beside its own: the card,
    and for texts the vocabulary and a tokenizer. All appear whole or not at all, after
    the file was compared with `model.predict` in ONNX Runtime.

    Wants `pip install mmkeras[onnx]`.

    Args:
        model: functional `keras.Model`: a multimodal model, an encoder, or layers.
        path: file to write, on this machine, ending in ".onnx".
        representative: rows as `model.predict` takes them, that the file is compared
            and, with labels, scored on, beside made-up ones; see `tflite`.
        tolerance: largest difference to `model.predict` that is let through, relative
            to the largest expected number where that is above 1.
        overwrite: replace files that lie there.

    Returns:
        `LiteReport`; `print` shows it as a table.

    Raises:
        TypeError: `model` is no functional keras.Model.
        ValueError: an argument is wrong, `path` is taken, an operation is none of
            ONNX' own, or the file differs from `model.predict`.
        ImportError: tf2onnx or onnxruntime is not installed.
    """
    if Path(path).suffix != ".onnx":
        raise ValueError(
            f"`path` wants a file ending in '.onnx'. Received: {str(path)!r}"
        )
    lite_graph.check(model, "An ONNX file")
    rows = labels = None
    if representative is not None:
        rows, labels = lite_check.real_rows(model, representative)
    with companions.whole(model, path, overwrite) as folder:
        content, counts = _convert(model)
        report = _report(model, path, content, counts, (rows, labels), tolerance)
        if not report.max_difference <= tolerance:
            raise ValueError(
                f"The ONNX file differs from `model.predict` by "
                f"{report.max_difference:.2g}, more than `tolerance`={tolerance:.2g}; "
                f"inf stands for NaN. Nothing was written. Look for NaN weights or for "
                f"layers that are random at inference.\n{report}"
            )
        file = folder / Path(path).name
        companions.write(model, file)
        file.write_bytes(content)
    return report


def _convert(model):
    """Bytes of the file, and operation -> how often."""
    try:
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            "An ONNX file wants tf2onnx: pip install mmkeras[onnx]"
        ) from error
    module, function = lite_graph.trace(model, batch_size=None)
    with _quiet():
        # no file has resources: it wants the names of inputs and outputs alone
        made, _ = tf2onnx.convert.from_function(
            _Traced(function),
            input_signature=(),
            opset=OPSET,
            custom_op_handlers={"SelectV2": (_where, []), "Erfc": (_erfc, [])},
        )
    del module  # tracked the variables until now
    counts = collections.Counter(
        f"CUSTOM {x.op_type}" if x.domain not in ("", "ai.onnx") else x.op_type
        for x in made.graph.node
    )
    return made.SerializeToString(), dict(sorted(counts.items()))


def _where(graph, node, name, arguments):
    """TensorFlow's where as ONNX' own.

    tf2onnx would multiply both sides by 0 and 1, and NaN times 0 is NaN.
    """
    node.type, node.domain = "Where", ""
    return node


def _erfc(graph, node, name, arguments):
    """1 - erf(x), of which exact GELU is made; tf2onnx knows no operation for it."""
    about = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    graph.remove_node(name)
    erf = graph.make_node("Erf", node.input, name=f"{name}_erf", **about)
    one = graph.make_const(f"{name}_one", np.array(1, "float32"))
    both = [one.output[0], erf.output[0]]
    graph.make_node("Sub", both, outputs=node.output, name=name, **about)


class _Traced:
    """A concrete function, in the form in which tf2onnx asks for one.

    It has no inputs but the model's: tensors that a layer keeps, as `Normalization`
    its mean, are captured, and tf2onnx would ask for them in each request. And no
    output is called as an input is, for which ONNX has one name.
    """

    def __init__(self, function):
        self._function = function
        inside = {id(x) for _, x in function.graph.captures}
        self.inputs = [x for x in function.inputs if id(x) not in inside]
        taken = function.structured_input_signature[1]
        self.structured_outputs = {
            f"{key}{OUTPUT}" if key in taken else key: x
            for key, x in function.structured_outputs.items()
        }

    def get_concrete_function(self):
        return self

    def __getattr__(self, name):
        return getattr(self._function, name)


@contextlib.contextmanager
def _quiet():
    """Without tf2onnx's notices, and with Keras' patches of it for NumPy 2."""
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch_tf2onnx()
            yield
    finally:
        logger.setLevel(level)


def _report(model, path, content, counts, given, tolerance):
    from mmkeras.export.onnx_file import OnnxFile

    try:
        file = OnnxFile(content)
    except ValueError as error:
        raise ValueError(
            f"`model` wants operations that ONNX has. {error}. Nothing was written: "
            f"write the layer with other `keras.ops`, or export "
            f"`mmkeras.export.tflite` or `mmkeras.export.saved_model`."
        ) from error
    rows, labels = given
    asked = lite_check.questions(model, rows)
    asking = (model, path, len(content), file, asked)
    return lite_check.report(*asking, tolerance, counts, labels)
