"""What an export tells: which endpoints there are and how exactly they answer."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EndpointCheck:
    """One endpoint of an exported file against `model.predict`.

    Attributes:
        name: the endpoint's (signature's) name.
        inputs: names of its inputs.
        outputs: names of its outputs.
        differences: dict, loader -> largest difference to `model.predict`, relative
            to the largest expected value where that is above 1.
    """

    name: str
    inputs: tuple
    outputs: tuple
    differences: dict


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from `model.predict`.

    Attributes:
        path: where the artefact lies.
        size: bytes on disk.
        endpoints: tuple of `EndpointCheck`.
        tolerance: the largest difference that was allowed.
        rows: how many raw rows were compared.
        custom_ops: operations outside TensorFlow's core; the server must have them.
    """

    path: str
    size: int
    endpoints: tuple
    tolerance: float
    rows: int
    custom_ops: tuple = field(default=())

    @property
    def max_difference(self):
        """Largest difference over all endpoints and loaders."""
        return max(x for check in self.endpoints for x in check.differences.values())

    def __str__(self):
        loaders = list(self.endpoints[0].differences)
        rows = [("endpoint", *loaders, "inputs", "outputs")]
        for check in self.endpoints:
            numbers = [f"{check.differences[x]:.1e}" for x in loaders]
            texts = ", ".join(check.inputs), ", ".join(check.outputs)
            rows.append((check.name, *numbers, *texts))
        lines = [f"{self.path}  {self.size / 1e6:.1f} MB"]
        lines += _table(rows)
        lines.append(
            f"largest difference to model.predict {self.max_difference:.1e} "
            f"(allowed {self.tolerance:.0e}), {self.rows} raw rows"
        )
        if self.custom_ops:
            lines.append("needs operations beyond TensorFlow's core:")
            lines.append("  " + ", ".join(self.custom_ops))
        return "\n".join(lines)


def _table(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()
