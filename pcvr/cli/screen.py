"""Where commands print: words from outside are shown as they are, never obeyed."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from pcvr.errors import legible


class Screen(Console):
    """A console to which ``[red]``, ``:cat:`` and control characters are text, in tables and bars as in lines."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The string as rich's text; every string that is printed comes here."""
        return super().render_str(legible(text), **options)


def say(text: str, err: bool = False) -> None:
    """Print a line, or several, to the output or to the error stream."""
    typer.echo(legible(text), err=err)
