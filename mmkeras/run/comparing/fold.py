"""One split of the rows: its encoders, and their features in memory."""

import keras
import numpy as np

from mmkeras.model import encoders, readers
from mmkeras.run import build, train
from mmkeras.run.comparing.classical import Classical
from mmkeras.run.rows import Rows
from mmkeras.transfer.cache import forward

_PARTS = ("train", "val", "test")


class Fold:
    """The rows of one split, with their features in memory.

    Args:
        recipe: `recipe.Recipe`.
        parts: dict, part -> DataFrame.
        names: names of the outputs.
        kept: dict that the folds share (see `Classical`).
        progress: `progress.Progress`.

    Raises:
        ValueError: an encoder that gives tokens, or features beyond the memory.
    """

    def __init__(self, recipe, parts, names, kept, progress):
        self.recipe, self.parts, self.outputs = recipe, parts, names
        keras.utils.set_random_seed(recipe.seed)
        columns = {name: x.column or name for name, x in recipe.sources.items()}
        head = build.head(recipe.task, names, recipe.head_dropout, recipe.fusion)
        model = train.assemble(recipe, head, parts["train"], columns)
        self.kind = head.layer.kind
        self.rows = Rows(recipe, model, parts, columns, [], progress)
        self.rows.adapt()
        self.encoders, self.frozen = encoders(model), self.rows.frozen
        self._check()
        self._initial = {n: values(x) for n, x in self.encoders.items()}
        self.arrays = {part: self._arrays(part) for part in _PARTS}
        self.classical = Classical(readers(model), columns, recipe.on_bad_row, kept)
        self._fronts, self._classical_blocks = {}, None

    def labels(self, part):
        """Integers, 0 and 1 `(rows, classes)`, or numbers."""
        return np.asarray(self.arrays[part][1])

    def weights(self):
        """A weight a training row, or None."""
        found = self.arrays["train"][2:]
        return np.asarray(found[0]) if found else None

    def presence(self, part, name):
        return np.asarray(self.arrays[part][0][f"{name}_present"])

    def inputs(self, part, keys):
        return {key: self.arrays[part][0][key] for key in keys}

    def fresh(self, names):
        """Some of the encoders, with the weights that they had at first."""
        for name in names:
            if name not in self.frozen:
                _assign(self.encoders[name], self._initial[name])
        return {name: self.encoders[name] for name in names}

    def blocks(self, part, names, classical=()):
        """Frozen features for a linear model; classical ones where none is frozen."""
        found = {name: self.classical_blocks()[part][name] for name in classical}
        for name in names:
            if name not in classical:
                there = self.presence(part, name)
                found[name] = np.asarray(self.arrays[part][0][name]), there
        return found

    def classical_blocks(self):
        """Dict, part -> classical features; computed at the first call."""
        if self._classical_blocks is None:
            self.classical.fit(self.parts["train"])
            self._classical_blocks = {
                part: self.classical.blocks(self.parts[part]) for part in _PARTS
            }
        return self._classical_blocks

    def row(self):
        """A test row's tensors and strings, of one that lacks least."""
        inputs, _ = next(iter(self.rows.stream("test").as_numpy_iterator()))
        there = sum(inputs[f"{name}_present"] for name in self.encoders)
        best = int(there.argmax())
        one = {key: x[best : best + 1] for key, x in inputs.items()}
        frame = self.parts["test"].iloc[best : best + 1]
        for name, contract in self.classical.contracts.items():
            if contract.kind not in ("image", "audio"):
                one[f"{name} string"] = self.classical.strings(frame, name)
        return one

    def front(self, names):
        """Function (tensors) -> features of those of `names` that are frozen."""
        names = tuple(n for n in names if n in self.frozen)
        if names not in self._fronts:
            parts = {name: self.encoders[name] for name in names}
            self._fronts[names] = forward(_Side(parts)) if names else _no_features
        return self._fronts[names]

    def _arrays(self, part):
        found = self.rows.features(part)
        if not isinstance(found, tuple):
            raise ValueError(
                "`compare` keeps features in memory, and these are beyond it (1 GiB "
                "a part). Compare on fewer rows."
            )
        return found

    def _check(self):
        for name, encoder in self.encoders.items():
            if isinstance(encoder.output, dict):
                raise ValueError(
                    f"`compare` wants encoders that give vectors. Received: '{name}' "
                    f"gives tokens. Give it `--option {name}.pooling=mean`."
                )


class _Side:
    """Several encoders side by side, for `forward`."""

    def __init__(self, parts):
        self.parts = parts

    def __call__(self, tensors, training=False):
        return {n: x(tensors[n], training=training) for n, x in self.parts.items()}


def _no_features(tensors):
    return {}


def values(model):
    return [keras.ops.convert_to_numpy(x) for x in model.variables]


def _assign(model, values):
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
