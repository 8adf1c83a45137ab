"""The commands by name."""

from __future__ import annotations

from typing import Any

import typer
import typer.core

from pcvr.cli import auditing, defending, listing, making, poisoning, studying, training
from pcvr.cli.old_flags import Command
from pcvr.utils.terminal import INTERRUPTED


class Commands(typer.core.TyperGroup):
    """A group of commands that Ctrl-C ends in the same way under every release of Typer."""

    def invoke(self, ctx: Any) -> Any:
        """Parse and run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # Python's own traceback says more
    help="Backdoors in vision-language models, for learning.",
)
app.command()(poisoning.poison)
app.command(cls=Command)(training.train)
app.command()(making.evaluate)
app.command(cls=Command)(making.pretrain)
app.command()(listing.models)
app.command()(listing.data)
app.command()(poisoning.attacks)
app.command()(defending.defenses)
app.command(cls=Command)(poisoning.craft)
app.command()(auditing.audit)
app.command()(studying.study)
