"""Make the student and the solution edition of every notebook from workbook/, or check that they are up to date.

python tools/notebooks.py build
python tools/notebooks.py check
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bookkit.editions import build, differences, orphans


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two commands and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout")
    options = parser.parse_args(arguments)
    return _build(options.root) if options.command == "build" else _check(options.root)


def _build(root: Path) -> int:
    built = build(root)
    if built.errors:
        print("\n".join(built.errors), file=sys.stderr)
        print("Nothing was written.", file=sys.stderr)
        return 1
    changed = 0
    for path, text in built.files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            changed += 1
    gone = orphans(root, built.files)
    for path in gone:
        path.unlink()
    print(f"{len(built.files)} notebooks are up to date: {changed} written, {len(gone)} without a source removed.")
    return 0


def _check(root: Path) -> int:
    found = differences(root)
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    print("Every notebook is what its source makes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
