"""What goes wrong in a widget's callback is said where the answer would stand: by itself it would vanish unseen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from traceback import format_exception
from typing import Any

from pcvr.errors import PcvrError, first_line


@contextmanager
def explained(message: Any, *images: Any) -> Iterator[None]:
    """Inside the block, an exception of any kind replaces what the widget said before.

    Args:
        message: HTML widget that says what went wrong.
        images: Image widgets whose pictures would now be old ones; they vanish until
            :func:`pcvr.widgets.picture.show_in` shows the next.
    """
    try:
        yield
    except Exception as problem:
        for image in images:
            image.layout.display = "none"
        message.value = alert(problem)


def alert(problem: BaseException) -> str:
    """HTML that says what went wrong; what no user can put right comes with its traceback, folded."""
    if isinstance(problem, PcvrError):
        text, more = str(problem), ""
    else:
        text = f"{type(problem).__name__}: {first_line(problem, 400)}"
        lines = escape("".join(format_exception(problem)))
        more = f"<details><summary>Traceback, for a report</summary><pre>{lines}</pre></details>"
    look = "line-height:1.5;border-left:4px solid #D55E00;padding-left:.6em"
    return f'<div role="alert" style="{look}"><strong>{escape(text)}</strong>{more}</div>'
