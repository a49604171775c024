"""The one sentence of a comparison: which method to ship, and why."""

from mmkeras.run.comparing.methods import SIMPLE, TIERS


def sentence(rows, metric, unit):
    """Says which method to ship: the simplest within the noise of the best.

    Within the noise: the 95 % interval of the paired difference to the best reaches 0.
    No simple method is, where the best of the simple ones is not.

    Args:
        rows: list of `table.Row`.
        metric: its words, such as "accuracy".
        unit: " points" of percent, or "".

    Returns:
        String: the difference, its interval and the cost, and whether fusion beats the
        best single modality and the linear models.
    """
    best = max(rows, key=_rank)
    simple = max((x for x in rows if x.tier in SIMPLE), key=_rank)
    near = [x for x in rows if x is best or x.gap.low <= 0]
    if simple not in near:
        near = [x for x in near if x.tier not in SIMPLE]
    chosen = min(near, key=_simplicity)
    words = f"Ship {chosen.name} ({chosen.score:.3g}{_percent(unit)} {metric}"
    words += f", {_cost(chosen)})"
    if chosen is best:
        words += ": the best score, and nothing simpler is within its noise"
    else:
        words += f", the simplest within the noise of the best: {best.name} scores "
        words += f"{_shown(chosen.gap, unit)} against it, for {_cost(best)}"
    return f"{words}; {_of_fusion(rows, simple, unit)}."


def _of_fusion(rows, simple, unit):
    """Whether fusion beats what is simple."""
    fused = [x for x in rows if x.tier not in SIMPLE]
    if not fused:
        return "there is nothing to fuse"
    top = max(fused, key=_rank)
    gap = _shown(top.against, unit)
    if top.against.low > 0:
        return (
            f"fusion beats every single modality and linear model: {top.name} scores "
            f"{gap} against the best of them, {simple.name} ({_cost(simple)})"
        )
    if top.against.high < 0:
        verdict = "fusion is worse than the best single modality or linear model here"
    else:
        verdict = (
            "fusion does not beat the best single modality or linear model beyond noise"
        )
    return f"{verdict}: {top.name} scores {gap} against {simple.name}"


def _rank(row):
    return (row.better, -TIERS.index(row.tier))


def _simplicity(row):
    weights = row.parameters if row.tier == "fusion" else 0
    return (TIERS.index(row.tier), len(row.modalities), weights, -row.better)


def _shown(gap, unit):
    return f"{gap.mean:+.2g}{unit} (95 % interval {gap.low:+.2g} to {gap.high:+.2g})"


def _cost(row):
    time = "" if row.latency is None else f"{row.latency:.3g} ms a row, "
    return f"{time}{row.parameters:,} trained parameters"


def _percent(unit):
    return " %" if unit else ""
