"""The command line: the notebooks' steps without a notebook.

This module imports almost nothing, so that an interruption finds `main` at work and not a chain of imports.
"""

from __future__ import annotations

from pcvr.utils.terminal import run_command


def main() -> None:
    """Run the command line as a process."""
    run_command(_commands, "pcvr")


def _commands() -> None:
    from pcvr.cli.app import app

    app(standalone_mode=True)
