"""A report as text, for a terminal or a card."""

from mmkeras.analysis.subsets import label


def scores(report):
    """The score of every subset; the first metric with its interval, if it has one."""
    first = report.metrics[0]
    header = ["modalities", first, *_percent(report), *report.metrics[1:]]
    cells = [[*header, "rows"]]
    for subset, row in report.table.items():
        line = [label(subset), f"{row[first]:.4f}"]
        if report.draws is not None:
            line.append(_span(report.interval(subset, first)))
        line += [f"{row[x]:.4f}" for x in report.metrics[1:]]
        cells.append([*line, str(report.present[subset])])
    return aligned(cells)


def contributions(report, metric=None):
    """What each modality adds to a metric, what pairs add together, and EMAP.

    Args:
        report: `ModalityReport`.
        metric: name; default: the first.
    """
    metric = metric or report.metrics[0]
    whole, none = report.score(metric=metric), report.score([], metric)
    texts = [f"{metric}: {whole:.4f} with all modalities, {none:.4f} with none"]
    wide = ["solo_low", "solo_high"]  # a line has 80 columns
    parts = report.parts(metric).drop(columns=wide, errors="ignore")
    texts.append(_frame(report, parts))
    pairs = report.pairs(metric)
    if len(pairs):
        texts[-1] += (
            "\n\nAbove 0 the two need each other, below 0 they tell the same:\n"
            + _frame(report, pairs)
        )
    if report.emap is not None:
        texts.append(_emap(report, metric))
    return "\n\n".join(texts)


def aligned(cells):
    """Lines of text from rows of strings: the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_line(row, widths) for row in cells)


def _emap(report, metric):
    span = ""
    if report.draws is not None:
        span = f" ({_span(report.interaction_interval(metric))})"
    how = "every pair of rows"
    if report.emap.partners is not None:
        how = f"{report.emap.partners} partners of each row"
    return (
        f"Interaction: {report.interaction(metric):.4f}{span}. With outputs only added "
        f"up over\nthe modalities (EMAP), {metric} {report.emap.whole[metric]:.4f} "
        f"becomes {report.emap.scores[metric]:.4f}.\n"
        f"On {report.emap.rows} rows, {how}."
    )


def _frame(report, frame):
    names = [x for x in frame.columns if not x.endswith(("_low", "_high"))]
    header = [frame.index.name]
    for name in names:
        header += [name, *_percent(report) * (f"{name}_low" in frame)]
    cells = [header]
    for key, row in frame.iterrows():
        line = [key]
        for name in names:
            line.append(f"{row[name]:.4f}")
            if f"{name}_low" in row:
                line.append(_span((row[f"{name}_low"], row[f"{name}_high"])))
        cells.append(line)
    return aligned(cells)


def _percent(report):
    """The heading of a column of intervals, if there is one."""
    draws = report.draws
    return [] if draws is None else [f"{100 * draws.confidence:.4g} %"]


def _span(interval):
    low, high = interval
    return f"{low:.3f} to {high:.3f}"


def _line(cells, widths):
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *map(str.rjust, cells[1:], widths[1:])])
