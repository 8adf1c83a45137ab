"""Who solved what: read from the notebooks that students hand in, or found out again by running their exercise cells.

A folder of submissions has a folder for each student, as Moodle and nbgrader make it, with executed notebooks or the
``*.results.json`` of `pcvr.teaching.hand_in` in it. What a notebook shows is a claim. Signs that somebody touched it
are noted; ``rerun`` (see `coursekit.rerun`) does not believe it at all.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
from bookkit.source import Cell, cells_of

from coursekit.lessons import Lesson

PASSED, MISTAKE, BLANK, ABSENT, BROKEN = "passed", "mistake", "not done", "not handed in", "unreadable"
_WORDS = {"Correct": PASSED, "Not yet": MISTAKE, "Not done yet": BLANK}
_MOODLE = re.compile(r"_\d+_assignsubmission_.*$")


@dataclass(frozen=True)
class Grade:
    """One student and one exercise.

    Attributes:
        student: the name of the student's folder.
        notebook: number of the notebook.
        exercise: name of the check.
        points: reached, of `of`.
        status: what became of it, one of the words above.
        said: what the check said.
        remark: why the claim may be wrong; empty if nothing speaks against it.
    """

    student: str
    notebook: str
    exercise: str
    of: int
    status: str
    said: str = ""
    remark: str = ""

    @property
    def points(self) -> int:
        """All points if the check passed and nothing speaks against it, else none."""
        return self.of if self.status == PASSED and not self.remark else 0


_Found = tuple[tuple[str, str], dict[str, str]]
"""Notebook and exercise, and the fields of its grade."""

Judge = Callable[[Lesson, str, Sequence[Cell]], tuple[str, str]]
"""Runs one exercise of a submitted notebook and returns status and message."""


def read_submissions(folder: Path, lessons: Sequence[Lesson], judge: Judge | None = None) -> list[Grade]:
    """Return a grade for each student and each exercise of the notebooks that anybody handed in.

    Args:
        folder: of submissions; each of its folders is a student.
        lessons: of the checkout.
        judge: decides by running the cells; without one, what the notebooks show counts.

    Raises:
        FileNotFoundError: there is no folder of a student.
    """
    students = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not students:
        raise FileNotFoundError(f"{folder} has no folder of a student: it takes FOLDER/STUDENT/NOTEBOOK.ipynb.")
    found = {student: dict(_of_student(student, lessons, judge)) for student in students}
    exercises = {(lesson.name, check): (lesson, card) for lesson in lessons for check, card in lesson.cards.items()}
    handed = {name for grades in found.values() for name, _ in grades}
    rows = []
    for student, grades in found.items():
        for key, (lesson, card) in exercises.items():
            if lesson.name in handed:
                name = _MOODLE.sub("", student.name)
                empty = Grade(name, lesson.number, key[1], card["difficulty"], ABSENT)
                said: dict[str, Any] = dict(grades.get(key, {}))
                rows.append(replace(empty, **said))
    return rows


def _of_student(folder: Path, lessons: Sequence[Lesson], judge: Judge | None) -> Iterator[_Found]:
    """What one student handed in, by notebook and exercise; a notebook counts before a file of results."""
    by_name = {lesson.name: lesson for lesson in lessons}
    for file in sorted(folder.rglob("*.results.json")):
        lesson = by_name.get(file.name.removesuffix(".results.json"))
        if lesson and ".ipynb_checkpoints" not in file.parts:
            yield from _from_results(lesson, file)
    for file in sorted(folder.rglob("*.ipynb")):
        lesson = by_name.get(file.stem)
        if lesson and ".ipynb_checkpoints" not in file.parts:
            yield from _from_notebook(lesson, file, judge)


def _from_results(lesson: Lesson, file: Path) -> Iterator[_Found]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))["exercises"]
        said = {name: (str(content[name]["status"]), str(content[name]["message"])) for name in content}
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = dict.fromkeys(lesson.cards, (BROKEN, f"{file.name}: {type(error).__name__}"))
    for check in lesson.cards:
        status, message = said.get(check, (BLANK, "the check did not run"))
        known = status in (*_WORDS.values(), BROKEN)
        yield (
            (lesson.name, check),
            {
                "status": status if known else BROKEN,
                "said": message,
                "remark": "a file of results, which anybody can write: look at the notebook"
                if status == PASSED
                else "",
            },
        )


def _from_notebook(lesson: Lesson, file: Path, judge: Judge | None) -> Iterator[_Found]:
    try:
        notebook = nbformat.read(file, as_version=4)
        cells = cells_of(notebook)
    except (OSError, ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        for check in lesson.cards:
            yield (lesson.name, check), {"status": BROKEN, "said": f"{file.name}: {type(error).__name__}"}
        return
    for check in lesson.cards:
        if judge is not None:
            status, said = judge(lesson, check, cells)
            yield (lesson.name, check), {"status": status, "said": said, "remark": ""}
        else:
            yield (lesson.name, check), _claimed(lesson, check, notebook)


def _claimed(lesson: Lesson, check: str, notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What the notebook shows below a check, and what speaks against it."""
    position, exercise = next((i, e) for i, e in lesson.exercises.items() if e.check == check)
    original = lesson.source.cells[position + 1].text
    marked = [cell for cell, plain in zip(notebook.cells, cells_of(notebook), strict=True) if _is_check(plain, check)]
    if not marked:
        return {"status": BLANK, "said": "the cell of the check is gone"}
    cell = marked[-1]
    status, said = _shown(cell)
    answer = answer_of(cells_of(notebook), check)
    remark = ""
    if status == PASSED:
        if cell.source.split() != original.split():
            remark = "the cell of the check was changed"
        elif answer is not None and _bare(answer) == _bare(exercise.stub):
            remark = "the exercise is still the stub"
        elif cell.get("execution_count") is None:
            remark = "the cell of the check was not run"
        elif len(marked) > 1:
            remark = "there are several cells of the check"
    return {"status": status, "said": said, "remark": remark}


def answer_of(cells: Sequence[Cell], check: str) -> str | None:
    """Return the code of an exercise, found by nbgrader's id or as the exercise right above its check; None if gone."""
    for number, cell in enumerate(cells):
        below = cells[number + 1] if number + 1 < len(cells) else None
        if _identity(cell) == f"{check}-answer" or (
            below is not None and "exercise" in cell.tags and _is_check(below, check)
        ):
            return cell.text
    return None


def _is_check(cell: Cell, check: str) -> bool:
    identity = _identity(cell)
    return identity == f"{check}-check" or (identity is None and cell.kind == "code" and f"check.{check}(" in cell.text)


def _identity(cell: Cell) -> str | None:
    """The id that nbgrader gave a cell."""
    marks = cell.metadata.get("nbgrader")
    return str(marks.get("grade_id")) if isinstance(marks, Mapping) else None


def _shown(cell: nbformat.NotebookNode) -> tuple[str, str]:
    """Status and message that the outputs of a check show."""
    for output in cell.get("outputs", ()):
        text = "".join(output.get("data", {}).get("text/plain", ""))
        word, _, message = text.partition(". ")
        if word in _WORDS:
            return _WORDS[word], message
        if output.get("output_type") == "error":
            return MISTAKE, f"{output.get('ename')}: {output.get('evalue')}"
    return BLANK, "the check did not run"


def _bare(code: str) -> str:
    """Code without comments and blanks."""
    return "".join(re.sub(r"#.*", "", code).split())


def as_rows(grades: Sequence[Grade]) -> list[list[str]]:
    """Return the grades as a table with a head, one row for each student and exercise."""
    head = ["student", "notebook", "exercise", "points", "of", "status", "said", "remark"]
    return [head] + [
        [g.student, g.notebook, g.exercise, str(g.points), str(g.of), g.status, g.said, g.remark] for g in grades
    ]


def summary(grades: Sequence[Grade]) -> str:
    """Return Markdown: points of each student, and how each exercise went, with its most frequent mistake."""
    exercises = list(dict.fromkeys(grade.exercise for grade in grades))
    lines = [f"| student | {' | '.join(exercises)} | points |", "|---|" + "---|" * (len(exercises) + 1)]
    for student in dict.fromkeys(grade.student for grade in grades):
        mine = {grade.exercise: grade for grade in grades if grade.student == student}
        cells = [mine[name].status + (" (!)" if mine[name].remark else "") for name in exercises]
        total = f"{sum(g.points for g in mine.values())} of {sum(g.of for g in mine.values())}"
        lines.append(f"| {student} | {' | '.join(cells)} | {total} |")
    lines += ["", "| exercise | solved | most frequent mistake |", "|---|---|---|"]
    for name in exercises:
        some = [grade for grade in grades if grade.exercise == name]
        said = Counter(grade.said.splitlines()[0] for grade in some if grade.status == MISTAKE and grade.said)
        often = f"{said.most_common(1)[0][1]} times: {said.most_common(1)[0][0]}" if said else "-"
        solved = sum(grade.points > 0 for grade in some)
        lines.append(f"| {name} | {solved} of {len(some)} | {often.replace('|', '/')} |")
    doubts = [f"- {g.student}, {g.exercise}: {g.remark}" for g in grades if g.remark]
    return "\n".join([*lines, *(["", "(!) No points; look at it yourself:", *doubts] if doubts else []), ""])
