"""Every notebook runs, fast: each check says first that the exercise is not done, and then, solved, that it is right.

One run serves both editions: after each check come the solution of its exercise and the check again. What follows an
exercise does not use what a reader writes there, so it runs as in the student's edition.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bookkit.editions import FOLDERS
from bookkit.running import run_notebook

ROOT = Path(__file__).resolve().parents[2]
MOST_MEMORY = 1.5e9  # bytes
HANGS = 1800  # seconds for a notebook that takes half a minute alone
PATHS = sorted((ROOT / FOLDERS["student"]).glob("*.ipynb"))


def tagged(notebook: Any, tag: str) -> list[Any]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def with_solutions(path: Path) -> Any:
    """The student's edition of a notebook, with each exercise solved after its check."""
    notebook = nbformat.read(path, as_version=4)
    solved = iter(tagged(nbformat.read(ROOT / FOLDERS["solution"] / path.name, as_version=4), "exercise"))
    cells, given = [], None
    for cell in notebook.cells:
        cells.append(cell)
        if "exercise" in cell.metadata.get("tags", []):
            given = next(solved)
        elif "check" in cell.metadata.get("tags", []):
            assert given is not None, "a check without an exercise"
            again = nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata)
            cells += [nbformat.v4.new_code_cell(given.source), again]
    assert next(solved, None) is None
    notebook.cells = cells
    return notebook


def stderr_of(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stderr")


def check_outputs(notebook: Any) -> list[str]:
    """What every check showed last, as plain text; a check that trains shows progress bars before."""
    shown = [
        [output.get("data", {}).get("text/plain", "") for output in cell.outputs] for cell in tagged(notebook, "check")
    ]
    return [texts[-1] if texts else "" for texts in shown]


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(HANGS)
@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    nbformat.write(with_solutions(path), tmp_path / path.name)
    run = run_notebook(tmp_path / path.name, tmp_path / "executed" / path.name, {"fast": True}, cell_timeout=HANGS)
    assert run.error is None
    assert run.executed is not None
    executed = nbformat.read(run.executed, as_version=4)
    said = check_outputs(executed)
    assert all(text.startswith("Not done yet.") for text in said[::2]), said
    assert all(text.startswith("Correct.") for text in said[1::2]), said
    assert "Warning" not in stderr_of(executed), stderr_of(executed)
    assert run.peak_bytes < MOST_MEMORY


def bound(tree: ast.AST) -> set[str]:
    """The names that code binds outside functions."""
    inner = {
        id(node) for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.Lambda) for node in ast.walk(each)
    }
    names = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
    return names | {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in inner
    }


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_nothing_but_its_check_uses_what_a_reader_writes(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    written: set[str] = set()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        tree, tags = ast.parse(cell.source), cell.metadata.get("tags", [])
        if "exercise" in tags:
            written |= bound(tree)
        elif "check" not in tags:
            written -= bound(tree)
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not used & written, f"{sorted(used & written)} is the reader's: an unsolved notebook stops here"


def test_there_are_notebooks_to_run() -> None:
    assert PATHS and {path.name for path in PATHS} == {p.name for p in (ROOT / FOLDERS["solution"]).glob("*.ipynb")}
