"""Everything of the kit, made into one folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from bookkit.front import LOOK, WORDS_A_MINUTE, recorded

from coursekit.facts import filled
from coursekit.handouts import nbgrader_source, student, teacher
from coursekit.lessons import Lesson, lessons
from coursekit.pages import page, to_html
from coursekit.plans import plan_markdown, read_plan
from coursekit.quiz import Question, gift, quiz_markdown, quiz_page, read_quiz
from coursekit.slides import deck, slides_of
from pcvr.utils.files import write_text

NBGRADER_CONFIG = """\
# Settings for nbgrader. In this folder, `nbgrader generate_assignment 02_poisoning` makes the students' copy.
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "pcvr"
# An exercise without a solution ends in dots, which the checks take for "not done yet".
c.ClearSolutions.code_stub = {"python": "..."}
# The checks run on threads of their own and train models: give each cell time.
c.ExecutePreprocessor.timeout = 1800
"""


class CourseError(Exception):
    """The sources of the course do not fit the notebooks: one sentence for each thing to mend."""


def build(root: Path, out: Path, executed: Path) -> list[str]:
    """Make the kit and return a sentence for each thing that is worth knowing.

    Args:
        root: the checkout.
        out: the folder of the kit; what an earlier call wrote there is replaced.
        executed: where executed notebooks are looked for, for the figures of the slides.

    Raises:
        CourseError: a notebook lacks its quiz or notes.
        SourceError, QuizError, PlanError, FactError: a source breaks its form.
    """
    found = lessons(root)
    problems = missing(root, found)
    if problems:
        raise CourseError("\n".join(problems))
    quizzes = {lesson.number: read_quiz(root / "course/quiz" / f"{lesson.topic}.md") for lesson in found}
    if out.exists():
        shutil.rmtree(out)
    _notebooks(root, out, found)
    said = orphans(root, found) + _slides(out, found, executed)
    _quizzes(out, found, quizzes)
    _texts(root, out, found, quizzes)
    return said


def missing(root: Path, found: Sequence[Lesson]) -> list[str]:
    """Return a sentence for each notebook without quiz or notes."""
    topics = {lesson.topic: lesson.name for lesson in found}
    problems = []
    for folder in ("course/quiz", "course/notes"):
        there = {file.stem for file in (root / folder).glob("*.md")}
        lacking = [topic for topic in topics if topic not in there]
        problems += [f"{topics[topic]} has no {folder}/{topic}.md: write it." for topic in lacking]
    return problems


def orphans(root: Path, found: Sequence[Lesson]) -> list[str]:
    """Return a sentence for each quiz and each notes without a notebook."""
    topics = {lesson.topic for lesson in found}
    there = [file for folder in ("quiz", "notes") for file in sorted((root / "course" / folder).glob("*.md"))]
    left = [file.relative_to(root) for file in there if file.stem not in topics]
    return [f"{name} has no notebook: rename or remove it." for name in left]


def _notebooks(root: Path, out: Path, found: Sequence[Lesson]) -> None:
    for lesson in found:
        copies = {"student": student(lesson), "teacher": teacher(lesson, _notes(root, lesson))}
        if lesson.exercises:
            copies[f"nbgrader/source/{lesson.name}"] = nbgrader_source(lesson)
        for name, notebook in copies.items():
            _write(out / name / f"{lesson.name}.ipynb", nbformat.writes(notebook) + "\n")
    _write(out / "nbgrader/nbgrader_config.py", NBGRADER_CONFIG)


def _notes(root: Path, lesson: Lesson) -> str:
    """The instructor's notes on a notebook, with their figures."""
    return filled((root / "course/notes" / f"{lesson.topic}.md").read_text(encoding="utf-8"))


def _slides(out: Path, found: Sequence[Lesson], executed: Path) -> list[str]:
    without = []
    for lesson in found:
        copy = executed / f"{lesson.name}.ipynb"
        ran = _same_text(nbformat.read(copy, as_version=4), lesson) if copy.is_file() else None
        if ran is None:
            without.append(lesson.number)
        slides = slides_of(student(lesson) if ran is None else ran)
        _write(out / "slides" / f"{lesson.name}.html", deck(lesson.title, slides))
    if not without:
        return []
    return [
        f"Slides without figures, since {executed} has no executed copy of the present notebook: {', '.join(without)}. "
        "'make workbook' executes them."
    ]


def _same_text(notebook: nbformat.NotebookNode, lesson: Lesson) -> nbformat.NotebookNode | None:
    """An executed notebook, if its prose is that of the present source."""
    prose = {cell.source for cell in student(lesson).cells if cell.cell_type == "markdown"}
    there = {cell.source for cell in notebook.cells}
    return notebook if len(prose - there) <= 1 else None  # one cell may speak of solutions


def _quizzes(out: Path, found: Sequence[Lesson], quizzes: Mapping[str, Sequence[Question]]) -> None:
    everything = []
    for lesson in found:
        questions, title = quizzes[lesson.number], f"{lesson.number} {lesson.title.partition(':')[0]}"
        _write(out / "quiz" / f"{lesson.name}.md", quiz_markdown(title, questions))
        _write(out / "quiz" / f"{lesson.name}.html", quiz_page(title, questions, solved=False))
        _write(out / "quiz" / f"{lesson.name}_answers.html", quiz_page(title, questions, solved=True))
        everything.append(gift(title, questions))
        _write(out / "quiz/moodle" / f"{lesson.name}.gift", everything[-1])
    _write(out / "quiz/moodle/all.gift", "\n".join(everything))


def _texts(root: Path, out: Path, found: Sequence[Lesson], quizzes: Mapping[str, Sequence[Question]]) -> None:
    runs = {(row["made_with"], row["date"]) for row in recorded(root).values()}
    made = "".join(f"Running times were measured with {how} on {date}. " for how, date in sorted(runs))
    made += (
        f"Text and code count at {WORDS_A_MINUTE} words a minute and a look at what a cell shows at {LOOK} minutes, "
        "as in the notebooks; exercises with the minutes of their cards, "
        "a quiz at a minute and a half a question."
    )
    counts = {number: len(questions) for number, questions in quizzes.items()}
    for file in sorted((root / "course/plans").glob("*.toml")):
        _page(out / "plans" / file.stem, plan_markdown(read_plan(file, found, counts), made))
    notes = [f"# {each.number} {each.title}\n\n{_notes(root, each)}" for each in found]
    _page(out / "instructor_notes", "\n\n".join(notes))
    for name in ("datasheet", "jupyterhub"):
        _page(out / name, filled((root / "course" / f"{name}.md").read_text(encoding="utf-8")))
    _page(out / "index", filled((root / "course/README.md").read_text(encoding="utf-8")) + _minutes_table(found, made))
    shutil.copy(root / "LICENSE-texts", out)


def _minutes_table(found: Sequence[Lesson], made: str) -> str:
    lines = [
        "\n## Minutes of each notebook\n",
        "| notebook | reading | predictions | things to try | exercises | running | together |",
        "|---|---|---|---|---|---|---|",
    ]
    for lesson in found:
        m = lesson.minutes
        waiting = "not measured" if m.waiting is None else f"{m.waiting:.1f}"
        figures = [f"{value:.0f}" for value in (m.reading, m.predicting, m.trying, m.exercises)]
        lines.append(f"| {lesson.number} {lesson.title} | {' | '.join(figures)} | {waiting} | {m.total:.0f} |")
    return "\n".join([*lines, "", made, ""])


def _page(place: Path, markdown: str) -> None:
    """A text as Markdown and as a page."""
    _write(place.with_suffix(".md"), markdown.rstrip("\n") + "\n")
    title = markdown.lstrip("# ").partition("\n")[0]
    _write(place.with_suffix(".html"), page(title, to_html(markdown)))


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_text(place, text)
