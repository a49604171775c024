"""Asking an ONNX file by the names of its inputs and outputs, in ONNX Runtime."""

from mmkeras.export.lite_file import GraphFile

#: Ends the name of an output whose own name is an input's: ONNX has one for both.
OUTPUT = "_output"
#: ONNX' names of dtypes that NumPy calls otherwise; int64, bool and others are alike.
_DTYPES = {"float": "float32", "double": "float64"}


class OnnxFile(GraphFile):
    """An ONNX file, ready to be asked.

    Args:
        content: bytes of the file.
        threads: Integer, threads that a request may use.

    Call arguments, Returns: as `GraphFile`.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: ONNX Runtime refuses the file, or an input is missing.
    """

    def __init__(self, content, threads=1):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                "An ONNX file wants onnxruntime: pip install mmkeras[onnx]"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes are not public
            raise ValueError(f"ONNX Runtime refuses the file: {error}") from error
        self.inputs = {
            x.name: (tuple(_size(n) for n in x.shape), _dtype(x.type))
            for x in self._session.get_inputs()
        }
        self.outputs = [x.name for x in self._session.get_outputs()]

    def _serve(self, tensors):
        found = self._session.run(None, tensors)
        named = dict(zip(self.outputs, found, strict=True))
        own = {name: name.removesuffix(OUTPUT) for name in named}
        return named | {x: named[k] for k, x in own.items() if x in self.inputs}


def _dtype(kind):
    """NumPy's name of a dtype, of ONNX Runtime's "tensor(<name>)"."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def _size(number):
    return number if isinstance(number, int) else -1
