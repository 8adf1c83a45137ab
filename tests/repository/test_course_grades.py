"""The report of who solved what: what notebooks claim, signs of tampering, and exercises that are run again."""

from pathlib import Path

import nbformat
import pytest
from coursekit import handouts
from coursekit.grades import BLANK, BROKEN, MISTAKE, PASSED, Grade, read_submissions, summary
from coursekit.lessons import Lesson, lessons
from coursekit.rerun import rerun

import course

ROOT = Path(__file__).resolve().parents[2]
NAME, CHECK = "02_poisoning", "poison_indices"
RIGHT = (
    "def choose(n, rate, seed):\n    rng = np.random.default_rng(seed)\n"
    "    return np.sort(rng.permutation(n)[: round(rate * n)])"
)


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return next(each for each in lessons(ROOT) if each.name == NAME)


def submit(folder: Path, lesson: Lesson, code: str, said: str | None) -> nbformat.NotebookNode:
    """Write a student's notebook with an answer in its exercise, and with what the check is made to show."""
    notebook = handouts.student(lesson)
    for number, cell in enumerate(notebook.cells, 1):
        identity = cell.metadata.get("nbgrader", {}).get("grade_id")
        if identity == f"{CHECK}-answer":
            cell.source = code
        if identity == f"{CHECK}-check" and said is not None:
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": said}, execution_count=number)]
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{NAME}.ipynb")
    return notebook


def graded(folder: Path, lesson: Lesson) -> dict[str, Grade]:
    return {grade.student: grade for grade in read_submissions(folder, [lesson]) if grade.exercise == CHECK}


def stub(lesson: Lesson) -> str:
    return next(e.stub for e in lesson.exercises.values() if e.check == CHECK)


def test_who_solved_what_and_what_speaks_against_it(tmp_path: Path, lesson: Lesson) -> None:
    submit(tmp_path / "Ada_77_assignsubmission_file_", lesson, RIGHT, "Correct. The number is exact.")
    submit(tmp_path / "Ben", lesson, RIGHT, "Not yet. choose(37, 0.1, 0) is rounded up.")
    submit(tmp_path / "Cy", lesson, stub(lesson), None)
    submit(tmp_path / "Dot", lesson, stub(lesson), "Correct. Honestly.")
    notebook = submit(tmp_path / "Eve", lesson, RIGHT, "Correct. Honestly.")
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "print('Correct.')"
    nbformat.write(notebook, tmp_path / "Eve" / f"{NAME}.ipynb")
    (tmp_path / "Fay").mkdir()
    (tmp_path / "Fay" / f"{NAME}.ipynb").write_text("{ this is no notebook")
    (tmp_path / "Gil").mkdir()
    result = '{"exercises": {"poison_indices": {"status": "passed", "message": "fine"}}}'
    (tmp_path / "Gil" / f"{NAME}.results.json").write_text(result)
    found = graded(tmp_path, lesson)
    assert {name: grade.status for name, grade in found.items()} == {
        "Ada": PASSED, "Ben": MISTAKE, "Cy": BLANK, "Dot": PASSED, "Eve": PASSED, "Fay": BROKEN, "Gil": PASSED,
    }  # fmt: skip
    assert {name for name, grade in found.items() if grade.points} == {"Ada"}
    assert "still the stub" in found["Dot"].remark and "changed" in found["Eve"].remark
    assert "look at the notebook" in found["Gil"].remark
    said = summary(list(found.values()))
    assert "1 of 7" in said and "1 times: choose(37, 0.1, 0) is rounded up." in said and "- Eve" in said


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (RIGHT, PASSED, "exact"),
        ("def choose(n, rate, seed):\n    return np.arange(int(rate * n))", MISTAKE, "int()"),
        ("def choose(n, rate, seed):\n    return ...", BLANK, "Fill in"),
        (
            "import pcvr.teaching.check as c\nc.poison_indices = lambda f: 1\ndef choose(n, rate, seed): return 1",
            MISTAKE,
            "",
        ),
        ("choose = 1 +", BROKEN, "SyntaxError"),
        ("import os\nos._exit(0)", BROKEN, "without a result"),
    ],
)
def test_an_exercise_is_run_again_and_judged_by_the_original_check(
    lesson: Lesson, code: str, status: str, words: str
) -> None:
    notebook = handouts.student(lesson)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == f"{CHECK}-answer":
            cell.source = code
    from bookkit.source import cells_of

    found, said = rerun(lesson, CHECK, cells_of(notebook))
    assert found == status and words in said


def test_the_command_writes_a_table(tmp_path: Path, lesson: Lesson, capsys: pytest.CaptureFixture[str]) -> None:
    submit(tmp_path / "in" / "Ada", lesson, RIGHT, "Correct. Fine.")
    assert course.main(["grades", str(tmp_path / "in"), "--out", str(tmp_path / "g.csv")]) == 0
    assert f"Ada,02,{CHECK},2,2,passed" in (tmp_path / "g.csv").read_text()
    (row,) = [line for line in (tmp_path / "g.md").read_text().splitlines() if line.startswith("| Ada |")]
    assert row.count("passed") == 1 and "| 2 of " in row
    assert course.main(["grades", str(tmp_path / "nowhere")]) == 1
    assert "is no folder" in capsys.readouterr().err
