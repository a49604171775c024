"""The straight way from the baselines to the inputs, and the integral along it."""

import numpy as np
from keras import ops

from mmkeras.analysis.attributing import targets
from mmkeras.analysis.attributing.graph import with_gradients
from mmkeras.analysis.attributing.inputs import checked
from mmkeras.analysis.attributing.points import point
from mmkeras.model import encoders
from mmkeras.transfer import trunk

#: A change below this share of the outputs (or of 1) counts as that share.
_GUARD = 0.01
#: Parts of the way at first, and gradients in each.
_PARTS, _NODES = 4, 4
#: How far off the parts may be one by one, in tolerances of the whole.
_APART = 10
#: Rows that are integrated together: each part keeps a gradient.
_ROWS = 8


class Path:
    """All modalities of all rows on the way from baseline (0) to input (1).

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        inputs: dict of arrays.
        baseline: optional dict, modality -> name or array.
        probabilities: Boolean.
        batch_size: Integer, points that the model takes at once.
    """

    def __init__(self, model, inputs, baseline, probabilities, batch_size):
        found = encoders(model)
        self.names = tuple(sorted(found))
        self.inputs, self.present = checked(model, inputs)
        self.rows = len(self.present[self.names[0]])
        chosen = _baselines(baseline, self.names)
        self.points = {
            name: point(found[name], name, chosen.get(name)) for name in self.names
        }
        each = [(name, x, self.inputs[name]) for name, x in self.points.items()]
        self._start = {name: made.start(x) for name, made, x in each}
        self._reference = {name: made.reference(x) for name, made, x in each}
        self._difference = {name: made.difference(x) for name, made, x in each}
        self._behind = trunk(model, cached=self.names)
        self._model, self._probabilities = model, probabilities
        self._gradients = with_gradients(self._answer)
        self._select = np.zeros((self.rows, model.output.shape[-1]), "float32")
        self._batch = batch_size

    def ask(self, target, width):
        """Sets the output whose gradients are wanted."""
        self._select = np.eye(width, dtype="float32")[target]

    def outputs(self, place):
        """Outputs `(rows, outputs)` at one place of the way, of all rows."""
        asked = [(row, place) for row in range(self.rows)]
        found = [x for chunk in self.chunks(asked) for x, _ in self.at(chunk)]
        return np.array(found, "float64")

    def chunks(self, asked):
        """A list in parts that the model takes at once."""
        return [asked[i : i + self._batch] for i in range(0, len(asked), self._batch)]

    def at(self, asked):
        """Outputs and gradients at pairs (row, place), at most `batch_size` of them.

        Yields:
            Pairs: outputs `(outputs,)`, dict of gradients.
        """
        # always as many, so that the model is compiled once
        filled = asked + [asked[-1]] * (self._batch - len(asked))
        index = np.array([row for row, _ in filled])
        place = np.array([t for _, t in filled], "float32")
        moving = {}
        for name in self.names:
            t = place.reshape(-1, *[1] * (self._start[name].ndim - 1))
            start, reference = self._start[name][index], self._reference[name][index]
            moving[name] = ((1 - t) * reference + t * start).astype("float32")
        fixed = {f"{name}_x": self.inputs[name][index] for name in self.names}
        fixed |= {f"{name}_present": self.present[name][index] for name in self.names}
        fixed["select"] = self._select[index]
        outputs, gradients = self._gradients(moving, fixed)
        for i in range(len(asked)):
            yield outputs[i], {name: x[i] for name, x in gradients.items()}

    def maps(self, row, gradients):
        """Attributions of a row, from the gradients along the way: dict of arrays."""
        found = {}
        for name, made in self.points.items():
            if self.present[name][row]:
                difference = self._difference[name][row]
                found[name] = made.map(difference[None], gradients[name][None])[0]
            else:  # even where its gradient is NaN
                found[name] = np.zeros(self._map_shape(name))
        return found

    def _map_shape(self, name):
        shapes = (self._difference[name].shape, self._start[name].shape)
        return self.points[name].map(*(np.zeros((1, *x[1:])) for x in shapes))[0].shape

    def _answer(self, moving, fixed):
        behind = {}
        for name, made in self.points.items():
            feature = made.feature(fixed[f"{name}_x"], moving[name])
            if isinstance(feature, dict):
                behind |= {f"{name}_{key}": x for key, x in feature.items()}
            else:
                behind[name] = feature
            behind[f"{name}_present"] = fixed[f"{name}_present"]
        outputs = ops.cast(self._behind(behind), "float32")
        outputs = targets.scores(self._model, outputs, self._probabilities)
        return ops.sum(outputs * fixed["select"], axis=-1), outputs


def integrate(path, output, base, tolerance, max_steps, progress=None):
    """Integrates the gradients of all rows, each as finely as it needs.

    Args:
        path: `Path` that was asked for its targets.
        output: `(rows,)`, the target's output at the inputs.
        base: `(rows,)`, the same at the baselines.
        tolerance: Float, how far off a row may be, relative to output - base.
        max_steps: Integer, gradients of a row at most.
        progress: optional object with `track(items, total, label)`.

    Returns:
        Maps (dict, modality -> `(rows, ...)`), errors `(rows,)`, gradients `(rows,)`.
    """
    if max_steps < _PARTS * _NODES:
        raise ValueError(
            f"`max_steps` wants {_PARTS * _NODES} or more. Received: {max_steps}"
        )
    larger = np.maximum(np.maximum(np.abs(output), np.abs(base)), 1.0)
    scale = np.maximum(np.abs(output - base), _GUARD * larger)
    rows = [
        _Row(path, i, (base[i], output[i]), tolerance * scale[i], max_steps)
        for i in range(path.rows)
    ]
    groups = [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]
    if progress is not None:
        groups = progress.track(groups, len(groups), "rows")
    for group in groups:
        while any(row.parts for row in group):
            _step(path, [row for row in group if row.parts])
    maps = {
        name: np.stack([row.maps[name] for row in rows]).astype("float32")
        for name in path.names
    }
    sums = sum(x.reshape(path.rows, -1).sum(1, dtype="float64") for x in maps.values())
    error = np.abs(sums - (output - base)) / scale
    return maps, error, np.array([row.steps for row in rows])


def _step(path, rows):
    """One round: the gradients of all open parts of some rows."""
    asked = [(row, *question) for row in rows for question in row.questions()]
    for chunk in path.chunks(asked):
        answers = path.at([(row.index, place) for row, place, _, _ in chunk])
        for (row, place, part, weight), (outputs, gradients) in zip(
            chunk, answers, strict=True
        ):
            if part is None:
                row.edges[place] = float(outputs @ path._select[row.index])
            else:
                row.add(part, weight, gradients)
    for row in rows:
        row.settle()


class _Row:
    """A row's way, cut in parts; those that are near enough are settled."""

    def __init__(self, path, index, ends, tolerance, max_steps):
        self.index, self.steps, self.maps = index, 0, None
        self._path, self._max_steps = path, max_steps
        # how far off the kept parts may still be one by one, and are as a sum
        self._tolerance, self._budget, self._off = tolerance, tolerance, 0.0
        self.edges = dict(zip((0.0, 1.0), ends, strict=True))
        cuts = [i / _PARTS for i in range(_PARTS + 1)]
        self._open(list(zip(cuts[:-1], cuts[1:], strict=True)))

    def questions(self):
        """(place, number of the part or None for an edge, weight) to be asked."""
        edges = sorted({t for part in self.parts for t in part} - set(self.edges))
        asked = [(t, None, 0.0) for t in edges]
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        for k, (a, b) in enumerate(self.parts):
            for node, weight in zip(nodes, weights, strict=True):
                place = a + (b - a) * (node + 1) / 2
                asked.append((place, k, weight * (b - a) / 2))
        self.steps += _NODES * len(self.parts)
        return asked

    def add(self, part, weight, gradients):
        """Adds a gradient to the integral of a part."""
        sums = self._sums[part]
        for name, x in gradients.items():
            sums[name] = sums.get(name, 0.0) + weight * x.astype("float64")

    def settle(self):
        """Keeps the parts that are near enough, cuts the others in two."""
        found = [self._path.maps(self.index, sums) for sums in self._sums]
        off = []
        for maps, (a, b) in zip(found, self.parts, strict=True):
            change = self.edges[b] - self.edges[a]
            off.append(sum(x.sum() for x in maps.values()) - change)
        off = np.array(off)
        order = np.argsort(np.abs(off))
        spent = np.cumsum(np.abs(off)[order])
        near = abs(self._off + off.sum()) <= self._tolerance
        if near and spent[-1] <= _APART * self._tolerance:
            kept = len(off)
        else:
            # half of what is left, so that something is left for finer parts
            kept = min(int((spent <= self._budget / 2).sum()), len(off) - 1)
            most = (self._max_steps - self.steps) // (2 * _NODES)
            kept = max(kept, len(off) - most)
        for k in order[:kept]:
            self._keep(found[k])
        self._budget -= spent[kept - 1] if kept else 0.0
        self._off += off[order[:kept]].sum()
        halves = []
        for a, b in (self.parts[k] for k in order[kept:]):
            halves += [(a, (a + b) / 2), ((a + b) / 2, b)]
        self._open(halves)

    def _open(self, parts):
        self.parts, self._sums = parts, [{} for _ in parts]

    def _keep(self, maps):
        if self.maps is None:
            self.maps = maps
        else:
            self.maps = {name: x + maps[name] for name, x in self.maps.items()}


def _baselines(baseline, names):
    baseline = {} if baseline is None else baseline
    if not isinstance(baseline, dict) or not set(baseline) <= set(names):
        raise ValueError(
            f"`baseline` wants a dict, modality -> name or array, of {list(names)}. "
            f"Received: {baseline if not isinstance(baseline, dict) else [*baseline]}"
        )
    return baseline
