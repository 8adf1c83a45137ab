"""Flags that were renamed: the old ones still work, and the error stream names the new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import typer.core

from pcvr.cli.screen import say

OLD_FLAGS = {
    "--steps": "--max-steps",
    "--epochs": "--num-train-epochs",
    "--accumulation": "--gradient-accumulation-steps",
    "--warmup": "--warmup-ratio",
    "--rank": "--lora-r",
    "--alpha": "--lora-alpha",
    "--checkpointing": "--gradient-checkpointing",
    "--no-checkpointing": "--no-gradient-checkpointing",
    "--every": "--save-steps",
}
"""Old flag to new one; a command that has the old flag itself keeps it."""


class Command(typer.core.TyperCommand):
    """A command that also takes the old flags of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments under their current names."""
        own = set(chain.from_iterable((*p.opts, *p.secondary_opts) for p in self.params))
        return super().parse_args(ctx, list(_current(args, own)))


def _current(args: Iterable[str], own: set[str]) -> Iterator[str]:
    for arg in args:
        flag, equals, value = arg.partition("=")
        new = OLD_FLAGS.get(flag)
        if new in own and flag not in own:
            say(f"{flag} is now called {new}.", err=True)
            arg = f"{new}{equals}{value}"
        yield arg
