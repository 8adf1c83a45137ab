"""Make and renew the reader's own copies of the notebooks, in work/.

python tools/work.py open            make copies where there are none, and print the one to open (make lab)
python tools/work.py open 05         the same, and print that of notebook 05
python tools/work.py reset 05        a fresh copy, after asking; what stood there is kept in work/backups/ (make reset)
python tools/work.py reset 05 --yes  without asking
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bookkit.editions import FOLDERS
from bookkit.own import WORK, refresh, reset
from bookkit.source import SourceError, named, notebooks_in

from pcvr.utils.terminal import run_command


class Unanswered(Exception):
    """There is nobody to ask."""


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two commands and return the exit status: 2 where nothing was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["open", "reset"])
    parser.add_argument("notebook", nargs="*", help="a notebook's number or name")
    parser.add_argument("--yes", action="store_true", help="with reset: do not ask")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout")
    given = parser.parse_args(arguments)
    try:
        return _open(given.root, given.notebook) if given.command == "open" else _reset(given)
    except SourceError as error:
        print(error, file=sys.stderr)
    except Unanswered:
        print(
            "make reset asks before it replaces what you wrote, and there is no terminal to ask in: "
            "add YES=1 to go on without a question. Nothing was changed.",
            file=sys.stderr,
        )
    return 2


def _open(root: Path, wanted: list[str]) -> int:
    """Print the path of one copy; everything else goes to the other stream."""
    sources = notebooks_in(root / FOLDERS["student"])
    chosen = named(sources, wanted)[0] if wanted else sources[0]
    for sentence in refresh(root):
        print(sentence, file=sys.stderr)
    print(f"{WORK}/{chosen.name}")
    return 0


def _reset(given: argparse.Namespace) -> int:
    if not given.notebook:
        names = ", ".join(path.stem for path in notebooks_in(given.root / FOLDERS["student"]))
        raise SourceError(f"Say which notebook, as in 'make reset NB=05': {names}.")
    for sentence in reset(given.root, given.notebook, (lambda _: True) if given.yes else _ask):
        print(sentence)
    return 0


def _ask(what: str) -> bool:
    if not sys.stdin.isatty():
        raise Unanswered
    try:
        return input(f"{what} Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


if __name__ == "__main__":
    run_command(main)
