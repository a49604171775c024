"""The fits of a comparison: fusions, linear models and late fusion on one fold."""

import inspect

import keras
import numpy as np

from mmkeras import late, transfer
from mmkeras.fusion import LateWeighted
from mmkeras.model import multimodal
from mmkeras.run import build, stage
from mmkeras.run.comparing.fold import values
from mmkeras.run.comparing.linear import Linear
from mmkeras.run.rows import shuffled
from mmkeras.scores import softmax
from mmkeras.transfer.cache import forward

#: Rows that are answered at once.
_ROWS = 256


def make(fold, method):
    """What fits a `methods.Method` on a `fold.Fold`."""
    made = {"classical": LinearFit, "linear": LinearFit, "late": LateFit}
    return made.get(method.tier, FusionFit)(fold, method)


class FusionFit:
    """A fusion and a head on cached features: built once, fitted anew for each seed."""

    def __init__(self, fold, method):
        self.fold, recipe = fold, fold.recipe
        several = len(method.modalities) > 1
        head = build.head(recipe.task, fold.outputs, recipe.head_dropout, method.fusion)
        options = _options(recipe, method.fusion)
        model = multimodal(
            fold.fresh(method.modalities),
            build.fusion_layer(method.fusion, options, head.layer),
            head.layer,
            modality_dropout=recipe.modality_dropout if several else 0.0,
        )
        self.names = method.modalities
        self.trunk = transfer.trunk(model)
        self._run = forward(self.trunk)
        steps = fold.rows.steps(recipe.epochs)
        head = head._replace(metrics=[])
        each = fold.rows.per_execution()
        stage.compile_for(self.trunk, head, recipe.learning_rate, recipe, steps, each)
        optimizer = self.trunk.optimizer
        optimizer.build(self.trunk.trainable_variables)
        self._slots = [keras.ops.convert_to_numpy(x) for x in optimizer.variables]
        self._start = values(self.trunk)
        self._kept = {id(v) for x in self._pretrained() for v in x.variables}

    @property
    def count(self):
        """Parameters that train."""
        return sum(int(np.prod(x.shape)) for x in self.trunk.trainable_weights)

    def fit(self, seed):
        """Fits from new weights, in the order of the seed; gives the epochs."""
        recipe = self.fold.recipe
        self._reset(seed)
        inputs, *rest = self.fold.arrays["train"]
        train = ({key: inputs[key] for key in self.trunk.input}, *rest)
        val = (self.fold.inputs("val", self.trunk.input), self.fold.labels("val"))
        history = self.trunk.fit(
            shuffled(train, recipe.batch_size, seed),
            validation_data=_in_order(val),
            epochs=recipe.epochs,
            callbacks=_stopping(recipe),
            shuffle=False,
            verbose=0,
        )
        return len(history.epoch)

    def answer(self, part):
        """Outputs on a part's rows."""
        inputs = self.fold.inputs(part, self.trunk.input)
        rows = len(self.fold.labels(part))
        found = [
            np.asarray(self._run({k: x[i : i + _ROWS] for k, x in inputs.items()}))
            for i in range(0, rows, _ROWS)
        ]
        return np.concatenate(found)

    def serve(self, row):
        """A function that answers one row of tensors, encoders in."""
        front = self.fold.front(self.names)
        rest = {key: row[key] for key in self.trunk.input if key in row}

        def run():
            return np.asarray(self._run({**rest, **front(row)}))

        return run

    def _pretrained(self):
        """Encoders that train on from what they know: a new start would undo it."""
        for name in self.names:
            if build.is_pretrained(self.fold.recipe.sources[name]):
                yield self.fold.encoders[name]

    def _reset(self, seed):
        """New weights and random states; what is not drawn is as it was at first."""
        keras.utils.set_random_seed(seed)
        fresh = keras.models.clone_model(self.trunk)
        for variable, first, new in zip(
            self.trunk.variables, self._start, fresh.variables, strict=True
        ):
            drawn = variable.trainable or "seed_generator" in variable.path
            anew = drawn and id(variable) not in self._kept
            variable.assign(new if anew else first)
        for variable, value in zip(
            self.trunk.optimizer.variables, self._slots, strict=True
        ):
            variable.assign(value)


class LinearFit:
    """A linear model on frozen deep features, or on classical ones."""

    def __init__(self, fold, method):
        self.fold, self.names = fold, method.modalities
        self.classical = self.names
        if method.tier == "linear":
            self.classical = tuple(n for n in self.names if n not in fold.frozen)
        texts = [x for x in fold.classical.texts if x in self.classical]
        self.model = Linear(fold.kind, len(fold.outputs), texts)
        self._fitted = False

    @property
    def count(self):
        return self.model.count

    def fit(self, seed=0):
        fold = self.fold
        train, val = (self._blocks(part) for part in ("train", "val"))
        self.model.fit(
            train, fold.labels("train"), val, fold.labels("val"), fold.weights()
        )
        self._fitted = True
        return 0

    def answer(self, part):
        return self.model(self._blocks(part))

    def serve(self, row):
        if not self._fitted:
            self.fit()
        fold, deep = self.fold, [n for n in self.names if n not in self.classical]
        front = fold.front(deep)

        def run():
            blocks = {name: (np.asarray(x), [1]) for name, x in front(row).items()}
            for name in self.classical:
                cell = row.get(f"{name} string", row[name])
                blocks[name] = fold.classical.encode(name, cell), [1]
            return self.model(blocks)

        return run

    def _blocks(self, part):
        return self.fold.blocks(part, self.names, self.classical)


class LateFit:
    """The single modalities' answers, weighted by what the validation rows say.

    Set `experts` (modality -> dict of "val" and "test" outputs of the same seed), and
    for `serve` `singles` (modality -> `FusionFit`).
    """

    def __init__(self, fold, method):
        self.fold, self.names = fold, method.modalities
        self.experts, self.singles = {}, {}
        outputs = len(fold.outputs)
        self.layer = LateWeighted(outputs, kind=fold.kind, dense=False)
        self.layer({name: np.zeros((1, outputs), "float32") for name in self.names})

    @property
    def count(self):
        return sum(x.count for x in self.singles.values()) + len(self.names)

    def fit(self, seed=0):
        chances = {}
        for name, x in self.experts.items():
            there = self.fold.presence("val", name)[:, None] > 0
            chances[name] = np.where(there, self._chances(x["val"]), np.nan)
        labels = self.fold.labels("val")
        if self.fold.kind == "single":
            found = late.search_weights(chances, labels)
        else:
            found = late.select(chances, labels, metric=_likelihood)
        self.layer.set_modality_weights(found)
        return 0

    def answer(self, part):
        presence = {n: self.fold.presence(part, n) for n in self.names}
        outputs = {n: x[part] for n, x in self.experts.items()}
        return np.asarray(self.layer(outputs, presence))

    def serve(self, row):
        front, join = self.fold.front(self.names), forward(_Join(self))
        keys = {key for x in self.singles.values() for key in x.trunk.input}
        rest = {key: row[key] for key in keys if key in row}
        return lambda: np.asarray(join({**rest, **front(row)}))

    def _chances(self, outputs):
        if self.fold.kind == "single":
            return softmax(outputs)
        return 1 / (1 + np.exp(-outputs.astype("float64")))


class _Join:
    """Trained single modalities and the late fusion behind them, for `forward`."""

    def __init__(self, fit):
        self.layer, self.singles = fit.layer, fit.singles

    def __call__(self, inputs, training=False):
        answers = {
            name: x.trunk({key: inputs[key] for key in x.trunk.input}, training=False)
            for name, x in self.singles.items()
        }
        presence = {name: inputs[f"{name}_present"] for name in self.singles}
        return self.layer(answers, presence)


def _in_order(arrays):
    """Arrays as a dataset; kept, since every epoch goes through it."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(4 * _ROWS).cache()


def _options(recipe, fusion):
    """The recipe's fusion options, as far as another fusion takes them."""
    if fusion == recipe.fusion:
        return recipe.fusion_options
    made = build.fusions()[fusion]
    takes = {"dropout", "normalize", *inspect.signature(made.__init__).parameters}
    return {key: x for key, x in recipe.fusion_options.items() if key in takes}


def _stopping(recipe):
    """`train`'s early stopping, without what keeps a run's state."""
    best = recipe.keep == "best"
    if not (recipe.patience or best):
        return []
    return [
        keras.callbacks.EarlyStopping(
            "val_loss",
            patience=recipe.patience or recipe.epochs,
            restore_best_weights=best,
        )
    ]


def _likelihood(labels, chances):
    """Mean log-likelihood of 0 and 1."""
    right = np.where(labels > 0, chances, 1 - chances)
    return float(np.log(np.maximum(right, 1e-12)).mean())
