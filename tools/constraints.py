"""Write constraints.txt from what is installed here: everything pcvr needs, directly or not, exactly pinned.

    python tools/constraints.py > constraints.txt
    python tools/constraints.py --uv    # the same pins for uv, which reads them from pyproject.toml alone

torch is left out, with what only its CUDA builds bring: the Makefile chooses it to fit the machine. uv runs no
Makefile, so it gets the release of torch that is tested.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from textwrap import wrap

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pcvr.utils.files import write_text
from pcvr.utils.terminal import run_command

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = "3.11.0"
_MACHINE = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
_HEAD = """\
# The exact versions that the workbook is tested with. Written by tools/constraints.py; ranges stand in pyproject.toml.
# torch is chosen by the Makefile (TORCH), for its build depends on the machine.
"""
_UV_HEAD = """\
# The pins of constraints.txt for uv, which reads them here alone: python tools/constraints.py --uv. A lock file would
# name the address of a package index, which differs between networks; uv makes one of these pins at its first use.
[tool.uv]
constraint-dependencies = [
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


def torch_pin(makefile: str) -> str:
    """Return the pin of torch that stands in the Makefile."""
    found = re.search(r"torch==[\d.]+", makefile)
    if found is None:
        raise SystemExit("The Makefile names no release of torch: give TORCH one, as in torch==2.13.0.")
    return found.group()


def for_uv(constraints: str, torch: str) -> str:
    """Return the end of pyproject.toml that gives uv the pins of constraints.txt and that of torch, several a line."""
    lines = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    pins = ", ".join(f'"{line}"' for line in [*lines, torch])
    lines = wrap(pins, 116, break_long_words=False, break_on_hyphens=False)
    return _UV_HEAD + "\n".join(f"    {line}" for line in lines) + ",\n]\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the constraints, or give those of constraints.txt to uv."""
    if "--uv" in (sys.argv[1:] if arguments is None else arguments):
        file = ROOT / "pyproject.toml"
        text = file.read_text(encoding="utf-8").partition(_UV_HEAD)[0]
        constraints, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("constraints.txt", "Makefile"))
        write_text(file, text + for_uv(constraints, torch_pin(makefile)))
        return 0
    pins = closure(declared())
    print(_HEAD + "\n".join(f"{name}=={version}" for name, version in pins.items()))
    return 0


if __name__ == "__main__":
    run_command(main)
