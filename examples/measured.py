"""What a recipe measures, beside what it is expected to measure and its control.

A recipe is a module under examples/ with a table of expected numbers and a function
that measures them:

    EXPECTED = {
        "picture -> caption R@1": Expected(20.0, 30.0, control="chance R@1"),
        "chance R@1": Expected(0.5, 1.5),
    }

    def measure(options):  # one dict for each seed, or one for all
        for seed in range(options.seeds):
            yield {"picture -> caption R@1": ..., "chance R@1": ...}

    if __name__ == "__main__":
        sys.exit(measured.main(measure, EXPECTED, __doc__, __file__))

`main` prints a line for each number and writes <out>/<recipe>.json;
`python -m examples.recipes` runs all of them and prints one table.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from mmkeras.run import files

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
OUT = ROOT / "saved_models" / "recipes"


@dataclasses.dataclass(frozen=True)
class Expected:
    """The range that the mean of a number was found in, and what it has to beat.

    Args:
        low: Number, the mean over the seeds is expected from here ...
        high: Number, ... to here.
        control: optional name of another number of the recipe, such as the score with
            shuffled pairs, with one modality, or of the prior.
        lower_wins: Boolean, whether this number has to be below its control's.
    """

    low: float
    high: float
    control: str | None = None
    lower_wins: bool = False


def main(measure, expected, text, path, argv=None, seeds=3):
    """The command line of a recipe.

    Args:
        measure: function (options) that yields dicts, name -> number; `options` has
            `seeds`, `smoke`, `cache` and `out`.
        expected: dict, name -> `Expected`, for every number that `measure` gives.
        text: the recipe's docstring; its first line is the help's.
        path: the recipe's `__file__`.
        argv: optional list of arguments, in place of the command's.
        seeds: Integer, how many seeds by default.

    Returns:
        0, or 1 where a number leaves its range or does not beat its control. Of a
        smoke run numbers are not compared.
    """
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--smoke", action="store_true", help="a run of a few steps")
    parser.add_argument("--cache", type=Path, default=CACHE, help="data and weights")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    if options.smoke:
        options.seeds = 1
    begun = time.perf_counter()
    runs = []
    for number, run in enumerate(measure(options)):
        runs.append(_checked(run, expected))
        seconds = time.perf_counter() - begun
        print(f"run {number + 1}: {seconds:.0f} s", flush=True)
    rows = summary(runs, expected)
    for row in rows:
        print(line(row))
    record = {"rows": rows, "minutes": (time.perf_counter() - begun) / 60}
    record |= {"seeds": options.seeds, "smoke": options.smoke}
    files.write_text(options.out / f"{name(path)}.json", json.dumps(record, indent=1))
    return 0 if options.smoke or all(x["verdict"] == "as expected" for x in rows) else 1


def name(path):
    """examples/stamps/search.py to stamps.search."""
    path = Path(path).resolve()
    return f"{path.parent.name}.{path.stem}"


def summary(runs, expected):
    """A dict for each number: its mean, range, expected range, control and verdict.

    `gain` is what it is above its control, `gain_error` the standard error of that over
    the seeds, each seed with its own control; None of one seed.
    """
    means = {key: float(np.mean([x[key] for x in runs])) for key in runs[0]}
    rows = []
    for key, mean in means.items():
        wanted = expected[key]
        values = [float(x[key]) for x in runs]
        row = {"name": key, "mean": mean, "least": min(values), "most": max(values)}
        row |= dataclasses.asdict(wanted)
        control = means[wanted.control] if wanted.control else None
        row |= {"control_mean": control, "verdict": _verdict(row, control)}
        if wanted.control:
            gains = np.array(values) - [x[wanted.control] for x in runs]
            row |= {"gain": float(np.mean(gains)), "gain_error": _error(gains)}
        rows.append(row)
    return rows


def line(row):
    """One number as text."""
    text = f"{row['name']}: {row['mean']:.1f} ({row['least']:.1f}-{row['most']:.1f}), "
    text += f"expected {row['low']:g} to {row['high']:g}"
    if row["control"]:
        text += f"; {beside(row)}"
    return f"{text}: {row['verdict']}"


def beside(row):
    """A number's control as text, and what it gains over it."""
    text = f"{row['control']} {row['control_mean']:.1f}, gain {row['gain']:+.1f}"
    error = row["gain_error"]
    return text if error is None else f"{text} (standard error {error:.1f})"


def _error(gains):
    """Standard error of the mean, None of one number."""
    several = len(gains) > 1
    return float(np.std(gains, ddof=1) / np.sqrt(len(gains))) if several else None


def _verdict(row, control):
    faults = []
    if not row["low"] <= row["mean"] <= row["high"]:
        faults.append("out of its range")
    if control is not None:
        ahead = control - row["mean"] if row["lower_wins"] else row["mean"] - control
        if not ahead > 0:
            faults.append(f"does not beat '{row['control']}'")
    return ", ".join(faults) or "as expected"


def _checked(run, expected):
    if set(run) != set(expected):
        raise ValueError(
            f"`measure` wants the numbers of `expected`. Missing: "
            f"{sorted(set(expected) - set(run))}; unknown: "
            f"{sorted(set(run) - set(expected))}"
        )
    return run
