"""Check that a tag is the version of the code wherever it stands, before a release is made of it.

    python tools/release.py v0.1.0

The version stands in ``pcvr/__init__.py``; the package is built with it, also without tags and without git. A tag makes
no version, it has to fit one. This script needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "pcvr/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (\S+)$",
    "CHANGELOG.md": r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$",
}
"""The first match of each pattern is the version that a file names."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version that each file names, in the order of `PLACES`; empty text where there is none."""
    found = {}
    for name, pattern in PLACES.items():
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.M)
        found[name] = match[1] if match else ""
    return found


def main(arguments: list[str] | None = None) -> int:
    """Compare one tag with the files and return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python tools/release.py vX.Y.Z", file=sys.stderr)
        return 2
    wrong = {name: version for name, version in versions().items() if f"v{version}" != given[0]}
    for name, version in wrong.items():
        print(f"{name} names version {version or 'none'}, and the tag is {given[0]}.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
