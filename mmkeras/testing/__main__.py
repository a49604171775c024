"""Prints the law table, fusion x law, and fails if one law is broken.

python -m mmkeras.testing [NAME ...] [--modalities 1 3] [--no-export]
"""

import argparse
import sys


def main(arguments=None):
    """Runs the command; returns its exit status: 0, or 1 if a law is broken."""
    from mmkeras.testing import table

    known = table.every_fusion()
    options = _parser().parse_args(arguments)
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        sys.stderr.write(f"Unknown names {unknown}. Valid names: {sorted(known)}\n")
        return 2
    chosen = {name: known[name] for name in options.names or known}
    laws = table.columns(options.export)
    results = {}
    for name, row in table.law_table(chosen, options.modalities, options.export):
        results[name] = row
        broken = [str(error) for error in row.values() if error]
        sys.stderr.write("\n".join([f"{name}: {len(broken)} broken", *broken, ""]))
    _print(laws, results)
    broken = sum(
        error is not None for row in results.values() for error in row.values()
    )
    sys.stdout.write(f"{len(results)} fusions, {len(laws)} laws, {broken} broken\n")
    return 1 if broken else 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m mmkeras.testing",
        description="Checks every fusion against every law and prints a table.",
    )
    parser.add_argument("names", nargs="*", help="fusions to check; all by default")
    parser.add_argument(
        "--modalities",
        nargs="+",
        type=int,
        choices=range(1, 6),
        default=(1, 2, 3, 5),
        metavar="N",
        help="numbers of modalities, from 1 to 5; 1 2 3 5 by default",
    )
    parser.add_argument(
        "--no-export",
        dest="export",
        action="store_false",
        help="leave out XLA, SavedModel and TFLite",
    )
    return parser


def _print(laws, results):
    """The table, a row a fusion: by rich where it is there, in plain text elsewhere."""
    rows = [
        [name, *("BROKEN" if row[law] else "ok" for law in laws)]
        for name, row in results.items()
    ]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _print_plain([["fusion", *laws], *rows])
        return
    shown = Table("fusion", *laws)
    for row in rows:
        shown.add_row(*row, style="red" if "BROKEN" in row else None)
    # as wide as it is: a file or a pipe is no terminal of 80 columns
    width = None if sys.stdout.isatty() else 240
    Console(width=width).print(shown)


def _print_plain(rows):
    widths = [max(len(x) for x in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (x.ljust(width) for x, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


if __name__ == "__main__":
    sys.exit(main())
