"""The command line: what the notebooks do, without a notebook."""

from __future__ import annotations

import typer

from pcvr.cli import defending, listing, making, poisoning, training
from pcvr.errors import PcvrError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Backdoors in vision language models, for learning.")
app.command()(poisoning.poison)
app.command()(training.train)
app.command()(making.evaluate)
app.command()(making.pretrain)
app.command()(listing.models)
app.command()(listing.data)
app.command()(poisoning.attacks)
app.command()(defending.defenses)
app.command()(poisoning.craft)


def main() -> None:
    """Run the command line; what the user can put right is one sentence, not a traceback."""
    try:
        app(standalone_mode=True)
    except PcvrError as problem:
        typer.secho(f"pcvr: {problem}", err=True, fg="red")
        raise SystemExit(2) from None
