"""What a fusion is tried on: features, presence, and the model around it."""

from dataclasses import dataclass

import keras
import numpy as np

#: Modalities of the test cases, in this order, and their unequal widths.
DIMS = {"photo": 5, "title": 3, "clip": 4, "price": 2, "map": 6}
ROWS = 8


@dataclass
class Case:
    """A way to make a fresh fusion, and a batch to try it on.

    Row 0 has every modality, at its full length, row 1 has none, the others a random
    subset.
    """

    make: object
    features: dict
    presence: dict

    def fusion(self, dtype=None):
        """A fresh fusion, of another dtype policy if asked."""
        fusion = self.make()
        if dtype:
            config = {**fusion.get_config(), "dtype": dtype}
            fusion = type(fusion).from_config(config)
        return fusion

    def model(self, dtype=None):
        """A functional model around a fresh fusion: flat inputs, fused output."""
        fusion = self.fusion(dtype)
        inputs = {
            key: keras.Input(x.shape[1:], name=key) for key, x in self.arrays().items()
        }
        features = {
            name: {"tokens": inputs[name], "mask": inputs[f"{name}_mask"]}
            if isinstance(x, dict)
            else inputs[name]
            for name, x in self.features.items()
        }
        presence = {name: inputs[f"{name}_present"] for name in self.features}
        return keras.Model(inputs, fusion(features, presence))

    def arrays(self):
        """The batch for `model`: a flat dict of numpy arrays."""
        flat = {}
        for name, x in self.features.items():
            if isinstance(x, dict):
                flat |= {name: x["tokens"], f"{name}_mask": x["mask"]}
            else:
                flat[name] = x
            flat[f"{name}_present"] = self.presence[name]
        return flat

    def rows(self, start, stop):
        """The same case on some of its rows."""

        def cut(x):
            return x[start:stop]

        features = keras.tree.map_structure(cut, self.features)
        return Case(self.make, features, keras.tree.map_structure(cut, self.presence))

    def without_dropout(self):
        """The same case, its fusion without dropout."""

        def make():
            fusion = self.make()
            return type(fusion).from_config({**fusion.get_config(), "dropout": 0.0})

        return Case(make, self.features, self.presence)


def case(fusion, modalities=3, tokens=False, seed=0):
    """A `Case` with the first `modalities` of `DIMS`.

    Args:
        fusion: a `Fusion` layer (its config is copied), or a function that makes one.
        modalities: Integer from 1 to 5.
        tokens: Boolean, token features in place of vectors; "mixed": tokens and
            vectors by turns.
        seed: Integer.
    """
    rng = np.random.default_rng(seed)
    features, presence = {}, {}
    for i, name in enumerate(list(DIMS)[:modalities]):
        dim, length = DIMS[name], DIMS[name] + 1
        features[name] = rng.normal(size=(ROWS, dim)).astype("float32")
        if tokens and not (tokens == "mixed" and i % 2):
            mask = np.arange(length) < rng.integers(1, length + 1, size=(ROWS, 1))
            # where each row has one token there is nothing to choose, or to learn
            mask[0] = True
            x = rng.normal(size=(ROWS, length, dim)).astype("float32")
            features[name] = {"tokens": x, "mask": mask.astype("float32")}
        there = rng.integers(0, 2, size=ROWS).astype("float32")
        there[:2] = 1.0, 0.0
        presence[name] = there
    return Case(factory(fusion), features, presence)


def factory(fusion):
    """A function that makes a fresh fusion like `fusion`."""
    if not isinstance(fusion, keras.layers.Layer):
        return fusion
    config = fusion.get_config()

    def make():
        return type(fusion).from_config(config)

    return make
