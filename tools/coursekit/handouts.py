"""The notebooks of a course: for students without solutions, for the teacher with them and notes, and for nbgrader.

Exercise and check cells carry nbgrader's metadata (schema 3): the exercise is a solution cell, its check a locked test
cell whose points are the card's difficulty. Any collection that goes by these ids can grade the student's copy.
"""

from __future__ import annotations

import re
from typing import Any

import nbformat
from bookkit.editions import FOLDERS, Edition
from bookkit.exercises import Exercise

from coursekit.lessons import Lesson

SCHEMA = 3
# What a notebook says of solutions, which students do not have.
_SPOILER = re.compile(
    r"Below each\s+check you find the solution, folded\.\s+Open it[^.]*\.\s*|The folder\s+`solutions/`[^.]*\.\s*"
)
_MARK = re.compile(r"^(\s*)# --- (solution|stub|end)\s*$")
_STUB_NOTE = re.compile(r"^(\s*)# ?\| (#.*)$")


def student(lesson: Lesson) -> nbformat.NotebookNode:
    """Return the student's notebook: no solutions, nbgrader's marks, and a last cell that writes the results down."""
    notebook = _marked(lesson, "student")
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", ())]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _SPOILER.sub("", cell.source)
    if lesson.exercises:
        text = (
            "# The last cell: it writes the results of the checks beside this notebook. Hand in both files.\n"
            f'from pcvr.teaching import hand_in\n\nhand_in("{lesson.name}")'
        )
        notebook.cells.append(_cell("code", text, f"{lesson.name}-hand-in", ["hand-in"]))
    return _checked(notebook)


def teacher(lesson: Lesson, notes: str) -> nbformat.NotebookNode:
    """Return the teacher's notebook: exercises solved, and the instructor's notes in front.

    Args:
        lesson: of which notebook.
        notes: Markdown.
    """
    notebook = _marked(lesson, "solution")
    text = f"> **For the teacher.** Not in the students' edition.\n\n{notes}"
    notebook.cells.insert(1, _cell("markdown", text, f"{lesson.name}-notes", ["teacher"]))
    return _checked(notebook)


def nbgrader_source(lesson: Lesson) -> nbformat.NotebookNode:
    """Return the instructor's notebook as ``nbgrader generate_assignment`` takes it.

    The solution stands between nbgrader's marks. A hidden test below each check stops if the check did not pass.
    """
    notebook = _marked(lesson, "student")
    bodies = {f"{e.check}-answer": _delimited(lesson.source.cells[i].text) for i, e in lesson.exercises.items()}
    kept = []
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if "solution" in cell.metadata.get("tags", ()):
            continue
        if marks.get("solution"):
            cell.source = bodies[marks["grade_id"]]
        elif marks.get("grade"):
            name = marks["grade_id"].removesuffix("-check")
            cell.source += (
                "\n### BEGIN HIDDEN TESTS\nfrom pcvr.teaching import require_passed\n\n"
                f'require_passed("{name}")\n### END HIDDEN TESTS'
            )
        if cell.cell_type == "markdown":
            cell.source = _SPOILER.sub("", cell.source)
        kept.append(cell)
    notebook.cells = kept
    return _checked(notebook)


def mark_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what is wrong with nbgrader's marks in a notebook, by the documented schema 3; empty if nothing is."""
    found, seen = [], set()
    fields = {"schema_version": int, "grade_id": str, "grade": bool, "locked": bool, "solution": bool, "task": bool}
    for number, cell in enumerate(notebook.cells, 1):
        marks = cell.metadata.get("nbgrader")
        if marks is None:
            continue
        where = f"cell {number}"
        wrong = [name for name, kind in fields.items() if type(marks.get(name)) is not kind]
        found += [f"{where}: {name} is no {fields[name].__name__}" for name in wrong]
        if marks.get("schema_version") != SCHEMA:
            found.append(f"{where}: schema_version is {marks.get('schema_version')}, and {SCHEMA} is expected")
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", str(marks.get("grade_id"))):
            found.append(f"{where}: grade_id {marks.get('grade_id')!r} has a character that nbgrader refuses")
        if marks.get("grade_id") in seen:
            found.append(f"{where}: grade_id {marks['grade_id']!r} is used twice")
        seen.add(marks.get("grade_id"))
        if bool(marks.get("grade")) != ("points" in marks) or marks.get("points", 0) < 0:
            found.append(f"{where}: a graded cell has points of at least 0, and no other cell has any")
        if marks.get("grade") and (marks.get("solution") or not marks.get("locked") or cell.cell_type != "code"):
            found.append(f"{where}: an automatic test is a locked code cell that holds no solution")
    return found


def _marked(lesson: Lesson, which: Edition) -> nbformat.NotebookNode:
    """A generated notebook whose exercise and check cells carry nbgrader's metadata."""
    notebook = nbformat.read(lesson.root / FOLDERS[which] / f"{lesson.name}.ipynb", as_version=4)
    found = [cell for cell in notebook.cells if "exercise" in cell.metadata.get("tags", ())]
    checks = [cell for cell in notebook.cells if "check" in cell.metadata.get("tags", ())]
    for exercise, answer, check in zip(lesson.exercises.values(), found, checks, strict=True):
        answer.metadata["nbgrader"] = _marks(exercise, "answer")
        check.metadata["nbgrader"] = _marks(exercise, "check") | {"points": lesson.cards[exercise.check]["difficulty"]}
    return notebook


def _marks(exercise: Exercise, part: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA,
        "grade_id": f"{exercise.check}-{part}",
        "grade": part == "check",
        "locked": part == "check",
        "solution": part == "answer",
        "task": False,
    }


def _delimited(text: str) -> str:
    """An exercise cell of a source with nbgrader's marks around the solution; notes of the stub stand above them."""
    blocks: dict[str, list[str]] = {"solution": [], "stub": []}
    written: list[str] = []
    part = indent = ""
    for line in text.splitlines():
        mark = _MARK.match(line)
        if mark and mark[2] == "end":
            notes = [f"{m[1]}{m[2]}" for m in map(_STUB_NOTE.match, blocks["stub"]) if m]
            written += [*notes, f"{indent}### BEGIN SOLUTION", *blocks["solution"], f"{indent}### END SOLUTION"]
            blocks, part = {"solution": [], "stub": []}, ""
        elif mark:
            indent, part = mark[1], mark[2]
        else:
            (blocks[part] if part else written).append(line)
    return "\n".join(written).strip("\n")


def _cell(kind: str, text: str, identity: str, tags: list[str]) -> nbformat.NotebookNode:
    make: dict[str, Any] = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return make[kind](source=text, metadata={"tags": tags}, id=identity[:64])


def _checked(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    nbformat.validate(notebook)
    problems = mark_problems(notebook)
    if problems:
        raise ValueError("; ".join(problems))
    return notebook
