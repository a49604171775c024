"""From classical to deep, in one table: what each step of thirty years is worth.

    make assets && python examples/stamps/prepare.py    # once
    python -m examples.stamps.classical [--seeds 3]

Task A of the stamps, 14 classes, 471 training and 153 test rows. Below the line that
`mmkeras.classic` draws stand features that nobody trained: colours and oriented
gradients, SIFT visual words, TF-IDF, MFCC statistics. Each set is put under the same
logistic regression; its penalty and the scaling of the sets, the size of pictures, the
number of words, the widths and the shrinkage of PCA, LDA and CCA are all chosen by the
loss on the validation rows (PCA, LDA and CCA of the larger pictures and the more
words). Deep features come frozen from EfficientNet-Lite0 and
MiniLM, with the same MFCC statistics.

Measured, accuracy in %, mean of 3 seeds (of the words and of the gated fusion; the rest
is exact), two CPU minutes; one standard error of a number is 4:

    most frequent class 15.0     MFCC statistics 22.2    SIFT words 32.9 (31.4-34.0)
    colours and gradients 35.9   TF-IDF 40.5             all classical 55.1 (54.2-55.6)
    PCA 51.0 (48.4-52.3)         LDA 52.9 (51.0-55.6)    CCA 48.4 (47.7-49.0)
    deep, regression 81.0        deep, gated 79.5 (79.1-79.7)

Fusing helps more than any single feature; PCA, LDA and CCA shorten and do not help a
penalised regression; gating does not beat it on the deep features either.
"""

import itertools
import sys

import keras
import numpy as np
import threadpoolctl

import mmkeras as mm
from examples import measured
from examples.measured import Expected
from examples.stamps import frozen
from mmkeras.run.comparing.linear import Linear

EXPECTED = {
    "most frequent class": Expected(14.5, 15.5),
    "colours and gradients": Expected(33, 41, control="most frequent class"),
    "SIFT words": Expected(29, 37, control="most frequent class"),
    "TF-IDF": Expected(38, 43, control="most frequent class"),
    "MFCC statistics": Expected(20, 24.5, control="most frequent class"),
    "all classical": Expected(52, 59, control="TF-IDF"),
    # no controls: none of the three beats the features that it shortens
    "all classical, PCA": Expected(46, 56),
    "all classical, LDA": Expected(48, 60),
    "all classical, CCA": Expected(45, 52),
    "deep, logistic regression": Expected(79.5, 82.5, control="all classical"),
    "deep, gated fusion": Expected(77, 82, control="all classical"),
}

_PARTS = ("train", "val", "test")


def measure(options):
    stamps = frozen.load(options)
    # matrices are small: threads wait for each other
    with threadpoolctl.threadpool_limits(1):
        table = Table(stamps)
        still = _still(options, stamps)
        known = table.constant(still)
    for seed in range(options.seeds):
        sizes = _grid(options, "words")
        with threadpoolctl.threadpool_limits(1):
            words = [_patches(options, stamps, n, seed) for n in sizes]
            found = known | table.classical(still, words, options)
        yield found | {"deep, gated fusion": _gated(options, stamps, seed)}


class Table:
    """The rows' labels, and a logistic regression under any features."""

    def __init__(self, stamps):
        self.classes = stamps.classes
        self.labels = {
            part: np.searchsorted(self.classes, stamps.parts[part].label)
            for part in _PARTS
        }
        self.deep = {x: _blocks(stamps.arrays(stamps.parts[x])) for x in _PARTS}

    def best(self, candidates):
        """Test accuracy in % of the candidate with the least loss on val.

        Args:
            candidates: list of dicts, part -> blocks, as `Linear` takes them.
        """
        least, chosen = np.inf, None
        for blocks in candidates:
            raw = [x for x in blocks["train"] if x in ("title", "patches")]
            model = Linear("single", len(self.classes), as_they_are=raw)
            y, val = self.labels["train"], self.labels["val"]
            model.fit(blocks["train"], y, blocks["val"], val)
            loss = -model(blocks["val"])[np.arange(len(val)), val].mean()
            if loss < least:
                right = model(blocks["test"]).argmax(1) == self.labels["test"]
                least, chosen = loss, 100 * right.mean()
        return chosen

    def constant(self, still):
        """What no seed changes."""
        common = np.bincount(self.labels["train"]).argmax()
        return {
            "most frequent class": 100 * np.mean(self.labels["test"] == common),
            "colours and gradients": self.best([_only(x, "photo") for x in still]),
            "TF-IDF": self.best([_only(still[0], "title")]),
            "MFCC statistics": self.best([_only(still[0], "clip")]),
            "deep, logistic regression": self.best([self.deep]),
        }

    def classical(self, still, words, options):
        """What hangs on the visual words."""
        every = [
            {part: {**a[part], **b[part]} for part in _PARTS}
            for a, b in itertools.product(still, words)
        ]
        shorter = [_pca(every[-1], n) for n in _grid(options, "pca")]
        parted = [self._lda(every[-1], a) for a in _grid(options, "shrinkage")]
        agreed = [
            _cca(every[-1], n, a)
            for n in _grid(options, "pca")
            for a in _grid(options, "shrinkage")
        ]
        return {
            "SIFT words": self.best(words),
            "all classical": self.best(every),
            "all classical, PCA": self.best(shorter),
            "all classical, LDA": self.best(parted),
            "all classical, CCA": self.best(agreed),
        }

    def _lda(self, blocks, shrinkage):
        """All blocks side by side, in one coordinate less than there are classes."""
        units = len(self.classes) - 1
        joined = {part: _side_by_side(blocks, part) for part in _PARTS}
        layer = mm.classic.LDA(units, shrinkage)
        layer.adapt(joined["train"], self.labels["train"])
        return {part: {"lda": _there(layer(x))} for part, x in joined.items()}


def _grid(options, what):
    """What is tried, and chosen from on val."""
    grids = {
        "size": (64, 128),
        "words": (200, 500),
        "pca": (16, 48, 128),
        "shrinkage": (0.3, 0.6, 0.9),
    }
    smoke = {"size": (64,), "words": (4,), "pca": (2,), "shrinkage": (0.6,)}
    return (smoke if options.smoke else grids)[what]


def _still(options, stamps):
    """Classical features that are no matter of luck, for each size of pictures."""
    text = mm.classic.tfidf(list(stamps.parts["train"].title.dropna()))
    found = []
    for size in _grid(options, "size"):
        made = {"photo": mm.classic.picture(size), "title": text}
        model = mm.multimodal(made, mm.fusion.Concat(), keras.layers.Identity())
        mm.transfer.freeze(model)
        blocks = {}
        for part in _PARTS:
            rows = stamps.parts[part]
            blocks[part] = _blocks(stamps.features(model, rows).arrays())
            blocks[part] |= _blocks(stamps.arrays(rows, ["clip"]))
        found.append(blocks)
    return found


def _patches(options, stamps, count, seed):
    """SIFT words of the pictures, their vocabulary found on the training rows."""
    words = mm.classic.VisualWords(count, seed=seed)
    read = {x: _read(words, options, stamps, x) for x in _PARTS}
    words.fit_patches(read["train"])
    return {x: {"patches": _there(words.histograms(read[x]))} for x in _PARTS}


def _read(words, options, stamps, part):
    """The patches of a part's pictures, described once."""
    kept = options.__dict__.setdefault("patches", {})
    if part not in kept:
        kept[part] = words.read(stamps.parts[part], "photo")
    return kept[part]


def _blocks(arrays):
    names = [x for x in arrays if not x.endswith("_present")]
    return {x: (arrays[x], arrays[f"{x}_present"]) for x in names}


def _there(x):
    return np.asarray(x), np.ones(len(x))


def _only(blocks, name):
    return {part: {name: x[name]} for part, x in blocks.items()}


def _pca(blocks, units):
    """Every block in `units` components of one variance."""
    found = {part: {} for part in _PARTS}
    for name, (x, there) in blocks["train"].items():
        layer = mm.classic.PCA(min(units, x.shape[1], int(sum(there))))
        layer.adapt(x, there)
        for part in _PARTS:
            y, there = blocks[part][name]
            found[part][name] = np.asarray(layer(y)), there
    return found


def _cca(blocks, units, regularization):
    """Picture and caption in the directions in which they agree; the rest as it is."""
    layer = mm.classic.CCA(["photo", "title"], units, regularization)
    sides = {
        part: [{name: x[name][i] for name in layer.modalities} for i in range(2)]
        for part, x in blocks.items()
    }
    layer.adapt(*sides["train"])
    found = {}
    for part, (features, presence) in sides.items():
        found[part] = dict(blocks[part])
        for name, y in layer(features).items():
            found[part][name] = np.asarray(y), presence[name]
    return found


def _side_by_side(blocks, part):
    """All blocks of a part as one matrix, each at one mean length on train."""
    columns = []
    for name, (x, there) in blocks["train"].items():
        kept = x[there > 0]
        mean = kept.mean(0)
        length = np.sqrt(((kept - mean) ** 2).sum(1).mean())
        y, there = blocks[part][name]
        columns.append((y - mean) / length * there[:, None])
    return np.hstack(columns)


def _gated(options, stamps, seed):
    """Test accuracy in % of a gated fusion of the deep features."""
    keras.utils.set_random_seed(seed)
    head = mm.heads.classification(stamps.classes)
    fusion = mm.fusion.GatedFusion(64, normalize="layer", dropout=0.3)
    model = mm.multimodal(stamps.encoders, fusion, head.layer)
    mm.transfer.freeze(model)
    rows = {x: stamps.features(model, stamps.parts[x], label="label") for x in _PARTS}
    trunk = mm.transfer.trunk(model)
    trunk.compile(keras.optimizers.AdamW(1e-3), head.loss, metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping(patience=15, restore_best_weights=True)
    trunk.fit(
        *rows["train"].arrays(),
        validation_data=rows["val"].arrays(),
        epochs=2 if options.smoke else 150,
        batch_size=64,
        callbacks=[stop],
        verbose=0,
    )
    inputs, labels = rows["test"].arrays()
    return 100 * np.mean(trunk.predict(inputs, verbose=0).argmax(1) == labels)


if __name__ == "__main__":
    sys.exit(measured.main(measure, EXPECTED, __doc__, __file__))
