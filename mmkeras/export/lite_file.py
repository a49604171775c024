"""Asking a TFLite or ONNX file by the names of its inputs and outputs."""

import time
import warnings

import numpy as np


class GraphFile:
    """What both kinds of file share. A subclass sets `inputs` and writes `_serve`.

    Call arguments:
        tensors: dict, input -> array `(batch, ...)`; a file for batches of one size is
            asked batch by batch, the last one filled up.

    Returns:
        dict, output -> array `(batch, ...)`.

    Raises:
        ValueError: an input is missing, or the inputs have not as many rows each.
    """

    #: dict, input -> (shape with the batch, -1 for any; dtype's name).
    inputs = None

    def __call__(self, tensors):
        if set(tensors) != set(self.inputs):
            raise ValueError(
                f"The file wants the inputs {sorted(self.inputs)}. "
                f"Received: {sorted(tensors)}"
            )
        tensors = {
            name: np.asarray(tensors[name], dtype)
            for name, (_, dtype) in self.inputs.items()
        }
        size = max(shape[0] for shape, _ in self.inputs.values())
        counts = {name: x.shape[0] if x.ndim else None for name, x in tensors.items()}
        count = next(iter(counts.values()))
        if set(counts.values()) != {count} or count is None or not (count or size < 1):
            raise ValueError(
                f"The file wants as many rows of each input, and one or more. "
                f"Received rows: {counts}"
            )
        if size < 1:
            return self._serve(tensors)
        parts = []
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            parts.append(self._serve({name: x[rows] for name, x in tensors.items()}))
        return {
            name: np.concatenate([part[name] for part in parts])[:count]
            for name in parts[0]
        }

    def milliseconds(self, tensors, repeats=25, budget=1.0):
        """Median wall time of a request, at least 5 of them, in ms.

        Args:
            tensors: dict as for a call; the first row is asked.
            repeats: Integer, requests at most.
            budget: Float, seconds after which no request starts beyond the fifth.
        """
        row = {name: x[:1] for name, x in tensors.items()}
        self(row)
        seconds, begin = [], time.perf_counter()
        while len(seconds) < 5 or (
            len(seconds) < repeats and time.perf_counter() - begin < budget
        ):
            start = time.perf_counter()
            self(row)
            seconds.append(time.perf_counter() - start)
        return 1e3 * float(np.median(seconds))


class LiteFile(GraphFile):
    """A TFLite file with the signature "serve", ready to be asked.

    Runs in LiteRT (ai-edge-litert) where that is installed, else in TensorFlow.

    Example:
        file = LiteFile(pathlib.Path("products.tflite").read_bytes())
        file({"photo": pixels, "photo_present": np.ones(1, "float32")})["outputs"]

    Args:
        content: bytes of the file.
        threads: Integer, threads that a request may use.

    Call arguments, Returns: as `GraphFile`.

    Raises:
        ValueError: the interpreter refuses the file, or an input is missing.
    """

    def __init__(self, content, threads=1):
        try:
            self._interpreter = _interpreter(content, threads)
            serve = self._interpreter.get_signature_runner("serve")
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"TFLite refuses the file: {error}") from error
        details = sorted(serve.get_input_details().items())
        self.inputs = {
            name: (tuple(map(int, x["shape_signature"])), np.dtype(x["dtype"]).name)
            for name, x in details
        }
        # by place: a signature runner allocates anew for every request
        self._in = {name: x["index"] for name, x in details}
        details = sorted(serve.get_output_details().items())
        self._out = {name: x["index"] for name, x in details}
        self.outputs = list(self._out)
        self._shapes = None

    def _serve(self, tensors):
        interpreter = self._interpreter
        shapes = {name: x.shape for name, x in tensors.items()}
        if shapes != self._shapes:
            for name, shape in shapes.items():
                interpreter.resize_tensor_input(self._in[name], shape, strict=True)
            interpreter.allocate_tensors()
            self._shapes = shapes
        for name, x in tensors.items():
            interpreter.set_tensor(self._in[name], x)
        interpreter.invoke()
        return {name: interpreter.get_tensor(i) for name, i in self._out.items()}


def _interpreter(content, threads):
    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=content, num_threads=threads)
    except ImportError:
        import tensorflow as tf

        with warnings.catch_warnings():
            # that it will move to ai-edge-litert, which is not there
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
            return tf.lite.Interpreter(model_content=content, num_threads=threads)
