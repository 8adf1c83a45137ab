"""An exercise in a source: the solution and the stub stand in one cell, and each edition shows one of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bookkit.source import Cell, SourceError
from pcvr.errors import PcvrError
from pcvr.teaching import card, exercises

_MARK = re.compile(r"^\s*# --- (solution|stub|end)\s*$")
_STUB = re.compile(r"^(\s*)# ?\|(?: (.*))?$")
_CARD = re.compile(r"<!--\s*card\b(.*?)-->", re.DOTALL)
_AFTER = {"end": "solution", "solution": "stub", "stub": "end"}  # which mark may follow which


@dataclass(frozen=True)
class Exercise:
    """Both faces of an exercise cell, and the check right below it.

    Attributes:
        stub: the student edition's code.
        solution: the solution edition's code.
        check: the name in ``check.<name>``.
    """

    stub: str
    solution: str
    check: str


def both_faces(text: str) -> tuple[str, str]:
    """Split an exercise cell into (stub, solution).

    Raises:
        SourceError: the markers are missing or out of order, a stub line is no ``# | `` line, or a face is no Python.
    """
    faces: dict[str, list[str]] = {"stub": [], "solution": []}
    last = "end"
    for line in text.splitlines():
        mark = _MARK.match(line)
        if mark:
            if mark[1] != _AFTER[last]:
                raise SourceError(f"'# --- {mark[1]}' follows '# --- {last}': the order is solution, stub, end.")
            last = mark[1]
        elif last == "solution":
            faces["solution"].append(line)
        elif last == "stub":
            match = _STUB.match(line)
            if not match and line.strip():
                raise SourceError(
                    f"between '# --- stub' and '# --- end' every line begins with '# | ', unlike {line!r}."
                )
            faces["stub"].append((match[1] + (match[2] or "")).rstrip() if match else "")
        else:
            faces["stub"].append(line)
            faces["solution"].append(line)
    if last != "end" or faces["stub"] == faces["solution"]:
        raise SourceError("an exercise needs '# --- solution', '# --- stub' and '# --- end', the stub not empty.")
    texts = {name: "\n".join(lines).strip("\n") for name, lines in faces.items()}
    for name, code in texts.items():
        try:
            ast.parse(code)
        except SyntaxError as error:
            raise SourceError(f"the {name} is no Python: {error.msg} in its line {error.lineno}.") from None
    return texts["stub"], texts["solution"]


def find_exercises(cells: Sequence[Cell]) -> dict[int, Exercise]:
    """Every exercise by the position of its cell.

    Raises:
        SourceError: one has no card above, no check right below, or a check that pcvr.teaching does not have.
    """
    found = {}
    for position, cell in enumerate(cells):
        if cell.kind != "code" or "exercise" not in cell.tags:
            continue
        above = [c.text for c in cells[:position] if c.kind == "markdown"]
        where = f"the exercise in cell {position + 1}"
        if not _CARD.search(above[-1]):
            raise SourceError(
                f"{where} has no card in the Markdown above: <!-- card difficulty=2 importance=4 minutes=10 -->."
            )
        below = cells[position + 1] if position + 1 < len(cells) else None
        check = _check_name(below) if below else None
        if check is None:
            raise SourceError(f"{where} is not followed by its check, a code cell that ends with check.<name>(...).")
        if check not in exercises():
            raise SourceError(
                f"{where} calls check.{check}, which pcvr.teaching does not have: {', '.join(sorted(exercises()))}."
            )
        try:
            stub, solution = both_faces(cell.text)
        except SourceError as error:
            raise SourceError(f"{where}: {error}") from None
        found[position] = Exercise(stub, solution, check)
    return found


def _check_name(cell: Cell) -> str | None:
    """The name of the check that a code cell ends with."""
    if cell.kind != "code":
        return None
    try:
        body = ast.parse(cell.text).body
    except SyntaxError:
        return None
    match body[-1] if body else None:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("check"), name))):
            return str(name)
    return None


def with_card(text: str) -> str:
    """Markdown with its card comment replaced by the card.

    Raises:
        SourceError: the card's figures cannot be read or are out of range.
    """

    def drawn(match: re.Match[str]) -> str:
        try:
            figures = {key: int(value) for key, value in (pair.split("=") for pair in match[1].split())}
            return f"\n{card(**figures)}\n"  # a paragraph of its own
        except (ValueError, TypeError) as error:
            reason = str(error) if isinstance(error, PcvrError) else f"{match[0]!r} cannot be read"
            raise SourceError(f"{reason} Write <!-- card difficulty=2 importance=4 minutes=10 -->.") from None

    return re.sub(r"\n{3,}", "\n\n", _CARD.sub(drawn, text)).strip("\n")


def folded(solution: str) -> str:
    """Markdown that keeps a solution folded until the reader opens it."""
    return f"<details>\n<summary>Solution</summary>\n\n```python\n{solution}\n```\n\n</details>"
