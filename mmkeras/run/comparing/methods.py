"""The methods that `mmkeras compare` sets side by side, simplest first."""

from typing import NamedTuple

from mmkeras.run import build
from mmkeras.run.comparing import linear

#: From the simplest to ship to the least simple.
TIERS = ("classical", "single", "linear", "concat", "late", "fusion")
#: Those that join nothing by training: what a fusion has to beat.
SIMPLE = ("classical", "single", "linear")


class Method(NamedTuple):
    """One line of the comparison.

    Args:
        name: as the table shows it.
        tier: one of `TIERS`.
        modalities: tuple of names that it takes.
        fusion: the fusion's short name, where one is trained.
        seeded: whether a seed makes a difference.
    """

    name: str
    tier: str
    modalities: tuple
    fusion: str | None = None
    seeded: bool = True


def methods(names, fusions, task="classification"):
    """The methods for some modalities, in the order of the table.

    Args:
        names: modalities.
        fusions: short names of fusions, beside concat.
        task: of the recipe.

    Raises:
        ValueError: an unknown fusion; valid names are listed.
    """
    names = tuple(names)
    for fusion in fusions:
        build.head(task, ["a", "b"], fusion=fusion)  # knows the names
    fit = "ridge regression" if task == "regression" else "logistic regression"
    found = [Method(f"classical features + {fit}", "classical", names, seeded=False)]
    found += [Method(f"{x} alone", "single", (x,), "add") for x in names]
    for subset in linear.subsets(names):
        left = [x for x in names if x not in subset]
        name = f"{fit} without {left[0]}" if left else fit
        found.append(Method(name, "linear", subset, seeded=False))
    if len(names) > 1:
        found.append(Method("concat", "concat", names, "concat"))
        if task != "regression":
            found.append(Method("tuned late fusion", "late", names))
        more = dict.fromkeys(x for x in fusions if x != "concat")
        found += [Method(x, "fusion", names, x) for x in more]
    return found
