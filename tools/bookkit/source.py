"""Reading one edited notebook source, workbook/NN_name.py, and the rules that every notebook follows."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

NAME = re.compile(r"\d\d[a-z]?_[a-z0-9_]+")
_HEADING = re.compile(r"^(#{1,6})\s+(\S.*)$")
_FENCE = re.compile(r"^\s*(```|~~~)")


class SourceError(Exception):
    """A notebook source that cannot be used: one sentence for each thing to mend."""


@dataclass(frozen=True)
class Cell:
    """One cell of a source.

    Attributes:
        kind: ``"code"``, ``"markdown"`` or ``"raw"``.
        text: the source, without outputs.
        tags: the cell's tags, in order.
        metadata: what else stands in the cell's marker line.
    """

    kind: str
    text: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A notebook source: its file's stem and its cells."""

    name: str
    cells: tuple[Cell, ...]


def sources(folder: Path) -> list[Path]:
    """The sources of a folder in reading order."""
    return sorted(folder.glob("*.py"))


def notebooks_in(folder: Path) -> list[Path]:
    """The notebooks of a folder in reading order.

    Raises:
        SourceError: there is none.
    """
    found = sorted(folder.glob("[0-9][0-9]*_*.ipynb"))
    if not found:
        raise SourceError(f"there is no notebook in {folder}: 'make notebooks' makes them from workbook/.")
    return found


def named(paths: Sequence[Path], wanted: Sequence[str]) -> list[Path]:
    """The notebooks with these numbers or names, in order: ``"05"``, ``"5"``, ``"05_pcvr"`` or ``"05_pcvr.ipynb"``.

    Raises:
        SourceError: no notebook has that number or name.
    """
    found = set()
    for word in wanted:
        name = word.zfill(2) if word.isdecimal() else word
        matching = {path for path in paths if name in (path.stem, path.name, path.stem.split("_")[0])}
        if not matching:
            raise SourceError(f"there is no notebook {word!r}: choose one of {', '.join(path.stem for path in paths)}.")
        found |= matching
    return sorted(found)


def read_source(path: Path) -> Source:
    """Read a jupytext percent file.

    Raises:
        SourceError: it breaks a rule of :func:`problems`.
    """
    if not NAME.fullmatch(path.stem):
        raise SourceError(
            "a notebook is named NN_name.py, two digits (and a letter for a second part) and lower case, like "
            "02_poisoning.py or 05b_the_terms.py."
        )
    source = Source(path.stem, cells_of(jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")))
    found = problems(source.cells)
    if found:
        raise SourceError("\n".join(found))
    return source


def cells_of(notebook: Any) -> tuple[Cell, ...]:
    """The cells of a notebook object of nbformat."""
    cells = []
    for cell in notebook.cells:
        metadata = {key: value for key, value in cell.metadata.items() if key != "lines_to_next_cell"}
        tags = tuple(metadata.pop("tags", ()))
        cells.append(Cell(cell.cell_type, cell.source, tags, metadata))
    return tuple(cells)


def problems(cells: Sequence[Cell]) -> list[str]:
    """What is wrong with the order and form of the cells: one sentence each, empty when all is well."""
    if not cells or cells[0].kind != "markdown" or not cells[0].text.lstrip().startswith("# "):
        return ["the first cell is Markdown and begins with the title, '# Title'."]
    return [*_heading_problems(cells), *_parameter_problems(cells)]


def headings(cells: Sequence[Cell]) -> list[tuple[int, str]]:
    """(level, text) of every Markdown heading in order; lines inside code fences are none."""
    found = []
    for cell in cells:
        if cell.kind != "markdown":
            continue
        fenced = False
        for line in cell.text.splitlines():
            if _FENCE.match(line):
                fenced = not fenced
            match = _HEADING.match(line)
            if match and not fenced:
                found.append((len(match[1]), match[2].strip()))
    return found


def title(cells: Sequence[Cell]) -> str:
    """The text of the one level-one heading."""
    return next((text for level, text in headings(cells) if level == 1), "")


def summary(cells: Sequence[Cell]) -> str:
    """The first sentence under the title, without Markdown marks."""
    lines = cells[0].text.strip().splitlines()[1:]
    paragraph = " ".join(line.strip() for line in "\n".join(lines).strip().split("\n\n")[0].splitlines())
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)
    plain = re.sub(r"[*_`]+", "", plain)
    return re.split(r"(?<=[.!?])\s", plain)[0]


def _heading_problems(cells: Sequence[Cell]) -> list[str]:
    found = []
    levels = headings(cells)
    if sum(level == 1 for level, _ in levels) != 1:
        found.append("there is exactly one level-one heading, the title.")
    before = 0
    for level, text in levels:
        if level > before + 1:
            found.append(f"the heading {text!r} jumps from level {before} to {level}.")
        before = level
    return found


def parameters(cells: Sequence[Cell]) -> dict[str, Any]:
    """Names and default values set in the cell tagged ``parameters``.

    Raises:
        SourceError: there is not exactly one such cell, or it holds more than literals.
    """
    tagged = [cell for cell in cells if "parameters" in cell.tags and cell.kind == "code"]
    if len(tagged) != 1:
        raise SourceError(f"exactly one code cell is tagged 'parameters', and there are {len(tagged)}.")
    found: dict[str, Any] = {}
    try:
        for statement in ast.parse(tagged[0].text).body:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
            value = getattr(statement, "value", None)
            if not isinstance(target, ast.Name) or value is None:
                raise ValueError(ast.unparse(statement).splitlines()[0])
            found[target.id] = ast.literal_eval(value)
    except (SyntaxError, ValueError) as error:
        raise SourceError(f"the parameters cell holds plain literals only, 'name = value': {error}.") from None
    return found


def _parameter_problems(cells: Sequence[Cell]) -> list[str]:
    try:
        found = parameters(cells)
    except SourceError as error:
        return [str(error)]
    if found.get("fast") is not False:
        return ["the parameters cell sets 'fast = False': tests run every notebook with fast=True."]
    return []
