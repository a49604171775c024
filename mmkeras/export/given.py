"""What a SavedModel makes of rows that the user gives: scores, and how soon."""

from mmkeras.export import exported, lite_check
from mmkeras.export.report import RowsCheck


def check(model, folder, representative):
    """Asks the endpoint "serve" about rows of the user's.

    Args:
        model: the model that is exported.
        folder: the SavedModel's folder.
        representative: rows, labels beside them or not, as `lite_check.real_rows`.

    Returns:
        `RowsCheck`.
    """
    rows, labels = lite_check.real_rows(model, representative)
    served = exported.Served(folder)  # anew: this one runs as servers run it
    asked = lite_check.questions(model, rows, noise=False)
    largest, _, agreement, scores = lite_check.compare(model, served, asked, labels)
    return RowsCheck(
        rows=len(next(iter(rows.values()))),
        difference=max(largest.values()),
        agreement=agreement,
        scores=scores,
        milliseconds=served.milliseconds(rows),
    )
