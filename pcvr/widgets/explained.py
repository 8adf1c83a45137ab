"""Show errors of a widget's callback in the widget, where they would otherwise vanish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from traceback import format_exception
from typing import Any

from pcvr.errors import PcvrError, first_line


@contextmanager
def explained(message: Any, *images: Any) -> Iterator[None]:
    """Replace the message of a widget by the exception, of any kind, that the block raises.

    Args:
        message: HTML widget for the error.
        images: Image widgets that would show an old image; they are hidden until
            :func:`pcvr.widgets.picture.show_in` shows the next one.
    """
    try:
        yield
    except Exception as problem:
        for image in images:
            image.layout.display = "none"
        message.value = alert(problem)


def alert(problem: BaseException) -> str:
    """Return HTML with the error; one that the user cannot mend comes with its folded traceback."""
    if isinstance(problem, PcvrError):
        text, more = str(problem), ""
    else:
        text = f"{type(problem).__name__}: {first_line(problem, 400)}"
        lines = escape("".join(format_exception(problem)))
        more = f"<details><summary>Traceback, for a report</summary><pre>{lines}</pre></details>"
    look = "line-height:1.5;border-left:4px solid #D55E00;padding-left:.6em"
    return f'<div role="alert" style="{look}"><strong>{escape(text)}</strong>{more}</div>'
