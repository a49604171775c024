"""The pieces of a page that needs no network and no script: everything is escaped.

Pictures and sounds stand in the page as data URIs. Functions give `Markup`; what is
not `Markup` is text, and becomes it through `markup`.
"""

import base64
import dataclasses
import html
import math
import re
import string
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: The share of its width that a figure keeps.
_SMALLEST = 0.4

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff;
       max-width: 68rem; margin: 0 auto; padding: 0 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.5rem 0 .5rem; }
h1, h2, p, li { overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; border-bottom: 2px solid #111; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
nav ol { columns: 18rem; }
a { color: #00508a; }
p, li { max-width: 46rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption, .note { color: #444; font-size: .9rem; }
.box { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem;
         border-bottom: 1px solid #bbb; }
td { max-width: 18rem; overflow-wrap: break-word; }
thead th { border-bottom: 2px solid #111; white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td img { max-width: 9rem; max-height: 9rem; border: 1px solid #bbb; }
td audio { width: 14rem; }
.failed { border-left: 4px solid #111; padding-left: .75rem; }
@media print {
  body { max-width: none; font-size: 11px; }
  .box { overflow: visible; }
  figure img { min-width: 0 !important; max-height: 22cm; }
  figure, tr, h2, h3 { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""

_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
$intro
</header>
<nav aria-label="Contents">
<h2>Contents</h2>
<ol>
$contents
</ol>
</nav>
<main>
$sections
</main>
</body>
</html>
""")


@dataclasses.dataclass(frozen=True)
class Markup:
    """Text that is HTML already; no string, which pandas would take it for."""

    text: str

    def __str__(self):
        return self.text


class Section(NamedTuple):
    """A heading and what stands below it.

    Args:
        title: string.
        parts: list of `Markup`, or of strings, which become paragraphs.
    """

    title: str
    parts: list


def page(title, intro, sections):
    """A whole page, as a string.

    Example:
    >>> made = mmkeras.analysis.pages.html.page("A & B", [], [])
    >>> "<h1>A &amp; B</h1>" in made
    True

    Args:
        title: string.
        intro: list of parts below the title.
        sections: list of `Section`; a table of contents links to each.
    """
    names = [_anchor(i, x.title) for i, x in enumerate(sections, 1)]
    contents = [
        f'<li><a href="#{name}">{markup(x.title)}</a></li>'
        for name, x in zip(names, sections, strict=True)
    ]
    made = [
        f'<section id="{name}">\n<h2>{markup(x.title)}</h2>\n{_parts(x.parts)}\n'
        f"</section>"
        for name, x in zip(names, sections, strict=True)
    ]
    return _PAGE.substitute(
        title=markup(title),
        style=_STYLE,
        intro=_parts(intro),
        contents="\n".join(contents),
        sections="\n".join(made),
    )


def markup(value):
    """A value as HTML: escaped, unless it is `Markup`."""
    if isinstance(value, Markup):
        return value
    # what no page may hold; a browser would stop at some
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", "\ufffd", str(value))
    return Markup(html.escape(text))


def paragraph(text, kind=None):
    """A paragraph; `kind` is "note" or "failed"."""
    return Markup(f"<p{_class(kind)}>{markup(text)}</p>")


def heading(text):
    """A heading inside a section."""
    return Markup(f"<h3>{markup(text)}</h3>")


def listing(items):
    """A list of points."""
    points = "\n".join(f"<li>{markup(x)}</li>" for x in items)
    return Markup(f"<ul>\n{points}\n</ul>")


def figure(png, alt, caption=None):
    """A picture.

    Args:
        png: path of a PNG file.
        alt: what it shows, for those who do not see it.
        caption: optional string below it.
    """
    data = Path(png).read_bytes()
    width = int.from_bytes(data[16:20], "big")
    below = f"<figcaption>{markup(caption)}</figcaption>" if caption else ""
    # on a narrow screen it scrolls before its letters are too small to read
    image = (
        f'<img src="{data_uri(data, "image/png")}" alt="{markup(alt)}" '
        f'style="min-width: {int(_SMALLEST * width)}px">'
    )
    return Markup(
        f'<figure><div class="box" tabindex="0">{image}</div>{below}</figure>'
    )


def on_one_line(text):
    """Text that is not broken, such as a number and its interval."""
    return Markup(f'<span class="number">{markup(text)}</span>')


def table(frame, digits=3):
    """A DataFrame as a table that scrolls inside a box of its own.

    Args:
        frame: DataFrame; a named index becomes the first columns.
        digits: Integer, decimals of floats.
    """
    columns = [
        (name, list(frame.index.get_level_values(i)), True)
        for i, name in enumerate(frame.index.names)
        if name is not None
    ]
    columns += [(x, list(frame.iloc[:, i]), False) for i, x in enumerate(frame.columns)]
    heads = [
        f'<th scope="col"{_class("number" * _is_numbers(values))}>{markup(name)}</th>'
        for name, values, _ in columns
    ]
    lines = []
    for i in range(len(frame)):
        cells = [_cell(values[i], is_head, digits) for _, values, is_head in columns]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    return Markup(
        f'<div class="box" tabindex="0" role="group" aria-label="table"><table>\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        f"</table></div>"
    )


def data_uri(data, kind):
    """Bytes as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _cell(value, is_head, digits):
    tag = 'th scope="row"' if is_head else "td"
    return f"<{tag}{_class('number' * _is_number(value))}>{_text(value, digits)}</" + (
        "th>" if is_head else "td>"
    )


def _text(value, digits):
    if isinstance(value, Markup):
        return value
    if value is None or (_is_number(value) and math.isnan(value)):
        return Markup("")
    whole = hasattr(value, "is_integer") and not isinstance(value, int)
    if whole and _is_number(value) and math.isfinite(value):
        return markup(_float(float(value), digits))
    return markup(value)


def _float(value, digits):
    """A fixed number of decimals where they say enough; rounding errors are 0."""
    if abs(value) < 1e-12:
        value = 0.0
    if value and not 10**-digits <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{value:.{digits}f}"


def _is_number(value):
    return hasattr(value, "__float__") and not isinstance(value, bool | np.bool_ | str)


def _is_numbers(column):
    return len(column) > 0 and all(map(_is_number, column))


def _class(name):
    return f' class="{name}"' if name else ""


def _anchor(number, title):
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return f"s{number}-{words}"


def _parts(parts):
    return "\n".join(str(x if isinstance(x, Markup) else paragraph(x)) for x in parts)
