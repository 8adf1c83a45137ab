"""One HTML page without widgets, scripts or links, for a reader who was not there: its style, tables and figures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.plots.describe import description, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 sans-serif; color: #222; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 14px; display: block; overflow-x: auto; }
caption { text-align: left; font-weight: bold; padding: .3em 0; }
th, td { border: 1px solid #bbb; padding: .25em .6em; text-align: left; vertical-align: top; }
thead th { background: #eee; }
img { max-width: 100%; height: auto; }
.low { color: #666; }
"""


def page_of(title: str, parts: Iterable[str]) -> str:
    """Return a whole page of `parts`, which are HTML already."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def table_of(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table; all cells are text, and the first of a row is its heading."""
    titles = "".join(f'<th scope="col">{escape(str(title))}</th>' for title in head)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{escape(str(each))}</td>" for each in others)
        lines.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    body = "\n".join(lines)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table>"


def image_of(figure: Figure) -> str:
    """Return a figure as an image with its description."""
    source = b64encode(png(figure)).decode()
    return f'<p><img src="data:image/png;base64,{source}" alt="{escape(description(figure))}"></p>'
