"""`mmkeras compare`: does fusion beat the simple methods on this table?

Every method is fitted on the same rows and the same features, which frozen encoders
compute once: single modalities, classical features and deep ones under a linear model,
concat, late fusion with tuned weights, and the fusions that were asked for.
"""

import dataclasses
import hashlib
import time
from pathlib import Path

import numpy as np
import pandas

from mmkeras import data
from mmkeras.run import files, precision, train
from mmkeras.run.comparing import fits, plot
from mmkeras.run.comparing.fold import Fold
from mmkeras.run.comparing.methods import methods
from mmkeras.run.comparing.store import Store
from mmkeras.run.comparing.table import Runs, comparison
from mmkeras.run.progress import Progress

#: Calls of every method, one after the other in turns, that its latency is taken from.
_CALLS = 30
# of a recipe, what says nothing about a run's result
_NOT_OURS = ("out", "cache", "export", "logs", "profile", "finetune_epochs", "fusion")
_NOT_OURS += ("finetune_learning_rate",)


def compare(recipe, fusions=(), seeds=5, folds=0, progress=None):
    """Compares methods; goes on where an earlier call in `recipe.out` was stopped.

    Args:
        recipe: `recipe.Recipe`; its `fusion_options` count for every fusion that takes
            them, its `seed` is the first one.
        fusions: short names; default: the recipe's.
        seeds: Integer, how often each fit is done, from other weights and in another
            order of the rows.
        folds: Integer, folds of a cross-validation over all rows, grouped by
            `recipe.group` and stratified by the label; 0: the split of the recipe.
        progress: `progress.Progress`; default: silent.

    Returns:
        `table.Comparison`; `recipe.out` then holds compare.csv, compare.md,
        compare.png, runs.jsonl and the answers of every run.

    Raises:
        ValueError: as `train`; `seeds` below 1, `folds` of 1 or 2; or the folder holds
            a comparison of other settings.
    """
    _check(seeds, folds)
    progress = progress or Progress(quiet=True)
    fusions = list(fusions) or [recipe.fusion]
    wanted = methods(recipe.sources, fusions, recipe.task)
    splits = _splits(recipe, folds)
    store = Store(recipe.out, _settings(recipe, folds, splits))
    try:
        with precision.policy(recipe.precision):
            _Job(recipe, wanted, splits, seeds, store, progress).run()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{len(store.runs)} finished runs are kept in '{recipe.out}': the same "
            f"command goes on from there."
        ) from None
    keys = [(wanted[0].name, recipe.seed, i) for i in range(len(splits))]
    labels = [store.answers(key)["labels"] for key in keys]
    sizes = [np.mean([len(x[part]) for x in splits]) for part in ("train", "test")]
    runs = [_runs(x, store, recipe.seed, seeds, len(splits)) for x in wanted]
    notes = _notes(seeds, splits, _stood_in(wanted, store, recipe.seed))
    test = splits[0]["test"]
    groups = test[recipe.group] if recipe.group in test.columns else None
    found = comparison(runs, labels, sizes, _KINDS[recipe.task], notes, groups)
    _save(Path(recipe.out), found, progress)
    return found


_KINDS = {"classification": "single", "multilabel": "multi", "regression": "number"}


class _Job:
    """The runs of a comparison that are still to be done."""

    def __init__(self, recipe, methods, splits, seeds, store, progress):
        self.recipe, self.methods, self.splits = recipe, methods, splits
        self.seeds, self.store, self.progress = seeds, store, progress
        self.names = train.classes(recipe, splits[0])
        self._kept = {}

    def run(self):
        for number, parts in enumerate(self.splits):
            left = {x: self._left(x, number) for x in self.methods}
            costs = [x for x in self.methods if x.name not in self.store.costs]
            if not any(left.values()) and (number or not costs):
                continue
            self.fold = Fold(self.recipe, parts, self.names, self._kept, self.progress)
            self._made = {}
            for method, seeds in left.items():
                if seeds:
                    self._fit(method, seeds, number)
            if number == 0:
                self._measure(costs)

    def _left(self, method, number):
        """The seeds of a method that are not done."""
        first = self.recipe.seed
        seeds = range(first, first + (self.seeds if method.seeded else 1))
        return [x for x in seeds if (method.name, x, number) not in self.store]

    def _fit(self, method, seeds, number):
        fold = f"fold {number + 1} of {len(self.splits)}, " * (len(self.splits) > 1)
        label = f"{fold}{method.name}"
        for seed in self.progress.track(seeds, len(seeds), label):
            start = time.process_time()
            fit = self._made_fit(method)
            if method.tier == "late":
                fit.experts = self._experts(method, seed, number)
            epochs = fit.fit(seed)
            seconds = time.process_time() - start
            answers = {part: fit.answer(part) for part in ("val", "test")}
            answers["labels"] = self.fold.labels("test")
            self.store.add(
                (method.name, seed, number),
                answers,
                seconds=round(seconds, 3),
                parameters=int(fit.count),
                epochs=epochs,
                classical=list(getattr(fit, "classical", ())),
            )

    def _made_fit(self, method):
        if method not in self._made:
            made = self._made[method] = fits.make(self.fold, method)
            if method.tier == "late":
                made.singles = {
                    x.modalities[0]: self._made_fit(x) for x in self._singles()
                }
        return self._made[method]

    def _singles(self):
        return [x for x in self.methods if x.tier == "single"]

    def _experts(self, method, seed, number):
        return {
            x.modalities[0]: self.store.answers((x.name, seed, number))
            for x in self._singles()
        }

    def _measure(self, methods):
        """Milliseconds for one row, encoders in: medians, the methods in turns."""
        if not methods:
            return
        row = self.fold.row()
        serve = {x.name: self._made_fit(x).serve(row) for x in methods}
        times = {name: [] for name in serve}
        for i in self.progress.track(range(_CALLS + 2), _CALLS + 2, "Timing one row"):
            for name, call in serve.items():
                start = time.perf_counter()
                call()
                if i >= 2:  # the first ones compile
                    times[name].append(1000 * (time.perf_counter() - start))
        for name, x in times.items():
            self.store.add_cost(name, round(float(np.median(x)), 3))


def _runs(method, store, first, seeds, folds):
    chosen = range(first, first + (seeds if method.seeded else 1))
    keys = [[(method.name, seed, fold) for seed in chosen] for fold in range(folds)]
    records = [store.runs[key] for row in keys for key in row]
    return Runs(
        method,
        [[store.answers(key)["test"] for key in row] for row in keys],
        float(np.mean([x["seconds"] for x in records])),
        records[0]["parameters"],
        store.costs.get(method.name),
    )


def _splits(recipe, folds):
    """List of folds, each a dict, part -> DataFrame."""
    parts = train.split(dataclasses.replace(recipe, accumulate=1))
    if not folds:
        return [{x: parts[x] for x in ("train", "val", "test")}]
    frame = data.read_table(recipe.table)
    names = [str(i) for i in range(folds)]
    stratify = recipe.label if recipe.task == "classification" else None
    cut = data.split(
        frame,
        dict.fromkeys(names, 1 / folds),
        stratify=stratify,
        group=recipe.group,
        seed=recipe.seed,
    )
    places = {name: set(x.index) for name, x in cut.items()}
    found = []
    for i in range(folds):
        test, val = places[names[i]], places[names[(i + 1) % folds]]
        rest = set(frame.index) - test - val
        parts = {"train": rest, "val": val, "test": test}
        found.append({part: _rows(frame, x) for part, x in parts.items()})
    return found


def _rows(frame, chosen):
    part = frame[frame.index.isin(chosen)]
    part.attrs.update(frame.attrs)
    return part


def _settings(recipe, folds, splits):
    """What runs must share to stand in one table: recipe, folds and rows."""
    rows = hashlib.sha256()
    for split in splits:
        for part in split.values():
            cells = part.astype(str)
            rows.update(pandas.util.hash_pandas_object(cells).to_numpy().tobytes())
    values = {k: x for k, x in recipe.to_dict().items() if k not in _NOT_OURS}
    return {**values, "folds": folds, "rows": rows.hexdigest()[:16]}


def _stood_in(methods, store, seed):
    """Modalities of which the linear models took classical features."""
    found = [store.runs[x.name, seed, 0] for x in methods if x.tier == "linear"]
    return sorted({name for record in found for name in record.get("classical", ())})


def _notes(seeds, splits, stood_in):
    notes = ()
    if stood_in:
        notes = (
            f"Linear models take classical features of {', '.join(stood_in)}: these "
            f"encoders train, and have no features before.",
        )
    sizes = ", ".join(f"{len(x)} {part}" for part, x in splits[0].items())
    return (
        *notes,
        f"Means over {seeds} seeds (linear models need one); rows: {sizes}"
        f"{' in the first fold' * (len(splits) > 1)}.",
        "Fit CPU s: one fit, features ready, tracing in. ms a row: encoders in, from "
        "the decoded row, median of one row at a time.",
    )


def _save(folder, found, progress):
    files.write_text(folder / "compare.csv", found.to_frame().to_csv())
    files.write_text(folder / "compare.md", found.to_markdown())
    try:
        plot.draw(found, folder / "compare.png")
    except ImportError as error:  # matplotlib is an extra
        progress.say(f"No plot: {error}")


def _check(seeds, folds):
    if seeds < 1:
        raise ValueError(f"`seeds` wants 1 or more. Received: {seeds}")
    if folds < 0 or folds in (1, 2):
        raise ValueError(
            f"`folds` wants 3 or more (one to test, one to validate, the rest to "
            f"train), or 0 for the table's split. Received: {folds}"
        )
