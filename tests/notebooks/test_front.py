"""The first notebook and the order of all: the table of contents, the minutes, and every link to the next notebook."""

import json
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from bookkit import front
from bookkit.editions import FOLDERS, build
from bookkit.source import Cell, Source, SourceError, read_source, sources

ROOT = Path(__file__).resolve().parents[2]
SHELF = [read_source(path) for path in sources(ROOT / "workbook")]
HEAD = (
    '# %% [markdown]\n# # {title}\n#\n# Says something.\n\n# %% tags=["parameters"]\nfast = False\n\n# %% [markdown]\n'
)


def markdown(name, which="student"):
    notebook = nbformat.read(ROOT / FOLDERS[which] / f"{name}.ipynb", as_version=4)
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_the_first_notebook_lists_every_notebook_once_in_order_and_none_that_is_not_there():
    text = markdown("00_start_here")
    rows = re.findall(r"^\| (\d\d[a-z]?) \| (?:\[[^]]+\]\((\w+)\.ipynb\)|\*\*Start here)", text, re.MULTILINE)
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]*_*.ipynb"))]
    assert [number for number, _ in rows] == [name.split("_")[0] for name in names]
    assert [link for _, link in rows] == ["", *names[1:]]
    assert "coming" not in text.lower().split("## recap")[0]


@pytest.mark.parametrize(("source", "following"), list(pairwise(SHELF)), ids=lambda each: each.name)
def test_next_is_the_next_notebook(source, following):
    _, mark, after = markdown(source.name).rpartition("**Next:**")
    link = re.search(r"\]\((\w+)\.ipynb\)", after)
    assert mark and link and link[1] == following.name
    assert front.number(following.name) in after.split("]")[0]


def test_every_link_to_a_notebook_leads_to_one():
    for source in SHELF:
        for link in re.findall(r"\]\((\d\d[^)/]*\.ipynb)\)", markdown(source.name)):
            assert (ROOT / "notebooks" / link).is_file(), f"{source.name} names {link}"


MINE = ("00", "01", "01b", "02", "02b", "03", "04", "04b", "07", "08", "09")


@pytest.mark.parametrize(
    "source", [each for each in SHELF if front.number(each.name) in MINE], ids=lambda each: each.name
)
def test_a_notebook_is_one_lesson(source):
    exercises = front.exercise_minutes(source)
    solutions = len(exercises)  # a folded cell below each check
    assert 20 <= len(source.cells) + solutions <= 45
    assert exercises and front.reading_minutes(source) + sum(exercises) <= 45
    assert front.time_line(source) in markdown(source.name)


def test_a_lesson_from_02_on_has_three_exercises():
    lessons: dict[str, int] = {}  # 02b belongs to 02
    for source in SHELF:
        if front.number(source.name) in MINE:
            lesson = source.name[:2]
            lessons[lesson] = lessons.get(lesson, 0) + len(front.exercise_minutes(source))
    assert all(count >= (3 if lesson >= "02" else 1) for lesson, count in lessons.items()), lessons


def write(folder, name, title, text):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(HEAD.format(title=title) + text)


def test_a_new_notebook_is_listed_and_linked_without_an_edit(tmp_path):
    folder = tmp_path / "workbook"
    write(
        folder,
        "00_a",
        "First: where it begins",
        "# <!-- time -->\n#\n# <!-- contents -->\n#\n# <!-- next --> goes on.\n",
    )
    write(folder, "10_c", "Third", "# <!-- next -->\n")
    write(folder, "05_b", "Second: the middle", "# <!-- next -->, soon.\n")
    write(
        folder,
        "05b_more",
        "More",
        "# " + "word " * 1100 + "\n# <!-- card difficulty=1 importance=1 minutes=7 -->\n# <!-- next -->\n",
    )
    made = build(tmp_path)
    assert not made.errors
    texts = {path.stem: text for path, text in made.files.items() if path.parent.name == "notebooks"}
    assert "| 05 | [Second](05_b.ipynb) | the middle | 5 min | none |" in texts["00_a"]
    assert "| 05b | [More](05b_more.ipynb) | Says something | 10 min | 1, 7 min |" in texts["00_a"]
    assert "| 10 | [Third](10_c.ipynb) |" in texts["00_a"] and "**First** (you are here)" in texts["00_a"]
    assert "**Time:** 5 minutes to read and run." in texts["00_a"]
    assert "**Next:** [05 Second](05_b.ipynb) goes on." in texts["00_a"]
    assert "**Next:** [05b More](05b_more.ipynb), soon." in texts["05_b"]
    assert "**Next:** [10 Third](10_c.ipynb)" in texts["05b_more"] and "**The end.**" in texts["10_c"]


def test_code_of_exercises_and_addresses_are_not_read():
    text = "[a link](https://a.b/c) " + "word " * 998
    cells = (Cell("markdown", f"# T\n\n{text}", (), {}), Cell("code", "x = 1\n" * 900, ("exercise",), {}))
    assert front.reading_minutes(Source("00_t", cells)) == 10  # 1001 words take a little more than five minutes
    shorter = (Cell("markdown", f"# T\n\n{text.removesuffix('word word word ')}", (), {}), cells[1])
    assert front.reading_minutes(Source("00_t", shorter)) == 5


def test_a_notebook_that_is_not_on_the_shelf_is_an_error():
    source = Source("03_t", (Cell("markdown", "# T\n<!-- next -->", (), {}),))
    with pytest.raises(SourceError, match="03_t is not among the notebooks: 00_"):
        front.filled(source.cells[0], source, SHELF, {})


def test_measured_times_stand_in_the_table(tmp_path):
    folder = tmp_path / "workbook"
    for name, title in (("00_a", "First"), ("01_b", "Second"), ("02_c", "Third")):
        write(folder, name, title, "# <!-- contents -->\n")
    (tmp_path / "docs").mkdir()
    rows = {"00_a": {"seconds": 8.2, "peak_mb": 600}, "01_b": {"seconds": 130}}
    (tmp_path / front.TABLE).write_text(json.dumps({"command": "make", "notebooks": rows}))
    made = build(tmp_path)
    text = next(text for path, text in made.files.items() if path.stem == "02_c")
    assert "| to run |" in text and "| 5 min | none | 10 s |" in text and "| 5 min | none | 3 min |" in text
    assert "**Third** (you are here) | Says something | 5 min | none | not measured |" in text
