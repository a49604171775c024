"""What an export tells: which endpoints there are and how exactly they answer."""

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class EndpointCheck:
    """One endpoint of an exported file against `model.predict`.

    Attributes:
        name: the endpoint's (signature's) name.
        inputs: names of its inputs.
        outputs: names of its outputs.
        differences: dict, loader -> largest difference to `model.predict`, relative
            to the largest expected value where that is above 1. Of the answers that
            follow from it, such as "scores" and "class", to what numpy makes of it;
            inf stands for NaN and for a wrong word.
        mean_differences: dict, loader -> the mean one, on the same scale.
        farthest: name of the output with the largest difference.
        milliseconds: median wall time of a request of one row in the v1 loader; None
            of endpoints that are not timed.
    """

    name: str
    inputs: tuple
    outputs: tuple
    differences: dict
    mean_differences: dict
    farthest: str = ""
    milliseconds: float | None = None


@dataclass(frozen=True)
class RowsCheck:
    """How "serve" answers rows that the user gave.

    Attributes:
        rows: how many.
        difference: largest difference to `model.predict`, as `EndpointCheck` has it.
        agreement: share of the rows in which the single-label heads name the same class
            as the model; None without such a head.
        scores: dict, metric -> (the model's, the export's); None without labels.
        milliseconds: median wall time of a request at batch 1.
    """

    rows: int
    difference: float
    agreement: float | None
    scores: dict | None
    milliseconds: float

    def __str__(self):
        return (
            f"{self.rows} rows that were given: difference {self.difference:.1e}"
            f"{_same(self.agreement)}, {self.milliseconds:.2f} ms a request"
        )


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from `model.predict`.

    Attributes:
        path: where the artefact lies.
        size: bytes on disk.
        endpoints: tuple of `EndpointCheck`.
        tolerance: the largest difference that was allowed.
        rows: how many raw rows were compared.
        custom_ops: operations outside TensorFlow's core, of hub modules; the server
            must have them.
        given: `RowsCheck` of the rows that were given; None without.
    """

    path: str
    size: int
    endpoints: tuple
    tolerance: float
    rows: int
    custom_ops: tuple = field(default=())
    given: RowsCheck | None = None

    @property
    def is_version(self):
        """Whether the folder's name is a version that TF Serving finds."""
        return re.fullmatch(r"[0-9]+", Path(self.path).name) is not None

    @property
    def max_difference(self):
        """Largest difference over all endpoints and loaders."""
        found = [x for check in self.endpoints for x in check.differences.values()]
        return max(found + ([self.given.difference] if self.given else []))

    @property
    def farthest(self):
        """Where the largest difference is, in words: an answer and its endpoint."""
        worst = max(self.endpoints, key=_largest)
        if self.given is not None and self.given.difference > _largest(worst):
            return "the rows that were given"
        return f"`{worst.farthest}` of `{worst.name}`"

    def __str__(self):
        loaders = list(self.endpoints[0].differences)
        rows = [("endpoint", *loaders, "mean", "ms", "inputs", "outputs")]
        for check in self.endpoints:
            numbers = [f"{check.differences[x]:.1e}" for x in loaders]
            numbers.append(f"{max(check.mean_differences.values()):.1e}")
            timed = check.milliseconds is not None
            numbers.append(f"{check.milliseconds:.2f}" if timed else "")
            texts = ", ".join(check.inputs), ", ".join(check.outputs)
            rows.append((check.name, *numbers, *texts))
        lines = [f"{self.path}  {self.size / 1e6:.1f} MB"]
        lines += _table(rows)
        lines.append(
            f"largest difference to model.predict {self.max_difference:.1e} "
            f"(allowed {self.tolerance:.0e}), {self.rows} raw rows; ms: median of a "
            f"request of one row"
        )
        if not self.is_version:
            lines.append(
                f"TF Serving looks for numbered folders: to serve this one, export to "
                f"{self.path}/1"
            )
        if self.given is not None:
            lines += [str(self.given), *_changes(self.given.scores)]
        if self.custom_ops:
            lines.append("needs operations beyond TensorFlow's core:")
            lines.append("  " + ", ".join(self.custom_ops))
        return "\n".join(lines)


@dataclass(frozen=True)
class LiteReport:
    """What a TFLite file holds, and how far it is from `model.predict`.

    Attributes:
        path: where the file lies.
        size: bytes.
        quantize: None, "float16", "dynamic" or "int8".
        max_differences: dict, output -> largest difference to `model.predict`, relative
            to the largest expected value where that is above 1.
        mean_differences: dict, output -> the mean one, on the same scale.
        agreement: share of the rows that were given (of the made-up ones where none
            were) in which the single-label heads name the same class as the model; None
            without such a head.
        scores: dict, metric -> (the model's, the file's) on the rows that were given;
            None where no labels were.
        rows: how many rows were compared.
        tolerance: the largest difference that was allowed.
        ops: dict, operation -> how often it stands in the file.
        milliseconds: median wall time of a request at batch 1, on one thread.
    """

    path: str
    size: int
    quantize: str | None
    max_differences: dict
    mean_differences: dict
    agreement: float | None
    scores: dict | None
    rows: int
    tolerance: float
    ops: dict
    milliseconds: float

    @property
    def max_difference(self):
        """Largest difference over all outputs."""
        return max(self.max_differences.values())

    def __str__(self):
        rows = [("output", "max", "mean")]
        for name, largest in self.max_differences.items():
            rows.append((name, f"{largest:.1e}", f"{self.mean_differences[name]:.1e}"))
        lines = [
            f"{self.path}  {self.size / 1e6:.1f} MB  {self.quantize or 'float32'}  "
            f"{self.milliseconds:.2f} ms a request"
        ]
        lines += _table(rows)
        lines.append(
            f"largest difference to model.predict {self.max_difference:.1e} "
            f"(allowed {self.tolerance:.0e}), {self.rows} rows"
            f"{_same(self.agreement)}"
        )
        lines += _changes(self.scores)
        counts = [f"{name} {count}" for name, count in self.ops.items()]
        lines += textwrap.wrap("operations: " + ", ".join(counts), 88)
        return "\n".join(lines)


def _largest(check):
    return max(check.differences.values())


def _same(agreement):
    return "" if agreement is None else f", same class in {100 * agreement:.0f} %"


def _changes(scores):
    """A line a metric: the model's score, the file's, and by how much it changed."""
    for name, (model, file) in (scores or {}).items():
        yield f"{name} {model:.4f} -> {file:.4f} ({file - model:+.4f})"


def _table(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()
