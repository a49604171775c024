"""Where each kind of encoder is cut for attribution, and what its baseline is.

A point is the tensor that moves from baseline to input: the pixels, the embeddings of
the word pieces, the features of the audio front end, a table's encoded columns. What
else follows from the input (the padding mask, a clip's length) keeps its value, so that
nothing jumps on the way.
"""

import keras
import numpy as np
from keras import ops

from mmkeras.analysis.attributing.graph import maker, ordered, run
from mmkeras.audio.features.mel import LogMel
from mmkeras.audio.features.mfcc import MFCC
from mmkeras.audio.waveform import ClipLength
from mmkeras.image.pixels import GREY
from mmkeras.modality import contract
from mmkeras.tabular import Columns
from mmkeras.text.layers import Row
from mmkeras.text.token_ids import TokenIds

_EDGES = ("[CLS]", "[SEP]", "[PAD]")
_CEPSTRAL = ("num_coefficients", "lifter", "lifter_start", "dct_norm")
#: Seconds of the wave whose attributions are summed where there is no front end.
_FRAME = 0.01


class Point:
    """The encoder's input itself, any tensor of floats.

    Args:
        encoder: `keras.Model` with a contract.
        name: the modality.
        baseline: a name of `self.baselines`, None for the first of them, or an array
            of the contract's `tensor_shape`, with or without rows.

    Raises:
        ValueError: unknown baseline, or an array of another shape.
    """

    #: Names of the baselines, the default first.
    baselines = ("zeros",)
    #: Names of the map's last axis, for a table.
    columns = None

    def __init__(self, encoder, name, baseline=None):
        self.encoder, self.contract = encoder, contract(encoder)
        self.kind = self.contract.kind
        self.baseline = self.baselines[0] if baseline is None else baseline
        _check_baseline(self, name)
        self.tensor = self.place()

    def place(self):
        """The symbolic tensor that moves."""
        return self.encoder.input

    def held(self):
        """Symbolic tensors behind the point that keep the input's value."""
        return []

    def start(self, x):
        """The point's value at tensors `x`, numpy."""
        return _numpy(self._run(self.tensor, x))

    def reference(self, x):
        """The point's value at the baseline of tensors `x`, numpy."""
        if isinstance(self.baseline, str):
            return self.named(x, self.baseline)
        shape = (len(x), *self.contract.tensor_shape)
        given = np.asarray(self.baseline, self.contract.tensor_dtype)
        return self.of_tensor(x, np.broadcast_to(given, shape))

    def named(self, x, baseline):
        """The point's value at one of the baselines of `self.baselines`."""
        return np.zeros_like(x)

    def of_tensor(self, x, tensor):
        """The point's value at a tensor in place of `x`."""
        return self.start(tensor)

    def feature(self, x, value):
        """The encoder's output where the point has another value; tensors."""
        given = [(self.encoder.input, _typed(x, self.encoder.input))]
        held = self.held()
        if held:
            given += zip(held, run(held, given), strict=True)
        value = ops.cast(value, self.tensor.dtype)
        given.append((self.tensor, self.masked(x, value)))
        return run(self.encoder.output, given)

    def masked(self, x, value):
        """The point's value with Keras' own mask, where the encoder counts on it."""
        return value

    def difference(self, x):
        """Start less reference, in the form in which `map` reads it, numpy."""
        return self.start(x) - self.reference(x)

    def map(self, difference, gradient):
        """Attributions in the form in which they are read."""
        return difference * gradient

    def values(self, x):
        """What the map lies over: the picture, the pieces, the spectrogram."""
        return x

    def _run(self, outputs, x, given=()):
        pairs = [(self.encoder.input, _typed(x, self.encoder.input)), *given]
        return run(outputs, pairs)


class Picture(Point):
    """Pixels `(height, width, 3)`, RGB 0-255."""

    baselines = ("grey", "black", "blurred")

    def named(self, x, baseline):
        if baseline == "blurred":
            from scipy.ndimage import gaussian_filter

            sigma = min(x.shape[1:3]) / 10
            return gaussian_filter(x, (0, sigma, sigma, 0))
        return np.full_like(x, GREY if baseline == "grey" else 0.0)


class Words(Point):
    """The embedding of each word piece; mask and positions are the input's.

    In the baselines [CLS], [SEP] and padding keep their embeddings.
    """

    baselines = ("pad", "mask", "zeros")

    def place(self):
        nodes = ordered(keras.tree.flatten(self.encoder.output))
        for node in nodes:
            if isinstance(node.operation, keras.layers.Embedding) and not isinstance(
                maker(node.input_tensors[0]).operation, Row
            ):
                self.embedding = node.operation
                return node.outputs[0]
        raise ValueError(
            f"Attribution to words wants a text encoder with a layer "
            f"`keras.layers.Embedding` in its own graph. Received: '"
            f"{self.encoder.name}' with {[x.name for x in self.encoder.layers]}"
        )

    def named(self, x, baseline):
        words = self._words(x)
        if baseline == "zeros":
            return np.where(words[..., None], 0, self.start(x)).astype("float32")
        token = f"[{baseline.upper()}]"
        if token not in self.contract.vocabulary:
            raise ValueError(f"The vocabulary has no {token}. Choose another baseline.")
        other = self.contract.vocabulary.index(token)
        return self.start(np.where(words, other, x).astype(x.dtype))

    def masked(self, x, value):
        if self.embedding.mask_zero:
            value._keras_mask = ops.not_equal(x, 0)
        return value

    def map(self, difference, gradient):
        return (difference * gradient).sum(-1)

    def values(self, x):
        return np.array(self.contract.vocabulary, object)[x]

    def _words(self, x):
        vocabulary = self.contract.vocabulary
        return ~np.isin(x, [vocabulary.index(token) for token in _EDGES])


class Sound(Point):
    """The front end's frames, read as log-mel bands: `(frames, bands)`.

    MFCC are a linear map of the log-mel bands, c = D' m, so a gradient by c is one by
    m: D g. Both give the same sums over a frame.
    """

    baselines = ("silence",)

    def place(self):
        self._node = _front_end(self.encoder)
        self.front = self._node.operation
        return self._node.outputs[0]

    def named(self, x, baseline):
        return self.of_tensor(x, np.zeros_like(x))

    def of_tensor(self, x, tensor):
        return _numpy(self.front(*self._arguments(x, tensor)))

    def difference(self, x):
        silence = isinstance(self.baseline, str)
        tensor = np.zeros_like(x) if silence else np.asarray(self.baseline, x.dtype)
        return self._mel(x, x) - self._mel(x, np.broadcast_to(tensor, x.shape))

    def map(self, difference, gradient):
        if type(self.front) is MFCC:
            gradient = gradient @ self.front._cosines.T
        return difference * gradient

    def values(self, x):
        return self._mel(x, x)

    def _mel(self, x, tensor):
        layer = self.front
        if type(layer) is MFCC:
            config = layer.get_config()
            config = {k: v for k, v in config.items() if k not in _CEPSTRAL}
            layer = LogMel.from_config(config)
        return _numpy(layer(*self._arguments(x, tensor)))

    def _arguments(self, x, tensor):
        """What the front end takes: a wave, and the lengths of the input's clips."""
        lengths = self._node.input_tensors[1:]
        return [tensor, *self._run(lengths, x)] if lengths else [tensor]


class Wave(Point):
    """The wave of an encoder without a front end, summed over 10 ms: `(frames,)`."""

    baselines = ("silence",)

    def place(self):
        for node in ordered(keras.tree.flatten(self.encoder.output)):
            if node.operation is self.contract:
                return node.outputs[0]
        return self.encoder.input

    def held(self):
        # silence has no length: the mask would vanish at the baseline alone
        nodes = ordered(keras.tree.flatten(self.encoder.output))
        return [x.outputs[0] for x in nodes if isinstance(x.operation, ClipLength)]

    def map(self, difference, gradient):
        size = max(round(_FRAME * self.contract.sampling_rate), 1)
        product = difference * gradient
        starts = np.arange(0, product.shape[-1], size)
        return np.add.reduceat(product, starts, axis=-1)


class Table(Point):
    """What `Columns` makes of the cells, summed over each column's places.

    The baseline "mean" is the training mean of a number, and a missing category.
    """

    baselines = ("mean",)

    def place(self):
        self.columns = self.contract.columns
        for node in ordered(keras.tree.flatten(self.encoder.output)):
            if node.operation is self.contract:
                return node.outputs[0]
        raise ValueError(f"Encoder '{self.encoder.name}' does not use its contract.")

    def named(self, x, baseline):
        slots = self.contract.slots
        missing = {f"{name} missing" for name in self.contract.categorical}
        row = np.array([slot in missing for slot in slots], "float32")
        return np.repeat(row[None], len(x), axis=0)

    def map(self, difference, gradient):
        product = difference * gradient
        made, count = self.contract, len(self.contract.numeric)
        owner = [*range(count), *range(count)]
        for i, values in enumerate(made.categorical.values(), count):
            owner += [i] * (len(values) + 2)
        belongs = np.equal.outer(owner, np.arange(len(made.columns)))
        return product @ belongs.astype(product.dtype)


def point(encoder, name, baseline=None):
    """The point of an encoder, by its contract.

    Raises:
        ValueError: its input is integers, and it has no embedding.
    """
    made = contract(encoder)
    if isinstance(made, TokenIds):
        return Words(encoder, name, baseline)
    if isinstance(made, Columns):
        return Table(encoder, name, baseline)
    if made.kind == "audio" and len(made.tensor_shape) == 1:
        kind = Sound if _front_end(encoder) is not None else Wave
        return kind(encoder, name, baseline)
    if not str(made.tensor_dtype).startswith("float"):
        raise ValueError(
            f"Attribution wants an input that can be moved. Received: '{name}' of "
            f"dtype {made.tensor_dtype}, whose contract is no `TokenIds`."
        )
    return (Picture if made.kind == "image" else Point)(encoder, name, baseline)


def _front_end(encoder):
    """The call of the layer that turns the wave into features, or None."""
    for node in ordered(keras.tree.flatten(encoder.output)):
        if isinstance(node.operation, LogMel):
            return node
    return None


def _check_baseline(made, name):
    given = made.baseline
    if isinstance(given, str):
        if given not in made.baselines:
            raise ValueError(
                f"baseline['{name}'] wants one of {list(made.baselines)} or an array. "
                f"Received: {given!r}"
            )
        return
    wanted = tuple(made.contract.tensor_shape)
    shape = np.shape(given)
    if shape not in (wanted, (*shape[:1], *wanted)):
        raise ValueError(
            f"baseline['{name}'] wants shape {wanted}, or rows of it, or one of "
            f"{list(made.baselines)}. Received: shape {shape}"
        )


def _typed(x, tensor):
    return ops.convert_to_tensor(x, dtype=tensor.dtype)


def _numpy(x):
    return np.asarray(ops.convert_to_numpy(x))
