"""Every notebook runs, fast: the student edition unsolved, the solution edition with every check passed."""

from pathlib import Path

import nbformat
import pytest
from bookkit.editions import FOLDERS
from bookkit.running import CELL_TIMEOUT, run_notebook

ROOT = Path(__file__).resolve().parents[2]
MOST_MEMORY = 1.5e9  # bytes
CASES = [(which, path) for which, folder in FOLDERS.items() for path in sorted((ROOT / folder).glob("*.ipynb"))]


def stderr_of(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stderr")


def check_outputs(notebook):
    """What every check showed last, as plain text; a check that trains shows progress bars before."""
    cells = [cell for cell in notebook.cells if "check" in cell.metadata.get("tags", [])]
    shown = [[output.get("data", {}).get("text/plain", "") for output in cell.outputs] for cell in cells]
    return [texts[-1] if texts else "" for texts in shown]


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(2 * CELL_TIMEOUT)  # a cell runs into its own limit first, and is named
@pytest.mark.parametrize(("which", "path"), CASES, ids=[f"{which}-{path.stem}" for which, path in CASES])
def test_notebook_runs(which, path, tmp_path):
    run = run_notebook(path, tmp_path / path.name, {"fast": True})
    assert run.error is None
    executed = nbformat.read(run.executed, as_version=4)
    word = "Not done yet." if which == "student" else "Correct."
    assert all(text.startswith(word) for text in check_outputs(executed)), check_outputs(executed)
    assert "Warning" not in stderr_of(executed), stderr_of(executed)
    assert run.peak_bytes < MOST_MEMORY


def test_there_are_notebooks_to_run():
    assert {which for which, _ in CASES} == {"student", "solution"}
