"""Write constraints.txt from what is installed here: everything pcvr needs, directly or not, exactly pinned.

    python tools/constraints.py > constraints.txt

torch is left out, with what only its CUDA builds bring: the Makefile chooses it to fit the machine.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pcvr.utils.terminal import run_command

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = "3.11.0"
_MACHINE = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
_HEAD = """\
# The exact versions that the workbook is tested with. Written by tools/constraints.py; ranges stand in pyproject.toml.
# torch is chosen by the Makefile (TORCH), for its build depends on the machine.
"""


def declared(root: Path = ROOT) -> list[Requirement]:
    """Every requirement of pyproject.toml, the extras included, but for `vision`, whose build follows torch's."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name != "vision"]
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Name -> installed version of the requirements and all that they need on this machine.

    Raises:
        metadata.PackageNotFoundError: one is not installed.
        SystemExit: one does not run on the oldest Python that pyproject.toml promises.
    """
    found: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    todo = [(requirement.name, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while todo:
        name, extra = todo.pop()
        if (canonicalize_name(name), extra) in done:
            continue
        done.add((canonicalize_name(name), extra))
        package = metadata.distribution(name)
        found[canonicalize_name(name)] = package.version
        said = package.metadata
        if "Requires-Python" in said and not SpecifierSet(said["Requires-Python"]).contains(OLDEST_PYTHON):
            raise SystemExit(
                f"{name} {package.version} needs Python {said['Requires-Python']}, but pyproject.toml "
                f"promises {OLDEST_PYTHON}: install an older release of it here."
            )
        for line in package.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(needed.name, each) for each in ("", *needed.extras)]
    return {name: version for name, version in sorted(found.items()) if not _MACHINE.fullmatch(name)}


def main() -> int:
    """Print the constraints."""
    pins = closure(declared())
    print(_HEAD + "\n".join(f"{name}=={version}" for name, version in pins.items()))
    return 0


if __name__ == "__main__":
    run_command(main)
