"""Who imports whom, read from the sources: every import counts, inside functions and for type checkers too."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Graph = Mapping[str, set[str]]


def imports(package: Path) -> dict[str, set[str]]:
    """Return every module of a package with the modules of that package that it imports."""
    modules = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return {name: imported(name, file, modules.keys()) - {name} for name, file in modules.items()}


def imported(name: str, file: Path, modules: Set[str]) -> set[str]:
    """Return which of `modules` a file imports that is itself the module `name`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                above = name.split(".")[: len(name.split(".")) - node.level + (file.name == "__init__.py")]
                home = ".".join([*above, *filter(None, [home])])
            for alias in node.names:
                found.add(f"{home}.{alias.name}" if f"{home}.{alias.name}" in modules else home)
    return found & modules


def place(module: str) -> str:
    """Return the top-level place of a module: a folder or a file in the root of the package."""
    return (*module.split("."), "__init__")[1]


def places(graph: Graph) -> dict[str, set[str]]:
    """Return the places with the other places that they import."""
    found: dict[str, set[str]] = {place(module): set() for module in graph}
    for module, others in graph.items():
        found[place(module)] |= {place(other) for other in others} - {place(module)}
    return found


def circle(graph: Graph) -> list[str]:
    """Return the modules of one circle of imports, the first again at the end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def floors(text: str) -> dict[str, int]:
    """Return the floor of every place, read from the sentence "Floors, from low to high: `a` < `b`, `c` < `d`."."""
    found = re.search(r"Floors, from low to high:([^.]+)\.", text)
    assert found, "CONTRIBUTING.md has no sentence about the floors"
    return {name: number for number, floor in enumerate(found[1].split("<")) for name in re.findall(r"`(\w+)`", floor)}


def upward(graph: Graph, order: Mapping[str, int]) -> list[str]:
    """Return the imports that do not go down: from a place into another one on the same floor or a higher one."""
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if place(module) != place(other) and order[place(other)] >= order[place(module)]
    ]
