"""The course kit: every notebook has its quiz and notes, editions hold what they promise, pages need no network."""

import re
from pathlib import Path

import nbformat
import pytest
from coursekit import building, facts, handouts, quiz
from coursekit.lessons import Lesson, lessons
from coursekit.pages import blocks, to_html
from coursekit.plans import PlanError, read_plan
from coursekit.slides import ROOM, deck, slides_of

from pcvr.teaching import check, forget_results, hand_in

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found() -> list[Lesson]:
    return lessons(ROOT)


@pytest.fixture(scope="module")
def quizzes(found: list[Lesson]) -> dict[str, list[quiz.Question]]:
    return {each.number: quiz.read_quiz(ROOT / "course/quiz" / f"{each.topic}.md") for each in found}


def test_every_notebook_has_its_quiz_and_notes(found: list[Lesson]) -> None:
    assert building.missing(ROOT, found) == []
    for file in (ROOT / "course/notes").glob("*.md"):
        text = facts.filled(file.read_text(encoding="utf-8"))
        for part in ("## What this lesson is for", "## Where people get lost", "## Questions to ask"):
            assert part in text, file.name


def test_questions_have_one_right_answer_and_a_reason_for_each(quizzes: dict[str, list[quiz.Question]]) -> None:
    for number, questions in quizzes.items():
        assert 5 <= len(questions) <= 8, number
        letters = [question.right for question in questions]
        assert len(set(letters)) > 1, "the place of an answer must not give it away"
    figures = [
        a.text for questions in quizzes.values() for q in questions for a in q.answers if re.search(r"\d", a.text)
    ]
    assert figures and not [text for text in figures if "{{" in text]


def test_a_figure_is_read_and_not_typed() -> None:
    assert facts.fact("premise sig") == "0.16" and facts.fact("rate 0 512").startswith("< 0.6 %")
    for wrong in ("weather today", "attack badnets poetry", "spine asr no such row"):
        with pytest.raises(facts.FactError, match=re.escape(wrong)):
            facts.fact(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("## Q\n- [x] a\n  > why\n- [ ] b\n  > why\n", "two wrong ones or more"),
        ("## Q\n- [x] a\n  > why\n- [x] b\n  > why\n- [ ] c\n  > why\n", "one right answer"),
        ("## Q\n- [x] a\n- [ ] b\n  > why\n- [ ] c\n  > why\n", "every answer has an explanation"),
        ("## Q\n- [x] {{settings}}\n  > why\n- [ ] 54\n  > why\n- [ ] c\n  > why\n", "two answers are the same"),
        ("no heading", "has no question"),
    ],
)
def test_a_broken_quiz_is_refused_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "q.md").write_text(text)
    with pytest.raises(quiz.QuizError, match=said):
        quiz.read_quiz(tmp_path / "q.md")


def read_gift(text: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """A reader of GIFT's multiple-choice questions: their texts, and sign, text and feedback of each answer."""
    found = []
    for part in re.split(r"\n\s*\n", text.strip()):
        if part.startswith("$CATEGORY"):
            continue
        whole = re.fullmatch(r"::(?:\\.|[^:\\])*::\[markdown\]((?:\\.|[^\\{])*)\{(.*)\}", part, re.DOTALL)
        assert whole, part
        answers = re.findall(r"([=~])((?:\\.|[^\\=~#])*)#((?:\\.|[^\\=~#])*)", whole[2])
        found.append((plain(whole[1]), [(sign, plain(a), plain(why)) for sign, a, why in answers]))
    return found


def plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text.strip())


def test_gift_says_what_the_quiz_says(quizzes: dict[str, list[quiz.Question]]) -> None:
    for number, questions in quizzes.items():
        back = read_gift(quiz.gift(number, questions))
        assert len(back) == len(questions)
        for question, (_, answers) in zip(questions, back, strict=True):
            assert [sign == "=" for sign, _, _ in answers] == [each.right for each in question.answers]
            for each, (_, text, why) in zip(question.answers, answers, strict=True):
                assert text.replace("\\(", "$").replace("\\)", "$") == each.text
                assert why.replace("\\(", "$").replace("\\)", "$") == each.why


def test_the_students_edition_has_no_solution_and_valid_marks(found: list[Lesson]) -> None:
    for lesson in found:
        notebook = handouts.student(lesson)
        text = "\n".join(cell.source for cell in notebook.cells)
        assert not re.search(r"<summary>Solution|solutions/|folded", text), "students are told of what they do not have"
        assert handouts.mark_problems(notebook) == []
        for exercise in lesson.exercises.values():
            assert exercise.solution not in text
        points = [c.metadata.nbgrader.points for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
        assert points == [card["difficulty"] for card in lesson.cards.values()]
        solved = handouts.teacher(lesson, "## Notes\n\nhere")
        assert "here" in solved.cells[1].source
        assert all(e.solution in "\n".join(c.source for c in solved.cells) for e in lesson.exercises.values())


def test_nbgraders_source_is_python_with_and_without_its_solution(found: list[Lesson]) -> None:
    for lesson in found:
        for cell in handouts.nbgrader_source(lesson).cells:
            marks = cell.metadata.get("nbgrader", {})
            if marks.get("solution"):
                compile(cell.source, lesson.name, "exec")
                cleared = re.sub(
                    r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION", r"\1...", cell.source, flags=re.M | re.S
                )
                compile(cleared, lesson.name, "exec")
            if marks.get("grade"):
                assert "### BEGIN HIDDEN TESTS" in cell.source and "require_passed" in cell.source


def test_slides_fit_and_need_no_network(found: list[Lesson]) -> None:
    for lesson in found:
        slides = slides_of(handouts.student(lesson))
        assert len(slides) >= 5 and max(slide.used for slide in slides if not slide.opening) <= ROOM + 2, lesson.name
        page = deck(lesson.title, slides)
        shown, _, scripts = page.partition("<script>")
        assert not re.search(r"<(?:link|img|iframe|script)|@import|url\((?!data:)", shown) and "RevealNotes" in scripts


def test_figures_and_printed_lines_become_slides() -> None:
    cell = nbformat.v4.new_code_cell("x")
    picture = '<img src="data:image/png;base64,AA==" alt="A curve.">'
    cell.outputs = [
        nbformat.v4.new_output("stream", text="two\nlines\n"),
        nbformat.v4.new_output("execute_result", data={"text/html": picture, "text/plain": "figure"}),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("# T\n\nLead."),
        nbformat.v4.new_markdown_cell("## Part\n\nFirst. Second."),
        cell,
    ]
    cells.append(
        nbformat.v4.new_markdown_cell(
            "What it shows. More.\n\n<details>\n<summary>Answer</summary>\n\nA.\n\n</details>"
        )
    )
    title, part, figure = slides_of(nbformat.v4.new_notebook(cells=cells))
    assert title.opening and "First. Second." in part.html and "two\nlines" in part.html
    assert "A curve." in figure.html and "<figcaption>What it shows.</figcaption>" in figure.html
    assert "A." in figure.html.partition("notes")[2] and "<details>" not in figure.html


def test_markdown_is_read_in_blocks_and_formulas_become_mathml() -> None:
    text = "## H\nsome $x^2$ text:\n- a\n- b\n\n| a |\n|---|\n| 1 |\n\n$$y$$\n\n<details>\n\n- c\n\n</details>"
    assert [kind for kind, _ in blocks(text)] == ["heading", "paragraph", "list", "table", "formula", "folded"]
    assert "<math" in to_html("$\\frac{1}{2}$") and "<math" not in to_html("`$x$` costs 5 $")


def test_plans_fit_their_frames(found: list[Lesson], quizzes: dict[str, list[quiz.Question]], tmp_path: Path) -> None:
    counts = {number: len(questions) for number, questions in quizzes.items()}
    files = sorted((ROOT / "course/plans").glob("*.toml"))
    assert {file.stem for file in files} == {"two_hours", "one_day", "six_weeks"}
    for file in files:
        plan = read_plan(file, found, counts)
        for session in plan.sessions:
            assert session.minutes <= session.frame, f"{file.stem}, {session.title}: {session.minutes} minutes"
    broken = tmp_path / "broken.toml"
    head = 'title = "t"\naim = "a"\n[[session]]\ntitle = "s"\nminutes = 5\n[[session.step]]\n'
    for step, said in (
        ('solve = "flying"', "no notebook has an exercise"),
        ('work = "77"', "no notebook '77'"),
        ("", "one of"),
    ):
        broken.write_text(f'{head}{step}\nsay = "x"\n')
        with pytest.raises(PlanError, match=said):
            read_plan(broken, found, counts)


def test_what_the_checks_said_is_written_down(tmp_path: Path) -> None:
    forget_results()
    check.poison_indices(None)
    said = hand_in("02_poisoning", tmp_path)
    assert "choose which samples to poison: not done" in said
    assert '"status": "not done"' in (tmp_path / "02_poisoning.results.json").read_text(encoding="utf-8")
    forget_results()
