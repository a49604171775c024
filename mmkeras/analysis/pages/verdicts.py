"""A `ModalityReport` in plain sentences: does each modality earn its place?"""

from mmkeras.analysis.plots.style import in_words
from mmkeras.scores import LOWER_IS_BETTER


def modalities(report, metric=None):
    """A sentence on each modality: what is lost without it, what it gains alone.

    It earns its place where the score falls without it, beyond chance: the bootstrap
    interval of `unique` lies above 0 (without a bootstrap: its value).

    Args:
        report: `ModalityReport` of several modalities.
        metric: name; default: the first.

    Returns:
        List of strings, in the order of `report.modalities`.
    """
    metric = metric or report.metrics[0]
    parts = report.parts(metric)
    total = parts["shapley"].sum()
    sentences = []
    for name, row in parts.iterrows():
        text = _of_one(name, row, metric)
        if total > 0 and row["shapley"] > 0:
            text += " Its fair share of all that is gained (Shapley): "
            text += f"{row['shapley']:.3f} of {total:.3f}."
        sentences.append(text)
    return sentences


def interaction(report, metric=None):
    """A sentence on EMAP: is the score more than what evidence added up gives?

    Args:
        report: `ModalityReport` with EMAP.
        metric: name; default: the first.
    """
    metric = metric or report.metrics[0]
    value = report.interaction(metric)
    low, high = value, value
    if report.draws is not None:
        low, high = report.interaction_interval(metric)
    told = f"{value:.3f}{_span(report.draws, low, high)} of {in_words(metric)}"
    added = "outputs only added up over the modalities (EMAP)"
    if low > 0:
        return (
            f"The modalities are read together: that is worth {told}, which {added} "
            f"would lose."
        )
    if high < 0:
        return (
            f"Reading the modalities together does harm on these rows: {told} against "
            f"{added}. Try a fusion that adds, or a late one."
        )
    return (
        f"Nothing shows that the modalities need to be read together: {told} against "
        f"{added}. A fusion that only adds, or a late one, may do as well."
    )


def _of_one(name, row, metric):
    unique, low, high = _with_interval(row, "unique")
    solo, solo_low, _ = _with_interval(row, "solo")
    drawn = True if "unique_low" in row else None
    verbs = ["falls", "rises"]
    if metric in LOWER_IS_BETTER:
        verbs.reverse()
    if unique < 0:
        verbs.reverse()
        span = _span(drawn, -high, -low)
    else:
        span = _span(drawn, low, high)
    lost = f"without it {in_words(metric)} {verbs[0]} by {abs(unique):.3f}{span}"
    if low > 0:
        return f"{name} earns its place: {lost}; alone it is worth {solo:.3f}."
    if high < 0:
        return f"{name} does harm on these rows: {lost}."
    if solo_low > 0:
        return (
            f"{name} could be left out beside the others: {lost}, which may be chance. "
            f"Alone it is worth {solo:.3f}, so the others tell the same."
        )
    return f"{name} adds nothing that these rows show: {lost}, which may be chance."


def _with_interval(row, name):
    value = row[name]
    return value, row.get(f"{name}_low", value), row.get(f"{name}_high", value)


def _span(drawn, low, high):
    return "" if drawn is None else f" ({low:.3f} to {high:.3f})"
