"""Make the student and the solution edition of every notebook from workbook/, or check that they are up to date.

python tools/notebooks.py build            leaves notebooks alone in which somebody has worked, and names them
python tools/notebooks.py build --force    overwrites them
python tools/notebooks.py check
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bookkit.editions import build, differences, orphans, worked_in

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
            f"Somebody has worked in {names}: copy that under another name to keep it, then run 'make notebooks "
            "ARGS=--force' (tools/notebooks.py build --force), which overwrites it.\nNothing was written.",
            file=sys.stderr,
        )
        return 1
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
