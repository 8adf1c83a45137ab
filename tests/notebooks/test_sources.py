"""The notebooks of the checkout are what their sources make, and hold nothing that a run leaves behind."""

from pathlib import Path

import nbformat
import pytest
from bookkit.editions import FOLDERS, differences
from bookkit.source import cells_of, headings, parameters, problems, summary

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path for folder in FOLDERS.values() for path in (ROOT / folder).glob("*.ipynb"))


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_every_notebook_is_what_its_source_makes():
    assert differences(ROOT) == []


def test_there_are_notebooks():
    assert (ROOT / "notebooks" / "00_start_here.ipynb").exists(), "make lab opens it"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_nothing_of_a_run_is_kept(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info.name == "python"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_title_headings_and_parameters(path):
    cells = cells_of(nbformat.read(path, as_version=4))
    assert problems(cells) == []
    assert sum(level == 1 for level, _ in headings(cells)) == 1
    assert summary(cells), "a sentence under the title says what the notebook is about: the index page quotes it"
    assert parameters(cells)["fast"] is False
