"""One source, two editions: made from small sources written here, not from the workbook."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bookkit.editions import Edition, build, differences, edition
from bookkit.exercises import both_faces, with_card
from bookkit.source import SourceError, read_source, summary, title

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "notebooks.py"

HEAD = """\
# %% [markdown]
# # A demonstration
#
# Shows *one* exercise of the [workbook](x.md). And more.

# %% tags=["parameters"]
fast = False
n = 100  # samples
"""
EXERCISE = '''
# %%
import numpy as np

from pcvr.teaching import check

# %% [markdown]
# ## Exercise 1: choose
# <!-- card difficulty=2 importance=4 minutes=10 -->
# Write `choose`.

# %% tags=["exercise"]
def choose(n: int, rate: float, seed: int) -> np.ndarray:
    """Indices of the samples to poison."""
    # --- solution
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, size=round(rate * n), replace=False))
    # --- stub
    # | if n:
    # |     pass  # draw without repetition
    # | return ...
    # --- end

# %%
check.poison_indices(choose)

# %% [markdown]
# ## Recap
'''
DEMO = HEAD + EXERCISE


def write(root, text=DEMO, name="02_demo"):
    path = root / "workbook" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def tool(capsys):
    """Run tools/notebooks.py as a command does, in this process: a start of Python for each call would take seconds."""
    main = runpy.run_path(str(TOOL))["main"]

    def run(root, command, *more):
        status = main([command, "--root", str(root), *more])
        return subprocess.CompletedProcess(command, status, *capsys.readouterr())

    return run


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def test_the_student_edition_has_stub_check_and_folded_solution_in_this_order(tmp_path):
    notebook = edition(read_source(write(tmp_path)), "student")
    sources = [cell.source for cell in notebook.cells]
    at = next(i for i, cell in enumerate(notebook.cells) if "exercise" in cell.metadata.get("tags", []))
    assert sources[at].endswith("    if n:\n        pass  # draw without repetition\n    return ...")
    assert sources[at + 1] == "check.poison_indices(choose)"
    assert notebook.cells[at + 2].cell_type == "markdown"
    assert sources[at + 2].startswith("<details>\n<summary>Solution</summary>\n\n```python\ndef choose(")
    assert "replace=False" in sources[at + 2]
    assert not any("replace=False" in source for source in sources[: at + 2])
    assert "# ---" not in "".join(sources)


def test_the_solution_edition_has_the_solution_and_ends_by_requiring_every_check(tmp_path):
    notebook = edition(read_source(write(tmp_path)), "solution")
    (exercise,) = tagged(notebook, "exercise")
    assert "replace=False" in exercise.source and "..." not in exercise.source
    assert 'require_passed("poison_indices")' in notebook.cells[-1].source
    assert not any("<details>" in cell.source for cell in notebook.cells)


def test_both_faces_run_and_the_check_knows_them_apart(tmp_path):
    source = read_source(write(tmp_path))
    cases: list[tuple[Edition, str]] = [("student", "not done"), ("solution", "passed")]
    for which, status in cases:
        notebook = edition(source, which)
        namespace: dict[str, Any] = {}
        for cell in notebook.cells:
            if cell.cell_type == "code" and "require-passed" not in cell.metadata.get("tags", []):
                exec(cell.source, namespace)
        assert namespace["check"].poison_indices(namespace["choose"]).status == status


def test_metadata_is_what_papermill_and_jupyter_need_and_nothing_else(tmp_path):
    notebook = edition(read_source(write(tmp_path)), "student")
    assert notebook.metadata.kernelspec.name == "python3" and notebook.metadata.language_info.name == "python"
    assert notebook.metadata.pcvr.source == "workbook/02_demo.py"
    assert "widgets" not in notebook.metadata
    assert tagged(notebook, "parameters")[0].source == "fast = False\nn = 100  # samples"
    assert {key for cell in notebook.cells for key in cell.metadata} == {"tags", "jupyter", "cellView"}


def test_ids_are_distinct_and_the_same_every_time(tmp_path):
    twice = DEMO + '\n# %%\nprint("same")\n\n# %%\nprint("same")\n'
    path = write(tmp_path, twice)
    first, second = ([cell.id for cell in edition(read_source(path), "student").cells] for _ in range(2))
    assert first == second and len(set(first)) == len(first)


def test_a_cell_keeps_its_id_when_another_is_put_in_front(tmp_path):
    before = {cell.source: cell.id for cell in edition(read_source(write(tmp_path)), "student").cells}
    path = write(tmp_path, HEAD + "\n# %%\nnew = 1\n" + EXERCISE)
    after = {cell.source: cell.id for cell in edition(read_source(path), "student").cells}
    assert all(after[source] == identity for source, identity in before.items())


def test_title_summary_and_card(tmp_path):
    source = read_source(write(tmp_path))
    assert title(source.cells) == "A demonstration"
    assert summary(source.cells) == "Shows one exercise of the workbook."
    (card,) = [cell for cell in edition(source, "student").cells if "Exercise 1" in cell.source]
    assert "difficulty ●●○○○ 2 of 5" in card.source and "<!--" not in card.source
    assert "\n\nWrite `choose`." in card.source


def test_build_writes_then_check_agrees_then_any_change_is_named(tmp_path, tool):
    path = write(tmp_path)
    assert "missing" in tool(tmp_path, "check").stderr
    assert tool(tmp_path, "build").returncode == 0
    assert tool(tmp_path, "check").returncode == 0
    assert "0 written" in tool(tmp_path, "build").stdout

    student = tmp_path / "notebooks" / "02_demo.ipynb"
    student.write_text(student.read_text().replace("n = 100", "n = 101"))
    done = tool(tmp_path, "check")
    assert done.returncode == 1
    assert "notebooks/02_demo.ipynb differs from what workbook/02_demo.py makes" in done.stderr

    assert tool(tmp_path, "build", "--force").returncode == 0
    path.write_text(DEMO.replace("# ## Recap", "# ## What you learned"))
    assert len(differences(tmp_path)) == 2


def test_outputs_left_in_a_notebook_are_a_difference(tmp_path, tool):
    write(tmp_path)
    tool(tmp_path, "build")
    path = tmp_path / "solutions" / "02_demo.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, path)
    assert len(differences(tmp_path)) == 1


def test_a_renamed_source_takes_its_notebooks_along_and_leaves_a_readers_own_alone(tmp_path, tool):
    path = write(tmp_path)
    tool(tmp_path, "build")
    own = tmp_path / "notebooks" / "my_notes.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), own)
    path.rename(path.with_name("03_demo.py"))
    assert any("notebooks/02_demo.ipynb has no source" in sentence for sentence in differences(tmp_path))
    assert tool(tmp_path, "build").returncode == 0
    assert sorted(p.name for p in (tmp_path / "notebooks").iterdir()) == ["03_demo.ipynb", "my_notes.ipynb"]
    assert own.exists() and differences(tmp_path) == []


def in_jupyter(path, change):
    """What an editor does: change the notebook and save it, ids, unknown metadata and all."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)


def solve(notebook):
    (cell,) = tagged(notebook, "exercise")
    cell.source = cell.source.replace("return ...", "return np.arange(n)[: round(rate * n)]")


def add_a_note(notebook):
    notebook.cells.append(nbformat.v4.new_markdown_cell("Remember this."))


def run_it(notebook):
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output("stream", text="said")]
    notebook.metadata.language_info.version = "3.12.1"


@pytest.mark.parametrize("work", [solve, add_a_note])
def test_build_leaves_a_solved_exercise_alone_until_forced(tmp_path, tool, work):
    path = write(tmp_path)
    tool(tmp_path, "build")
    student = tmp_path / "notebooks" / "02_demo.ipynb"
    in_jupyter(student, work)
    mine = student.read_bytes()
    for renamed in (False, True):  # a source that goes away would take its notebooks along
        if renamed:
            path.rename(path.with_name("03_demo.py"))
        done = tool(tmp_path, "build")
        assert done.returncode == 1 and "Somebody has worked in notebooks/02_demo.ipynb, and" in done.stderr
        assert "ARGS=--force" in done.stderr and "solutions/" not in done.stderr
        assert student.read_bytes() == mine and not (tmp_path / "notebooks" / "03_demo.ipynb").exists()
    path.with_name("03_demo.py").rename(path)
    assert tool(tmp_path, "build", "--force").returncode == 0
    assert differences(tmp_path) == []


def test_a_notebook_that_was_only_run_is_made_again(tmp_path, tool):
    write(tmp_path)
    tool(tmp_path, "build")
    in_jupyter(tmp_path / "notebooks" / "02_demo.ipynb", run_it)
    write(tmp_path, DEMO.replace("Recap", "Summary"))
    done = tool(tmp_path, "build")
    assert done.returncode == 0 and "2 written" in done.stdout
    assert differences(tmp_path) == []


def test_a_notebook_that_cannot_be_read_may_be_somebodys_work(tmp_path, tool):
    write(tmp_path)
    tool(tmp_path, "build")
    student = tmp_path / "notebooks" / "02_demo.ipynb"
    student.write_text("<<<<<<< mine\n" + student.read_text())
    assert "Somebody has worked in notebooks/02_demo.ipynb" in tool(tmp_path, "build").stderr
    assert tool(tmp_path, "build", "--force").returncode == 0 and differences(tmp_path) == []


def test_every_number_from_00_to_10_is_a_notebook(tmp_path):
    for number in range(11):
        write(tmp_path, HEAD, f"{number:02d}_demo")
    assert len(build(tmp_path).files) == 22 and not build(tmp_path).errors


def test_nothing_is_written_when_one_source_is_wrong(tmp_path, tool):
    write(tmp_path)
    write(tmp_path, HEAD.replace("fast", "quick"), "03_wrong")
    done = tool(tmp_path, "build")
    assert done.returncode == 1 and "03_wrong.py: the parameters cell sets 'fast = False'" in done.stderr
    assert not (tmp_path / "notebooks").exists()


def test_no_source_at_all_is_an_error(tmp_path):
    call = [sys.executable, TOOL, "check", "--root", tmp_path]
    done = subprocess.run(call, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and "there is no notebook source" in done.stderr


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("# %%\nfast = False\n", "the first cell is Markdown"),
        (DEMO.replace("## Recap", "# Recap"), "exactly one level-one heading"),
        (DEMO.replace("## Recap", "#### Recap"), "jumps from level 2 to 4"),
        (DEMO.replace('tags=["parameters"]', ""), "there are 0"),
        (DEMO.replace("n = 100", "n = 10 * 10"), "plain literals only"),
        (DEMO.replace("n = 100", "import os"), "plain literals only"),
        (DEMO.replace("fast = False", "fast = True"), "sets 'fast = False'"),
        (DEMO.replace("# <!-- card", "# <!-- "), "no card"),
        (DEMO.replace("difficulty=2", "difficulty=9"), "difficulty of an exercise card is 9"),
        (DEMO.replace("minutes=10", "hours=10"), "cannot be read"),
        (DEMO.replace("check.poison_indices(choose)", "choose(1, 1, 1)"), "not followed by its check"),
        (DEMO.replace("check.poison_indices", "check.poison_index"), "pcvr.teaching does not have"),
        (DEMO.replace("    # --- end\n", ""), "needs '# --- solution'"),
        (DEMO.replace("# --- solution", "# --- stub"), "the order is solution, stub, end"),
        (DEMO.replace("    # | return ...\n", "    return ...\n"), "begins with '# | '"),
        (DEMO.replace("# | return ...", "# | return ((("), "the stub is no Python"),
        (DEMO.replace("replace=False))", "replace=False)"), "the solution is no Python"),
    ],
)
def test_a_broken_source_gets_one_clear_sentence(tmp_path, text, word):
    write(tmp_path, text)
    (sentence,) = build(tmp_path).errors
    assert sentence.startswith("02_demo.py: ") and word in sentence


def test_a_file_with_another_name_is_refused(tmp_path):
    write(tmp_path, name="demo")
    assert "a notebook is named NN_name.py" in build(tmp_path).errors[0]


def test_hashes_in_code_fences_are_no_headings(tmp_path):
    text = DEMO.replace("# ## Recap", "# ## Recap\n# ```python\n# # a comment\n# ```")
    read_source(write(tmp_path, text))


def test_several_regions_and_lines_around_them():
    text = "a = 1\n# --- solution\nb = 2\n# --- stub\n# | b = ...\n# --- end\nc = 3\n"
    text += "# --- solution\nd = 4\n# --- stub\n#| d = ...\n# --- end"
    assert both_faces(text) == ("a = 1\nb = ...\nc = 3\nd = ...", "a = 1\nb = 2\nc = 3\nd = 4")


def test_a_card_error_is_a_source_error():
    with pytest.raises(SourceError, match="minutes"):
        with_card("<!-- card difficulty=1 importance=1 minutes=0 -->")
