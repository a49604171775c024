"""How a model's score falls while one modality gets worse."""

from typing import NamedTuple

import numpy as np

from mmkeras import heads
from mmkeras.analysis import noise
from mmkeras.analysis.noise.level import corruption as checked_corruption
from mmkeras.analysis.noise.level import generator, lacking
from mmkeras.analysis.report import _kind, _labels, _measures
from mmkeras.analysis.robust.report import RobustnessReport
from mmkeras.analysis.robust.texts import Texts
from mmkeras.analysis.subsets import Trunk, batches
from mmkeras.model import readers

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)


def robustness(
    model,
    dataset,
    corruptions=None,
    levels=LEVELS,
    *,
    texts=None,
    metric=None,
    kind=None,
    seed=0,
    batch_size=32,
    progress=None,
):
    """Scores a model while one modality at a time is corrupted, more and more.

    `mmkeras.analysis.noise` lists the corruptions and what their level 1 is. Files are
    decoded once, and only the corrupted modality's encoder runs again for each level.
    Values that a row lacks stay missing. A row's noise hangs on `seed` and the row's
    place in the dataset alone: give it unshuffled.

    Example:
    >>> pixels = mmkeras.image.Pixels((4, 4))
    >>> image = mmkeras.modality.tensor_input(pixels, "image")
    >>> tiny = keras.Model(image, keras.layers.Flatten()(pixels(image)))
    >>> head = mmkeras.heads.classification(["cat", "dog"]).layer
    >>> model = mmkeras.multimodal({"photo": tiny}, mmkeras.fusion.Concat(), head)
    >>> rows = {"photo": np.ones((6, 4, 4, 3)), "photo_present": np.ones(6)}
    >>> data = rows, np.arange(6) % 2
    >>> report = mm.analysis.robustness(model, data, {"photo": ["blur", "missing"]})
    >>> report.curve("photo", "blur")
    array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    >>> report.area("photo", "blur")
    1.0

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        dataset: as `modality_report` takes it; it is read once.
        corruptions: optional dict, modality -> list of names or of functions
            `(value, level, rng) -> value` on one row's tensor; default: all that fit.
            Modalities that it does not name stay as they are.
        levels: increasing floats in (0, 1]; 0 is always there too.
        texts: optional table (path or DataFrame) with the texts in columns called as
            their modality, or dict, modality -> list of strings, in the dataset's
            order. Typos want it; with it words are dropped and swapped in the strings,
            before they are cut to the contract's length, else in the token ids.
        metric: as `modality_report`.
        kind: as `modality_report`.
        seed: Integer, of the noise.
        batch_size: Integer, rows in a batch where `dataset` is a tuple of arrays.
        progress: optional object with `track(iterable, total, text)`.

    Returns:
        `RobustnessReport`.

    Raises:
        ValueError: an unknown modality or corruption, levels that do not rise from
            above 0 to at most 1, texts that are not the dataset's, and what
            `modality_report` raises.

    Reference:
        Hendrycks and Dietterich 2019, arXiv:1903.12261; Taori et al. 2020,
        arXiv:2007.00644.
    """
    levels = _levels(levels)
    cut = Trunk(model)
    contracts = readers(model)
    texts = Texts.of(texts, contracts)
    chosen = _chosen(corruptions, contracts, texts)
    run = _Run(cut, texts, chosen, levels, seed)
    for inputs, truth in _tracked(dataset, batch_size, progress):
        run.add(inputs, truth)
    run.texts.end(run.row)
    return run.report(kind, metric, heads.output_contract(model))


class _Damage(NamedTuple):
    """A corruption of one modality."""

    modality: str
    name: str
    corruption: noise.Corruption

    @property
    def key(self):
        return self.modality, self.name


class _Run:
    """Collects the model's outputs, batch by batch."""

    def __init__(self, cut, texts, chosen, levels, seed):
        self.cut, self.texts, self.chosen = cut, texts, chosen
        self.levels, self.seed = levels, seed
        self.row = 0  # rows so far
        self.labels, self.clean = [], []
        self.outputs = {(*x.key, level): [] for x in chosen for level in levels}

    def add(self, inputs, labels):
        features, presence = self.cut.features(inputs)
        rows = range(self.row, self.row + len(labels))
        self.texts.check(inputs, rows)
        self.labels.append(labels)
        self.clean.append(self.cut.answer(features, presence))
        for damage in self.chosen:
            for level in self.levels:
                changed = self._damaged(damage, level, rows, inputs, presence)
                answer = self.cut.answer(
                    {**features, **changed[0]}, {**presence, **changed[1]}
                )
                self.outputs[*damage.key, level].append(answer)
        self.row += len(labels)

    def _damaged(self, damage, level, rows, inputs, presence):
        """The features and presences that a corruption changes: two dicts."""
        name = damage.modality
        there = presence[name]
        if damage.corruption.apply is None:
            gone = lacking(level, self.seed, name, rows)
            return {}, {name: np.where(gone, 0, there).astype(there.dtype)}
        apply = damage.corruption.apply
        rngs = [generator(self.seed, name, damage.name, row) for row in rows]
        if damage.corruption.takes == "string":
            strings = self.texts.rows(name, rows)
            values = [
                apply(x, level, rng) if x else x
                for x, rng in zip(strings, rngs, strict=True)
            ]
            tensor = self.texts.read(name, values)
        else:
            tensor = inputs[name].copy()
            for i in np.flatnonzero(there):
                tensor[i] = apply(inputs[name][i], level, rngs[i])
        return {name: self.cut.feature(name, tensor, there)}, {}

    def report(self, kind, metric, contract):
        labels, clean = np.concatenate(self.labels), np.concatenate(self.clean)
        if kind is None:
            kind = contract.kind if contract is not None else _kind(labels, clean)
        labels = _labels(labels, clean, kind)
        measures = _measures(metric, kind, contract)

        def scored(outputs):
            return {key: float(f(labels, outputs)) for key, f in measures.items()}

        whole = scored(clean)
        table = {}
        for damage in self.chosen:
            table[*damage.key, 0.0] = whole
            for level in self.levels:
                key = (*damage.key, level)
                table[key] = scored(np.concatenate(self.outputs[key]))
        return RobustnessReport(
            modalities=self.cut.names,
            metrics=tuple(measures),
            levels=(0.0, *self.levels),
            table=table,
            rows=len(labels),
            at_one={x.key: x.corruption.at_one for x in self.chosen},
        )


def _levels(levels):
    found = tuple(float(x) for x in levels if x != 0)
    rising = all(a < b for a, b in zip((0.0, *found), found, strict=False))
    if not found or not rising or found[-1] > 1:
        raise ValueError(
            f"`levels` wants increasing numbers above 0, the last at most 1. "
            f"Received: levels={levels!r}"
        )
    return found


def _chosen(corruptions, contracts, texts):
    """List of `_Damage`, by modality."""
    valid = {
        name: noise.corruptions(contract, strings=name in texts.names)
        for name, contract in contracts.items()
    }
    corruptions = dict(valid if corruptions is None else corruptions)
    unknown = sorted(set(corruptions) - set(valid))
    if unknown:
        raise ValueError(
            f"`corruptions` names modalities that the model does not have: {unknown}. "
            f"Valid names: {sorted(valid)}"
        )
    chosen = []
    for name in sorted(corruptions):
        wanted = corruptions[name]
        for entry in [wanted] if isinstance(wanted, str) else wanted:
            chosen.append(_damage(name, entry, valid[name], contracts[name]))
    names = [x.key for x in chosen]
    if not chosen or len(set(names)) < len(names):
        raise ValueError(
            f"`corruptions` wants at least one, and different names. Received: {names}"
        )
    return chosen


def _damage(modality, entry, valid, contract):
    if callable(entry):
        made = noise.Corruption(checked_corruption(entry), "level 1")
        return _Damage(modality, getattr(entry, "__name__", "corruption"), made)
    if entry not in valid:
        hint = ""
        if entry in noise.corruptions(contract, strings=True):
            hint = " It wants the strings: give `texts`, the table or dict of them."
        raise ValueError(
            f"`corruptions` of '{modality}' wants a function (value, level, rng) -> "
            f"value, or one of {list(valid)}. Received: {entry!r}.{hint}"
        )
    return _Damage(modality, entry, valid[entry])


def _tracked(dataset, batch_size, progress):
    found = batches(dataset, batch_size)
    if progress is None:
        return found
    if isinstance(dataset, tuple):
        total = -(-len(dataset[1]) // batch_size)
    else:
        total = len(dataset) if hasattr(dataset, "__len__") else None
    return progress.track(found, total, "Robustness")
