"""Print on the terminal without interpreting text from outside."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from pcvr.errors import legible


class Screen(Console):
    """A console that shows ``[red]``, ``:cat:`` and control characters as text, in tables and bars as in lines."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to rich's text, as for every string that is printed."""
        return super().render_str(legible(text), **options)


def say(text: str, err: bool = False) -> None:
    """Print one or more lines to the output or to the error stream."""
    typer.echo(legible(text), err=err)
