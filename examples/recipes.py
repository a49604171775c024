"""Every recipe's expected and measured numbers, in one table.

    make assets && python examples/stamps/prepare.py   # once
    python -m examples.recipes [NAME ...] [--seeds N] [--smoke] [--again]

Each recipe runs in a process of its own; what has run is not run again (`--again`
does). Names are those of the table, such as `stamps.retrieval`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from examples import measured
from mmkeras.run.progress import Progress

#: recipes in the order of docs/recipes.md
RECIPES = (
    "stamps.classical",
    "stamps.retrieval",
    "stamps.search",
    "stamps.distillation",
    "stamps.pretraining",
    "stamps.unequal",
    "stamps.long_tail",
    "stamps.annotation",
    "stamps.graph",
    "stamps.multitask",
    "scenes.vqa",
    "scenes.segmentation",
)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--seeds", type=int, help="each recipe's own where left out")
    parser.add_argument("--smoke", action="store_true", help="runs of a few steps")
    parser.add_argument("--again", action="store_true", help="run what has run, too")
    parser.add_argument("--out", type=Path, default=measured.OUT)
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(RECIPES))
    if unknown:
        parser.error(f"NAME wants some of {', '.join(RECIPES)}. Received: {unknown}")
    failed = []
    names = options.names or RECIPES
    for name in Progress().track(names, len(names), "recipes"):
        if options.again or not has_run(name, options):
            status = run(name, options)
            if status and not record(options.out, name):
                failed.append(name)
    print(table(options.out, names))
    for name in failed:
        print(f"{name}: stopped with an error, see above")
    return 1 if failed else 0


def has_run(name, options):
    """Whether there is a record of a run like the one that is asked for."""
    found = record(options.out, name)
    if not found or found["smoke"] != options.smoke:
        return False
    return options.smoke or options.seeds in (None, found["seeds"])


def run(name, options):
    """Runs one recipe in a fresh process; gives its exit status."""
    command = [sys.executable, "-m", f"examples.{name}", "--out", str(options.out)]
    command += ["--seeds", str(options.seeds)] if options.seeds else []
    command += ["--smoke"] if options.smoke else []
    (options.out / f"{name}.json").unlink(missing_ok=True)
    return subprocess.run(command, cwd=measured.ROOT, check=False).returncode


def record(out, name):
    """What a recipe wrote, or None."""
    path = out / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def table(out, names):
    """All records as a Markdown table."""
    lines = [
        "| recipe | number | measured (range) | expected | control | verdict | min |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        found = record(out, name)
        for row in found["rows"] if found else ():
            shown = f"{row['mean']:.1f} ({row['least']:.1f}-{row['most']:.1f})"
            control = measured.beside(row) if row["control"] else ""
            cells = [name, row["name"], shown, f"{row['low']:g}-{row['high']:g}"]
            cells += [control, row["verdict"], f"{found['minutes']:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
