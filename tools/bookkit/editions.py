"""The two editions of a notebook, made from its one source, and held against what lies in the folders."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import nbformat

from bookkit import elsewhere
from bookkit.exercises import find_exercises, folded, with_card
from bookkit.front import filled, recorded
from bookkit.origin import fingerprint, origin
from bookkit.source import Cell, Source, SourceError, read_source, sources

Edition = Literal["student", "solution"]
FOLDERS: dict[Edition, str] = {"student": "notebooks", "solution": "solutions"}
SOURCES = "workbook"

_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# Without language_info papermill refuses a notebook; the version is left out, so that no machine's own gets in.
_LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def edition(
    source: Source,
    which: Edition,
    shelf: Sequence[Source] = (),
    runs: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> nbformat.NotebookNode:
    """One edition of a notebook: no outputs, and cell ids that depend on the content alone.

    Args:
        source: of the notebook.
        which: edition.
        shelf: all sources in reading order, for links to other notebooks; by default this one alone.
        runs: what each notebook took, from `bookkit.front.recorded`, for the table of contents.

    Raises:
        SourceError: an exercise is not well formed.
    """
    made = list(_cells(source, which, lambda cell: filled(cell, source, shelf or (source,), runs)))
    made[1:1] = elsewhere.cells(f"{FOLDERS[which]}/{source.name}.ipynb")
    names = identities(source.name, ((cell.kind, cell.text) for cell in made))
    cells = [_node(cell, identity) for cell, identity in zip(made, names, strict=True)]
    made_as = {"edition": which, "source": f"{SOURCES}/{source.name}.py", "version": fingerprint(cells)}
    metadata = {"kernelspec": _KERNEL, "language_info": _LANGUAGE, "pcvr": made_as}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def identities(name: str, cells: Iterable[tuple[str, str]]) -> list[str]:
    """The ids of a notebook's cells, each from kind and text of its cell alone.

    Args:
        name: of the notebook, without folder and ending.
        cells: kind and text of each.
    """
    seen: Counter[str] = Counter()
    found = []
    for kind, text in cells:
        key = f"{name}\0{kind}\0{text}"
        seen[key] += 1
        found.append(hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:12])
    return found


def _cells(source: Source, which: Edition, fill: Callable[[Cell], str]) -> Iterator[Cell]:
    found = find_exercises(source.cells)
    for position, cell in enumerate(source.cells):
        text = with_card(fill(cell)) if cell.kind == "markdown" else cell.text
        if position in found:
            text = found[position].stub if which == "student" else found[position].solution
        checked = found.get(position - 1)
        yield replace(cell, text=text, tags=(*cell.tags, "check") if checked else cell.tags)
        if checked and which == "student":
            yield Cell("markdown", folded(checked.solution), ("solution",), {})
    if found and which == "solution":
        names = ", ".join(f'"{exercise.check}"' for exercise in found.values())
        text = (
            "# Every exercise of this edition is solved; this cell stops if a check disagrees.\n"
            f"from pcvr.teaching import require_passed\n\nrequire_passed({names})"
        )
        yield Cell("code", text, ("require-passed",), {})


def _node(cell: Cell, identity: str) -> nbformat.NotebookNode:
    make: dict[str, Any] = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
        "raw": nbformat.v4.new_raw_cell,
    }
    metadata = {**cell.metadata, **({"tags": list(cell.tags)} if cell.tags else {})}
    return make[cell.kind](source=cell.text, metadata=metadata, id=identity)


@dataclass(frozen=True)
class Built:
    """Every generated file of a checkout as it should be, with the reasons for sources that could not be read."""

    files: dict[Path, str]
    errors: list[str]


def build(root: Path) -> Built:
    """Make both editions of every source under ``root/workbook``, in memory."""
    files: dict[Path, str] = {}
    errors: list[str] = []
    paths = sources(root / SOURCES)
    if not paths:
        errors.append(f"there is no notebook source in {root / SOURCES}: notebooks are made from {SOURCES}/NN_name.py.")
    shelf = []
    for path in paths:
        try:
            shelf.append(read_source(path))
        except SourceError as error:
            errors += [f"{path.name}: {line}" for line in str(error).splitlines()]
    runs = recorded(root)
    for source in shelf:
        try:
            for which, folder in FOLDERS.items():
                notebook = edition(source, which, shelf, runs)
                nbformat.validate(notebook)
                files[root / folder / f"{source.name}.ipynb"] = nbformat.writes(notebook) + "\n"
        except SourceError as error:
            errors += [f"{source.name}.py: {line}" for line in str(error).splitlines()]
    return Built(files, errors)


def orphans(root: Path, files: dict[Path, str]) -> list[Path]:
    """Notebooks that this tool made from a source that is gone; a reader's own notebooks are none of its business.

    One that a reader has copied or renamed is the reader's own.
    """
    there = {path for folder in FOLDERS.values() for path in (root / folder).glob("*.ipynb")}
    return sorted(path for path in there - set(files) if (made := origin(path)) and made.name == path.stem)


def differences(root: Path) -> list[str]:
    """One sentence for each generated notebook that is missing, differs from its source or has none."""
    built = build(root)
    found = list(built.errors)
    remedy = "edit the source, never the notebook, then run 'make notebooks'"
    for path, text in built.files.items():
        name = path.relative_to(root).as_posix()
        source = f"{SOURCES}/{path.stem}.py"
        if not path.exists():
            found.append(f"{name} is missing: run 'make notebooks'.")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"{name} differs from what {source} makes: {remedy}.")
    if not built.errors:
        found += [
            f"{path.relative_to(root).as_posix()} has no source: remove it." for path in orphans(root, built.files)
        ]
    return found
