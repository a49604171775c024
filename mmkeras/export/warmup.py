"""Requests that TF Serving sends itself before the first client's.

TensorFlow prepares a graph when it is first asked, which takes seconds for a large one.
TF Serving finds `assets.extra/tf_serving_warmup_requests`, a TFRecord file of
`tensorflow.serving.PredictionLog`, and answers what is in it before a version counts as
ready. The few messages of that format are written here byte by byte, so that an export
needs no package beyond TensorFlow.
"""

from pathlib import Path

from mmkeras.export import endpoints

FILE = "assets.extra/tf_serving_warmup_requests"
#: Field of a PredictionLog by kind of request.
_LOGS = {"classify": 2, "regress": 3, "predict": 6}


def write(folder, requests):
    """Writes the warm-up file of a SavedModel.

    Args:
        folder: the SavedModel's folder.
        requests: list of (signature, method, inputs): "predict" with a dict, input ->
            numpy array; "classify" or "regress" with a list of serialised tf.Examples.
    """
    import tensorflow as tf

    file = Path(folder, FILE)
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, method, inputs in requests:
            writer.write(encode(signature, method, inputs))


def read(folder):
    """The requests of a SavedModel's warm-up file, as `write` takes them."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(str(Path(folder, FILE)))
    return [decode(record.numpy()) for record in records]


def encode(signature, method, inputs):
    """One request as the bytes of a `tensorflow.serving.PredictionLog`."""
    import tensorflow as tf

    spec = _field(1, _field(3, signature.encode()))  # ModelSpec.signature_name
    if method == "predict":
        parts = []
        for name, value in inputs.items():
            tensor = value
            if not isinstance(value, _tensor_proto()):
                tensor = tf.make_tensor_proto(value)
            pair = _field(1, name.encode()), _field(2, tensor.SerializeToString())
            parts.append(_field(2, *pair))
    else:  # Input.example_list.examples
        examples = [_field(1, example) for example in inputs]
        parts = [_field(2, _field(1, *examples))]
    return _field(_LOGS[method], _field(1, spec, *parts))


def decode(record):
    """What `encode` wrote: (signature, method, inputs)."""
    import tensorflow as tf

    ((number, log),) = _fields(record)
    ((_, request),) = _fields(log)
    (_, spec), *parts = _fields(request)
    ((_, signature),) = _fields(spec)
    method = {v: k for k, v in _LOGS.items()}[number]
    if method != "predict":
        ((_, given),) = parts
        ((_, examples),) = _fields(given)
        return signature.decode(), method, [x for _, x in _fields(examples)]
    inputs = {}
    for _, pair in parts:
        (_, name), (_, value) = _fields(pair)
        tensor = _tensor_proto().FromString(value)
        inputs[name.decode()] = tf.make_ndarray(tensor)
    return signature.decode(), method, inputs


def requests(model, raw, default):
    """What a model's server is asked first: each endpoint, one row and two.

    Args:
        model: a multimodal model.
        raw: dict, modality -> encoded values that can be read, the empty one first.
        default: the endpoint that is also `serving_default`.
    """
    import tensorflow as tf

    both = {name: values[:2] for name, values in raw.items()}
    one = {name: values[1:2] for name, values in raw.items()}
    ones = {}
    for name, spec in endpoints.tensor_specs(model).items():
        # one number with a shape is a whole tensor: a few bytes for a picture
        fill = 1 if name.endswith("_present") else 0
        shape = [1, *(n or 1 for n in spec.shape[1:])]
        ones[name] = tf.make_tensor_proto(fill, spec.dtype, shape)
    made = []
    methods = endpoints.examples_endpoints(model)
    towers = endpoints.towers(model)
    for signature in [*endpoints.names(model), "serving_default"]:
        name = default if signature == "serving_default" else signature
        if name in methods:
            method, _ = methods[name]
            made += [(signature, method, examples(x)) for x in (one, both)]
        elif name == "serve":
            made.append((signature, "predict", ones))
        elif name in towers:
            made += [(signature, "predict", {name: x[name]}) for x in (one, both)]
        else:
            made += [(signature, "predict", x) for x in (one, both)]
    return made


def examples(raw):
    """Raw values by modality as serialised tf.Examples, one a row; empty ones out."""
    import tensorflow as tf

    made = []
    for row in zip(*raw.values(), strict=True):
        features = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in zip(raw, row, strict=True)
            if value
        }
        features = tf.train.Features(feature=features)
        made.append(tf.train.Example(features=features).SerializeToString())
    return made


def _tensor_proto():
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    return TensorProto


def _field(number, *parts):
    """A field of a message: its number, its length, its bytes."""
    content = b"".join(parts)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _fields(data):
    """The fields of a message, all of the kind of `_field`: (number, bytes)."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        size, at = _read_varint(data, at)
        yield key >> 3, data[at : at + size]
        at += size


def _varint(number):
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    octets = []
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    return bytes([*octets, number])


def _read_varint(data, at):
    number = shift = 0
    while data[at] > 127:
        number |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
