"""The stamps' pictures and captions as features, of which some rows have labels.

Task A's rows are split anew for each seed (by group, so that no motif is on both
sides), with all their labels or a few. `Rows.unlabelled` are the train rows whose label
is kept from training and the stamps that have no class, without those that share a
group with val or test. Every network is trained for the same number of steps of `BATCH`
rows, and its best moment is chosen on val: that is all the tuning there is, the same
for a method and its control.
"""

import dataclasses

import keras
import numpy as np
import pandas

import mmkeras as mm
from examples.stamps import frozen
from mmkeras.modality import ModalityInput, tensor_input

NAMES = ("photo", "title")
BATCH = 64
UNITS = 128
_STEPS = 20  # between two looks at val
HIDDEN = -1  # the label of a row that has none


@dataclasses.dataclass(frozen=True)
class Rows:
    """Features of all rows, and which of them are for what.

    Args:
        x: dict, modality -> `(rows, dim)` and `<name>_present`, scaled by the rows
            that training may see.
        y: integers, the class of each row, `HIDDEN` where there is none.
        labelled: places of the rows that training sees with their label.
        unlabelled: places of those it sees without.
        val: places.
        test: places.
        classes: names of the classes.
    """

    x: dict
    y: np.ndarray
    labelled: np.ndarray
    unlabelled: np.ndarray
    val: np.ndarray
    test: np.ndarray
    classes: list

    def inputs(self, places, names=NAMES):
        keys = [key for name in names for key in (name, f"{name}_present")]
        return {key: self.x[key][places] for key in keys}


class Stamps:
    """All rows with their features, encoded once; `rows` takes a split of them."""

    def __init__(self, options):
        tables, arrays = [], []
        for task in ("a", "unlabelled"):
            stamps = frozen.load(options, task, NAMES)
            for part in stamps.parts.values():
                labels = part.label if task == "a" else None
                tables.append(part.assign(label=labels))
                arrays.append(stamps.arrays(part))
        self.table = pandas.concat(tables, ignore_index=True)
        self.x = {k: np.concatenate([x[k] for x in arrays]) for k in arrays[0]}

    def rows(self, seed, share=1.0, count=None):
        """`Rows` of a split: a share of each class' labels, or `count` of each class.

        A class keeps one label at least.
        """
        known = self.table[self.table.label.notna()]
        parts = mm.data.split(known, stratify="label", group="group", seed=seed)
        train, val, test = (parts[x].index.values for x in ("train", "val", "test"))
        held = set(self.table.group[val]) | set(self.table.group[test])
        free = self.table.label.isna() & ~self.table.group.isin(held)
        seen = np.union1d(train, np.flatnonzero(free))
        rng = np.random.default_rng(seed)
        chosen = []
        for _, rows in parts["train"].groupby("label"):
            wanted = max(1, round(share * len(rows))) if count is None else count
            chosen.extend(rng.permutation(rows.index.values)[:wanted])
        classes = sorted(known.label.unique())
        y = pandas.Categorical(self.table.label, classes).codes.astype("int32")
        unlabelled = np.setdiff1d(seen, chosen)
        places = np.array(sorted(chosen)), unlabelled, val, test
        return Rows(self._scaled(seen), y, *places, classes)

    def _scaled(self, seen):
        """Each number to mean 0 and variance 1 / width over the rows seen."""
        found = dict(self.x)
        for name in NAMES:
            x = self.x[name]
            mean, spread = x[seen].mean(axis=0), x[seen].std(axis=0) + 1e-3
            found[name] = (x - mean) / spread / np.sqrt(x.shape[1])
        return found


@keras.saving.register_keras_serializable("examples")
class Feature(ModalityInput):
    """A feature as a modality: numbers in, the same numbers out."""

    kind = "table"
    cell = "value"

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    @property
    def tensor_shape(self):
        return (self.width,)

    def read_one(self, raw):
        import tensorflow as tf

        return tf.strings.to_number(tf.strings.split(raw, ","))

    def call(self, inputs):
        return inputs

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def encoders(rows, names=NAMES):
    """An encoder for each modality that gives the feature as it is."""
    made = {}
    for name in names:
        contract = Feature(rows.x[name].shape[1], name=f"{name}_contract")
        inputs = tensor_input(contract, name)
        made[name] = keras.Model(inputs, contract(inputs))
    return made


def classifier(rows, names=NAMES, made=None, fusion=None):
    """A classifier on the features of some modalities: gated fusion, then a head."""
    head = mm.heads.classification(rows.classes)
    fusion = fusion or mm.fusion.GatedFusion(UNITS, dropout=0.3)
    return mm.multimodal(made or encoders(rows, names), fusion, head.layer)


class Best(keras.callbacks.Callback):
    """Keeps the weights of the moment at which `network` was best on val."""

    def __init__(self, network, rows, names):
        super().__init__()
        self.network, self.best, self.weights = network, -1.0, None
        self.given = rows.inputs(rows.val, names), rows.y[rows.val]

    def on_train_batch_end(self, batch, logs=None):  # every _STEPS steps
        found = accuracy_of(self.network, *self.given)
        if found > self.best:
            self.best, self.weights = found, self.network.get_weights()

    def on_train_end(self, logs=None):
        self.network.set_weights(self.weights)


def train(rows, network, names, places, steps, seed, through=None, rate=1e-3):
    """Trains `network`, or a model around it, and leaves it at its best.

    Args:
        rows: `Rows`.
        network: the classifier that is looked at on val.
        names: its modalities.
        places: the rows to train on; those that are not labelled come without label.
        steps: Integer, steps of `BATCH` rows.
        seed: Integer, of the order of the rows.
        through: optional model that is fitted in its place, such as a distiller, on
            all modalities.
        rate: Number, of Adam.
    """
    y = np.full(len(rows.y), HIDDEN, "int32")
    y[rows.labelled] = rows.y[rows.labelled]
    order = passes(places, steps * BATCH, seed)
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=HIDDEN
    )
    model = through or network
    x = {key: rows.x[key][order] for key in inputs_of(model)}
    best = Best(network, rows, names)
    fit(model, x, y[order], steps, loss=loss, callbacks=[best], rate=rate)
    return network


def fit(model, x, y, steps, *, loss=None, callbacks=(), rate=1e-3):
    """Compiles and fits on rows in the order given.

    What is compiled is not compiled again (tracing costs as much as the steps), but
    begins with a new optimizer's state.
    """
    if model.compiled:
        for state in model.optimizer.variables:
            if not state.path.endswith("learning_rate"):
                state.assign(keras.ops.zeros_like(state))
    else:
        every = min(_STEPS, steps)
        optimizer = keras.optimizers.Adam(rate)
        model.compile(optimizer, loss, jit_compile=False, steps_per_execution=every)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=list(callbacks), **options)


def inputs_of(model):
    """The names that a model or a distiller takes."""
    return (model.student if hasattr(model, "student") else model).input


def passes(places, count, seed):
    """`count` rows: passes over all of them, each in a new order."""
    rng = np.random.default_rng(seed)
    times = -(-count // len(places))
    return np.concatenate([rng.permutation(places) for _ in range(times)])[:count]


def accuracy(rows, network, names):
    """Share of the test rows whose class is found, in %."""
    return accuracy_of(network, rows.inputs(rows.test, names), rows.y[rows.test])


def accuracy_of(network, x, y):
    x = {key: keras.ops.convert_to_tensor(value) for key, value in x.items()}
    logits = np.asarray(network(x, training=False))
    return 100 * float(np.mean(logits.argmax(axis=1) == y))
