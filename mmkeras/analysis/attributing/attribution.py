"""Integrated gradients: which pixels, words, sounds and columns an output comes from.

Sundararajan et al. 2017, arXiv:1703.01365.
"""

import dataclasses
import warnings

import numpy as np

from mmkeras.analysis.attributing import targets
from mmkeras.analysis.attributing.path import Path, integrate

_EDGES = ("[CLS]", "[SEP]", "[PAD]")


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What `attribution` gives, in units of the output.

    Args:
        modalities: tuple of names, sorted.
        kinds: dict, modality -> "image", "text", "audio" or "table".
        classes: tuple of the outputs' names.
        target: integers `(rows,)`, the output asked for.
        maps: dict, modality -> array: pictures `(rows, height, width, 3)`, texts
            `(rows, length)`, sounds `(rows, frames, bands)`, tables `(rows, columns)`.
        values: dict, modality -> what the map lies over: the picture, word pieces,
            log-mel bands, cells.
        columns: dict, table -> tuple of the columns' names.
        present: dict, modality -> `(rows,)`, 1 where it is there.
        output: `(rows,)`, the target's output.
        baseline_output: `(rows,)`, the same at the baselines.
        error: `(rows,)`, |sum of attributions - (output - baseline_output)| relative
            to the difference, or to 1 % of the larger output (at least 0.01) where
            the difference is smaller than that.
        steps: integers `(rows,)`, gradients that a row took.
    """

    modalities: tuple
    kinds: dict
    classes: tuple
    target: np.ndarray
    maps: dict
    values: dict
    columns: dict
    present: dict
    output: np.ndarray
    baseline_output: np.ndarray
    error: np.ndarray
    steps: np.ndarray

    def totals(self):
        """The sum over each modality: dict, modality -> `(rows,)`."""
        return {
            name: x.reshape(len(x), -1).sum(1, dtype="float64")
            for name, x in self.maps.items()
        }

    def to_frame(self):
        """DataFrame, a row per row: the sum of each modality, and how exact it is."""
        import pandas

        columns = {
            "class": [self.classes[i] for i in self.target],
            **self.totals(),
            "baseline": self.baseline_output,
            "output": self.output,
            "error": self.error,
            "steps": self.steps,
        }
        return pandas.DataFrame(columns).rename_axis("row")

    def words(self, row=0, modality=None):
        """The words of a text and what each adds, the word pieces summed.

        Special tokens stand in the list only where they add something.

        Args:
            row: Integer.
            modality: name; default: the only text.

        Returns:
            List of pairs (word, float); their sum is the modality's.
        """
        name = self._only("text", modality)
        found = []
        pieces = zip(self.values[name][row], self.maps[name][row], strict=True)
        for piece, value in pieces:
            if piece.startswith("##") and found:
                word, total = found.pop()
                found.append((word + piece[2:], total + float(value)))
            elif piece not in _EDGES or value:
                found.append((piece, float(value)))
        return found

    def cells(self, modality=None):
        """DataFrame, a row per row: what each column of a table adds.

        Args:
            modality: name; default: the only table of named columns.
        """
        import pandas

        if modality is None and len(self.columns) == 1:
            (modality,) = self.columns
        if modality not in self.columns:
            raise ValueError(
                f"`modality` wants one of {sorted(self.columns)}, the tables of named "
                f"columns. Received: modality={modality!r}"
            )
        frame = pandas.DataFrame(self.maps[modality], columns=self.columns[modality])
        return frame.rename_axis("row")

    def __str__(self):
        return self.to_frame().to_string(float_format="{:.4f}".format)

    def _only(self, kind, modality):
        valid = [x for x in self.modalities if self.kinds[x] == kind]
        if modality is None and len(valid) == 1:
            return valid[0]
        if modality not in valid:
            raise ValueError(
                f"`modality` wants one of {valid}, the modalities of kind '{kind}'. "
                f"Received: modality={modality!r}"
            )
        return modality


def attribution(
    model,
    inputs,
    target=None,
    *,
    baseline=None,
    probabilities=False,
    max_steps=512,
    tolerance=0.01,
    batch_size=16,
    progress=None,
):
    """Attributes an output to every part of the inputs, by integrated gradients.

    a_i = (x_i - b_i) * integral over t in [0, 1] of dy/dx_i at b + t (x - b),

    all modalities moving together, so that sum_i a_i = y(x) - y(b): the attributions
    are complete. The way is cut in four, each part integrated from four gradients
    (Gauss and Legendre) and compared with the change of y over it; parts that are off
    are cut in two, until a row as a whole is off by less than `tolerance`, and its
    parts, whose errors have either sign, by less than ten times that in sum.

    What moves from the baseline b to the input x, and what b is:

    =======  ===========================================  ==========================
    kind     what moves                                   baselines, default first
    =======  ===========================================  ==========================
    image    pixels                                       "grey" (128), "black",
                                                          "blurred"
    text     embeddings of the word pieces; the length    "pad", "mask" ([PAD]'s or
             is kept                                      [MASK]'s), "zeros"
    audio    log-mel bands, also behind MFCC, which are   "silence", as long as the
             linear in them; the wave in steps of 10 ms   clip
             where the encoder has no such front end
    table    encoded columns                              "mean", and a category that
                                                          is missing
    other    the tensor                                   "zeros"
    =======  ===========================================  ==========================

    Pictures that are mostly grey are slow to complete from "grey", which lies next to
    them; "black" takes a tenth of the gradients there, and then the ground counts too.
    A modality that is absent, or that the model ignores, gets exactly 0. Inference
    mode, whatever is frozen. Keep to some dozens of pictures at a time: a map is as
    large as its picture.

    Example:
    >>> columns = mm.tabular.Columns({"age": (30, 10), "height": (170, 10)})
    >>> encoder = mm.tabular.mlp(columns, units=4, activation=None)
    >>> head = mmkeras.heads.classification(["cat", "dog"]).layer
    >>> model = mmkeras.multimodal({"owner": encoder}, mmkeras.fusion.Concat(), head)
    >>> rows = {"owner": np.array([[40.0, 170.0]]), "owner_present": np.ones(1)}
    >>> result = mm.analysis.attribution(model, rows, target="dog")
    >>> float(result.cells()["height"][0])  # the mean of all, so it adds nothing
    0.0

    Args:
        model: a model of `mmkeras.multimodal` with one output.
        inputs: dict of arrays, as the model takes; `<name>_present` may be left out.
        target: name or number of a class, or one for each row; default: the largest
            output of each row.
        baseline: optional dict, modality -> name of the table above, or array of the
            modality's tensor (pixels, ids, samples, cells), with or without rows.
        probabilities: True attributes the probability in place of the logit.
        max_steps: Integer >= 16, gradients of a row at most.
        tolerance: Float, error of a row that counts as complete (see `Attribution`).
        batch_size: Integer, points of all rows that the model takes at once.
        progress: optional object with `track(items, total, label)`.

    Returns:
        `Attribution`.

    Raises:
        ValueError: inputs missing or without rows, several outputs, an unknown target
            or baseline, a text encoder whose embedding is not found.

    Warns:
        UserWarning: rows that are not complete at `max_steps`.

    Reference:
        Sundararajan et al. 2017, arXiv:1703.01365.
    """
    path = Path(model, inputs, baseline, probabilities, batch_size)
    whole = path.outputs(1.0)
    classes = targets.names(model, whole.shape[-1])
    asked = targets.places(target, whole, classes)
    path.ask(asked, whole.shape[-1])
    rows = np.arange(path.rows)
    output, base = whole[rows, asked], path.outputs(0.0)[rows, asked]
    maps, error, taken = integrate(path, output, base, tolerance, max_steps, progress)
    _warn(error, taken, tolerance)
    return Attribution(
        path.names,
        {name: x.kind for name, x in path.points.items()},
        classes,
        asked,
        maps,
        {name: x.values(path.inputs[name]) for name, x in path.points.items()},
        {name: x.columns for name, x in path.points.items() if x.columns},
        path.present,
        output,
        base,
        error,
        taken,
    )


def _warn(error, taken, tolerance):
    off = ~(error <= tolerance)  # NaN among them
    if off.any():
        warnings.warn(
            f"{off.sum()} of {len(error)} rows are not complete: the attributions sum "
            f"to the change of the output but for {error[off].max():.1%} at most, with "
            f"{taken[off].max()} gradients. Raise `max_steps`, or choose a `baseline` "
            f"from which the output moves more smoothly.",
            stacklevel=3,
        )
