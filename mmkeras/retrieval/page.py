"""What a search found, to look at: a page of HTML, or a grid of pictures."""

import io
import os
from pathlib import Path

import pandas

from mmkeras.analysis.pages import html, media
from mmkeras.analysis.plots.style import COLOURS, new_figure, save
from mmkeras.aside import aside
from mmkeras.data.cells import full_path
from mmkeras.data.table import is_missing

_KINDS = ("image", "audio", "text")


def page(path, queries, found, columns, *, kind="text", root=".", title="Search"):
    """Writes one HTML file: a line for each query, and beside it what was found.

    Pictures and sounds stand in the page itself; it needs no network and no script.

        page("search.html", ["a red car"], found, {"photo": "image", "title": "text"})

    Args:
        path: path of the file.
        queries: list of cells, one a query: sentences, or paths or bytes of files.
        found: `Found`, for these queries.
        columns: dict, column of the found rows -> "image", "audio" or "text".
        kind: what the queries are: "image", "audio" or "text".
        root: folder that relative paths in the rows start from (an `Index` remembers
            its table's as `index.root`); the queries' start from the current one.
        title: the page's title.

    Raises:
        ValueError: an unknown kind or column, or another number of queries.
    """
    _check(queries, found, columns, kind)
    folder = os.path.dirname(os.path.abspath(path))
    lines = []
    for i, query in enumerate(queries):
        line = {"query": _shown(query, kind, "", folder)}
        frame = found.to_frame(i)
        for rank, (_, row) in enumerate(frame.iterrows(), 1):
            parts = [
                _shown(row[name], what, root, folder) for name, what in columns.items()
            ]
            parts.append(html.markup(f"{row.iloc[0]:.3f}"))
            line[str(rank)] = html.Markup("<br>".join(str(x) for x in parts))
        lines.append(line)
    intro = [f"The {found.positions.shape[1]} nearest rows, with their cosines."]
    made = html.table(pandas.DataFrame(lines, dtype=object))
    text = html.page(title, intro, [html.Section("Queries and results", [made])])
    with aside(path) as temporary:
        temporary.write_text(text, "utf-8")


def grid(path, queries, found, column, *, root=".", right=None):
    """Draws what was found as a grid of pictures: a row for each query.

    Args:
        path: path of the PNG file.
        queries: list of strings, shown at the left.
        found: `Found`, for these queries.
        column: the column of the found rows that holds the pictures.
        root: folder that relative paths in the rows start from; None: the current one.
        right: optional booleans `(queries, k)`: what is right is framed solid, what is
            wrong dashed.

    Raises:
        ValueError: an unknown column, or another number of queries.
        ImportError: matplotlib is not installed.
    """
    _check(queries, found, {column: "image"}, "text")
    count, k = found.positions.shape
    figure = new_figure(1.2 * (k + 1.6), 1.35 * count)
    axes = figure.subplots(count, k + 1, squeeze=False, width_ratios=[1.6, *[1] * k])
    for i, query in enumerate(queries):
        _blank(axes[i, 0])
        axes[i, 0].text(1, 0.5, query, ha="right", va="center", fontsize=9, wrap=True)
        frame = found.to_frame(i)
        for place in range(k):
            ax = axes[i, place + 1]
            if place >= len(frame):
                _blank(ax)
                continue
            _draw(ax, frame.iloc[place][column], root)
            ax.set_title(f"{found.scores[i, place]:.2f}", fontsize=7, pad=2)
            if right is not None:
                _frame(ax, bool(right[i][place]))
    save(figure, path)


def _draw(ax, cell, root):
    from PIL import Image

    ax.set_xticks([])
    ax.set_yticks([])
    if is_missing(cell):
        return
    is_path = not isinstance(cell, bytes)
    source = full_path(cell, root or ".") if is_path else io.BytesIO(cell)
    with Image.open(source) as opened:
        opened.thumbnail((media.SIDE, media.SIDE))
        ax.imshow(opened.convert("RGB"))


def _frame(ax, right):
    for spine in ax.spines.values():
        spine.set_edgecolor(COLOURS[2] if right else COLOURS[1])
        spine.set_linestyle("-" if right else "--")
        spine.set_linewidth(2)


def _blank(ax):
    ax.set_axis_off()


def _shown(cell, kind, root, folder):
    if is_missing(cell):
        return html.markup("")
    if kind == "text":
        return html.markup(cell)
    name = cell
    if isinstance(cell, str | Path):
        cell = full_path(os.fspath(cell), root) if root else os.fspath(cell)
    return media.cell(cell, kind, name, folder)


def _check(queries, found, columns, kind):
    unknown = sorted({*columns.values(), kind} - set(_KINDS))
    if unknown:
        raise ValueError(
            f"What is shown wants one of {list(_KINDS)}. Received: {unknown}"
        )
    missing = [x for x in columns if x not in found.rows.columns]
    if missing:
        raise ValueError(
            f"The rows found have no column {missing}. Valid names: "
            f"{[str(x) for x in found.rows.columns]}"
        )
    if isinstance(queries, str) or len(queries) != len(found.positions):
        raise ValueError(
            f"`queries` wants a list of {len(found.positions)}, one for each line of "
            f"`found`. Received: {queries!r:.80}"
        )
