"""Make the student and the solution edition of every notebook from workbook/, or check that they are up to date.

python tools/notebooks.py build            leaves notebooks alone in which somebody has worked, and names them
python tools/notebooks.py build --force    overwrites them, and keeps what stood there in work/backups/
python tools/notebooks.py check
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bookkit.editions import build, differences, orphans
from bookkit.origin import worked_in
from bookkit.own import BACKUPS, WORK, keep

from pcvr.utils.files import write_text
from pcvr.utils.terminal import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two commands and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout")
    parser.add_argument("--force", action="store_true", help="with build: overwrite notebooks in which somebody worked")
    options = parser.parse_args(arguments)
    if options.force and options.command != "build":
        parser.error("--force goes with build: leave it out.")
    return _build(options.root, options.force) if options.command == "build" else _check(options.root)


def _build(root: Path, force: bool) -> int:
    built = build(root)
    if built.errors:
        print("\n".join(built.errors), file=sys.stderr)
        print("Nothing was written.", file=sys.stderr)
        return 1
    due = {path: text for path, text in built.files.items() if not path.exists() or path.read_bytes() != text.encode()}
    gone = orphans(root, built.files)
    mine = [path for path in (*due, *gone) if path.exists() and worked_in(path)]
    if mine and not force:
        names = ", ".join(path.relative_to(root).as_posix() for path in mine)
        print(
            f"Somebody has worked in {names}, and this would overwrite it. 'make notebooks ARGS=--force' "
            f"(tools/notebooks.py build --force) overwrites it and keeps what stood there in {WORK}/{BACKUPS}/.\n"
            "Nothing was written.",
            file=sys.stderr,
        )
        return 1
    for path in mine:
        print(f"{path.relative_to(root).as_posix()} is kept as {keep(path, root / WORK).relative_to(root).as_posix()}.")
    for path, text in due.items():
        write_text(path, text)
    for path in gone:
        path.unlink()
    print(f"{len(built.files)} notebooks are up to date: {len(due)} written, {len(gone)} without a source removed.")
    return 0


def _check(root: Path) -> int:
    found = differences(root)
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    print("Every notebook is what its source makes.")
    return 0


if __name__ == "__main__":
    run_command(main)
