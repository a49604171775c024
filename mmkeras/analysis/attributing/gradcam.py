"""Grad-CAM: the places of a picture or sound that a convolutional encoder looks at.

Selvaraju et al. 2017, arXiv:1610.02391.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from mmkeras.analysis.attributing import targets
from mmkeras.analysis.attributing.graph import ordered, run, with_gradients
from mmkeras.analysis.attributing.inputs import checked
from mmkeras.audio.features.frames import FrameMask
from mmkeras.audio.features.mel import LogMel
from mmkeras.model import encoders
from mmkeras.transfer import trunk

# convolution -> rank of its feature map
_CONVOLUTIONS = {
    keras.layers.Conv1D: 3,
    keras.layers.SeparableConv1D: 3,
    keras.layers.DepthwiseConv1D: 3,
    keras.layers.Conv2D: 4,
    keras.layers.SeparableConv2D: 4,
    keras.layers.DepthwiseConv2D: 4,
}


@dataclasses.dataclass(frozen=True)
class GradCam:
    """What `grad_cam` gives.

    Args:
        modality: name.
        layer: name of the layer whose feature map was weighed.
        classes: tuple of the outputs' names.
        target: integers `(rows,)`, the output asked for.
        maps: `(rows, height, width)` in [0, 1], or `(rows, frames)` of a sound; 1 is
            the row's largest, all 0 where nothing speaks for the target.
        coarse: the same before it was resized, not normalised.
    """

    modality: str
    layer: str
    classes: tuple
    target: np.ndarray
    maps: np.ndarray
    coarse: np.ndarray

    def to_frame(self):
        """DataFrame, a row per row: the class, and where the map is largest."""
        import pandas

        flat = self.maps.reshape(len(self.maps), -1)
        peaks = np.unravel_index(flat.argmax(1), self.maps.shape[1:])
        axes = ("y", "x") if self.maps.ndim == 3 else ("frame",)
        columns = {
            "class": [self.classes[i] for i in self.target],
            **dict(zip(axes, peaks, strict=True)),
            "share above half": (flat > 0.5).mean(1),
        }
        return pandas.DataFrame(columns).rename_axis("row")

    def __str__(self):
        return f"Grad-CAM of '{self.modality}' at {self.layer}\n" + str(self.to_frame())


def grad_cam(model, inputs, modality=None, layer=None, target=None, batch_size=16):
    """Heat maps of an image or audio encoder: which places speak for an output.

    map = relu(sum_k w_k A_k), w_k = mean over places of dy / dA_k, for the channels
    A_k of a feature map; resized to the picture (bilinear) and divided by its largest.
    Inference mode. A row without the modality gets zeros.

    Of a sound whose encoder convolves over time alone (`mfcc_cnn`) the map is one
    number a frame of the front end: such a layer has no frequencies to tell apart.

    Example:
    >>> pixels = mmkeras.image.Pixels((8, 8))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(pixels(image))
    >>> tiny = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    >>> head = mmkeras.heads.classification(["cat", "dog"]).layer
    >>> model = mmkeras.multimodal({"photo": tiny}, mmkeras.fusion.Concat(), head)
    >>> cam = mm.analysis.grad_cam(model, {"photo": np.ones((1, 8, 8, 3))})
    >>> cam.layer, cam.maps.shape
    ('conv', (1, 8, 8))

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        inputs: dict of arrays, as the model takes; `<name>_present` may be left out.
        modality: name; default: the only picture with convolutions, or else the only
            modality with them.
        layer: name of a layer with a feature map, "network/layer" for one in a nested
            model; default: the last one before the pooling.
        target: name or number of a class, or one for each row; default: the largest
            output of each row.
        batch_size: Integer, rows at once.

    Returns:
        `GradCam`.

    Raises:
        ValueError: no encoder with convolutions, several and no `modality`, an unknown
            layer (the message lists the valid ones), or an unknown target.

    Reference:
        Selvaraju et al. 2017, arXiv:1610.02391. Departs: as the authors' code, each
        map is divided by its largest value.
    """
    tensors, present = checked(model, inputs)
    modality = _modality(model, modality)
    cut = _Cut(encoders(model)[modality], modality, layer)
    asked, coarse, classes = _coarse(
        model, cut, modality, tensors, present, target, batch_size
    )
    there = present[modality].reshape(-1, *[1] * (coarse.ndim - 1)) > 0
    coarse = np.where(there, coarse, 0)
    maps = cut.masked(tensors[modality], _resized(coarse, cut.places))
    largest = maps.max(axis=tuple(range(1, maps.ndim)), keepdims=True)
    maps = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    return GradCam(modality, cut.name, classes, asked, maps, coarse)


class _Cut:
    """An encoder in two at a layer: `head` up to its feature map, `tail` behind it."""

    def __init__(self, encoder, modality, layer):
        valid = _layers(encoder)
        names = {_name(path): path for path in valid}
        short = {path[-1][0].operation.name: path for path in valid}
        chosen = list(names)[-1] if layer is None else layer
        path = names.get(chosen, short.get(chosen))
        if path is None:
            raise ValueError(
                f"`layer` wants a layer of '{modality}' with a feature map. Received: "
                f"{layer!r}. Valid names, the last the default: {list(names)}"
            )
        self.encoder, self.path, self.name = encoder, path, _name(path)
        self.places = _places(encoder, path)

    def head(self, x):
        """The feature map at tensors `x`."""
        tensor = self.encoder.input
        x = ops.convert_to_tensor(x, dtype=tensor.dtype)
        for i, (node, model) in enumerate(self.path):
            if i:
                tensor = model.inputs[0]
            last = i + 1 == len(self.path)
            wanted = node.outputs[0] if last else node.input_tensors[0]
            x = run(wanted, [(tensor, x)])
        return x

    def tail(self, x, value):
        """The encoder's output where the feature map is `value`."""
        return self._behind(self.encoder, self.encoder.output, x, value, 0)

    def masked(self, x, maps):
        """`maps` with zeros behind the end of each clip."""
        for node in ordered(keras.tree.flatten(self.encoder.output)):
            shape = node.outputs[0].shape[1:]
            if isinstance(node.operation, FrameMask) and shape == maps.shape[1:2]:
                mask = run(node.outputs[0], [(self.encoder.input, x)])
                mask = ops.convert_to_numpy(mask)
                return maps * mask.reshape(*mask.shape, *[1] * (maps.ndim - 2))
        return maps

    def _behind(self, model, output, x, value, depth):
        node, _ = self.path[depth]
        entry = model.inputs[0]
        given = [(entry, ops.convert_to_tensor(x, dtype=entry.dtype))]
        if depth + 1 < len(self.path):
            inner = node.operation
            inside = run(node.input_tensors[0], given)
            value = self._behind(inner, inner.outputs[0], inside, value, depth + 1)
        return run(output, [*given, (node.outputs[0], value)])


def _coarse(model, cut, modality, tensors, present, target, batch_size):
    """Targets `(rows,)`, maps before the resize, and the outputs' names."""
    behind = trunk(model, cached=tuple(sorted(tensors)))
    parts = encoders(model)

    def answer(moving, fixed):
        flat = {}
        for name, part in parts.items():
            x = fixed[name]
            feature = cut.tail(x, moving["map"]) if name == modality else part(x)
            if isinstance(feature, dict):
                flat |= {f"{name}_{key}": value for key, value in feature.items()}
            else:
                flat[name] = feature
            flat[f"{name}_present"] = fixed[f"{name}_present"]
        outputs = ops.cast(behind(flat), "float32")
        return ops.sum(outputs * fixed["select"], axis=-1), outputs

    compiled = with_gradients(answer)
    width, rows = model.output.shape[-1], len(present[modality])
    classes = targets.names(model, width)
    fixed = {**tensors, **{f"{x}_present": there for x, there in present.items()}}
    spans = [slice(i, i + batch_size) for i in range(0, rows, batch_size)]
    features = [ops.convert_to_numpy(cut.head(tensors[modality][x])) for x in spans]

    def passed(select):
        for span, feature in zip(spans, features, strict=True):
            given = {name: x[span] for name, x in fixed.items()}
            yield compiled({"map": feature}, {**given, "select": select[span]})

    nothing = np.zeros((rows, width), "float32")
    outputs = np.concatenate([made for made, _ in passed(nothing)])
    asked = targets.places(target, outputs, classes)
    maps = []
    gradients = passed(np.eye(width, dtype="float32")[asked])
    for feature, (_, gradient) in zip(features, gradients, strict=True):
        axes = tuple(range(1, feature.ndim - 1))
        weights = gradient["map"].astype("float64").mean(axes, keepdims=True)
        maps.append(np.maximum((weights * feature).sum(-1), 0.0))
    return asked, np.concatenate(maps), classes


def _modality(model, modality):
    valid = {name: x for name, x in encoders(model).items() if _layers(x)}
    pictures = [x for x in valid if len(_feature(_layers(valid[x])[-1]).shape) == 4]
    if modality is None:
        for names in (pictures, list(valid)):
            if len(names) == 1:
                return names[0]
    if modality not in valid:
        raise ValueError(
            f"`modality` wants one of {sorted(valid)}, whose encoders have "
            f"convolutions. Received: modality={modality!r}"
        )
    return modality


def _layers(encoder):
    """Paths to the layers with a feature map from the first convolution to the last.

    A path is a list of pairs (node, its model), from the encoder inwards. The last is
    the layer before the pooling: the last of the same rank as the last convolution.
    """
    found = _walk(encoder, [])
    ranks = [_rank(path[-1][0].operation) for path in found]
    known = [i for i, rank in enumerate(ranks) if rank]
    if not known:
        return []
    rank = ranks[known[-1]]
    return [
        path
        for i, path in enumerate(found)
        if i >= known[0] and len(_feature(path).shape) == rank
    ]


def _walk(model, above):
    paths = []
    for node in ordered(model.outputs):
        if node.is_input or not isinstance(node.operation, keras.layers.Layer):
            continue
        path = [*above, (node, model)]
        inner = node.operation
        if isinstance(inner, keras.Model) and _is_plain(inner):
            paths += _walk(inner, path)
        if len(node.outputs) == 1 and None not in node.outputs[0].shape[1:]:
            paths.append(path)
    return paths


def _is_plain(model):
    """Whether a nested model has a graph, of one input and one output."""
    ends = [getattr(model, x, None) or [] for x in ("inputs", "outputs")]
    return all(len(x) == 1 for x in ends)


def _rank(operation):
    """Rank of a convolution's feature map; 0 for another layer."""
    return next(
        (n for kind, n in _CONVOLUTIONS.items() if isinstance(operation, kind)), 0
    )


def _feature(path):
    return path[-1][0].outputs[0]


def _name(path):
    return "/".join(node.operation.name for node, _ in path)


def _places(encoder, path):
    """What the map is resized to: the picture's size, or the front end's frames."""
    shape = _feature(path).shape
    fronts = [
        node.outputs[0].shape
        for node in ordered(keras.tree.flatten(encoder.output))
        if isinstance(node.operation, LogMel)
    ]
    size = fronts[0][1:] if fronts else encoder.input.shape[1:]
    return tuple(size[: len(shape) - 2]) if len(size) >= len(shape) - 2 else shape[1:-1]


def _resized(maps, places):
    """Maps `(rows, height, width)` or `(rows, frames)` of another size, bilinear."""
    flat = maps.ndim == 2
    picture = maps[:, :, None, None] if flat else maps[..., None]
    size = (places[0], 1) if flat else places
    made = ops.image.resize(
        picture.astype("float32"),
        size,
        interpolation="bilinear",
        data_format="channels_last",
    )
    made = ops.convert_to_numpy(made)[..., 0]
    return made[:, :, 0] if flat else made
