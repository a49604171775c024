"""What all plots share: colours, markers, figures, files and words.

Lines differ by marker and dash, bars by hatch, never by colour alone. matplotlib is an
extra (`mmkeras[cli]`), imported on the first plot and used without its global state.
"""

import io

from mmkeras.aside import aside

# Okabe and Ito's colours: told apart by all common kinds of colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def new_figure(width, height):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Plots want matplotlib, which is not installed. Install it with "
            "`pip install mmkeras[cli]`."
        ) from error
    return Figure((width, height), dpi=120, layout="constrained")


def save(figure, path):
    """Writes the PNG whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    with aside(path) as temporary:
        temporary.write_bytes(drawn.getvalue())


def in_words(name):
    known = {"auc_roc": "AUC-ROC", "mae": "MAE", "rmse": "RMSE", "macro_f1": "macro-F1"}
    return known.get(name, name.replace("_", " "))
