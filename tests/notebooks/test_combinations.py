"""Every notebook that takes a model and a task runs with other ones, fast.

Each runs with `PAIRS` of the other pairs of embedded model and task, in turn, so that each pair meets several
notebooks; with ``PCVR_EVERY_PAIR=1`` in the environment, with all of them. One kernel runs all notebooks of a pair one
after the other, each in a fresh namespace with its parameters set as papermill sets them: so the libraries, which take
longer than most notebooks, are imported once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bookkit.kernels import this_kernel
from bookkit.running import START_TIMEOUT, place, too_long
from bookkit.source import NAME, cells_of, parameters
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.parameterize import parameterize_notebook

from pcvr.experiments.results import FOLDER
from pcvr.models.zoo import EMBEDDED
from pcvr.utils.files import read_json
from tests.shipped import SHIPPED_TASKS

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if NAME.fullmatch(path.stem))
BOTH = {
    "00_start_here",
    "02_poisoning",
    "03_the_backdoor",
    "04_the_premise",
    "05_pcvr",
    "05b_the_terms",
    "06_output_distributions",
    "06b_many_images",
}
HOME = ("tiny-llava", "caption")  # what the notebooks say by themselves: test_run.py runs that
CASES = [case for model in EMBEDDED for task in SHIPPED_TASKS if (case := (model, task)) != HOME]
PAIRS = len(CASES) if os.environ.get("PCVR_EVERY_PAIR") else 1
HANGS = 3600  # seconds for a pair that takes two minutes alone
COMPARES = "01_meet_the_model"  # lays the models side by side, and so names them all
RESET = "%reset -f"
NOTES = [note for path in FOLDER.glob("*.json") for note in read_json(path, "a shipped table").get("notes", ())]
"""What the shipped tables say of themselves, and so of all tasks."""


def taken(case: tuple[str, str]) -> list[Path]:
    """The notebooks that run with a pair of model and task."""
    open_ones = [path for path in NOTEBOOKS if takes_both(path)]
    turn = CASES.index(case)
    return [path for number, path in enumerate(open_ones) if (number + turn) % len(CASES) < PAIRS]


def takes_both(path: Path) -> bool:
    return {"model", "task"} <= parameters(cells_of(nbformat.read(path, as_version=4))).keys()


def joined(paths: Sequence[Path], given: dict[str, Any]) -> Any:
    """Notebooks as one, each code cell with a note where it comes from."""
    cells = []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        plain = cells_of(notebook)
        known = parameters(plain)
        notebook.metadata["papermill"] = {}
        for number, cell in enumerate(notebook.cells):
            cell.metadata.setdefault("tags", [])  # papermill looks for them in every cell
            cell.metadata["where"] = f"{path.stem}, {place(plain, number)}"
        filled = parameterize_notebook(notebook, {name: value for name, value in given.items() if name in known})
        code = [cell for cell in filled.cells if cell.cell_type == "code"]
        cells += [
            # Fresh cells: notebooks may hold cells of the same text, and so of the same id.
            nbformat.v4.new_code_cell(text, metadata={"where": where})
            for text, where in (
                (RESET, f"{path.stem}, before its first cell"),
                *((cell.source, cell.metadata.get("where", f"{path.stem}, parameters")) for cell in code),
            )
        ]
    return nbformat.v4.new_notebook(cells=cells)


def run_all(paths: Sequence[Path], given: dict[str, Any], folder: Path) -> Any:
    """Run notebooks in an empty `folder` with these parameters; a failing cell is named.

    Returns:
        The joined notebook with its outputs.
    """
    notebook = joined(paths, given)
    client = NotebookClient(
        notebook,
        timeout=HANGS,
        startup_timeout=START_TIMEOUT,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        with this_kernel():
            client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
        begun = [cell.metadata.where for cell in notebook.cells if cell.execution_count is not None]
        why = too_long(HANGS) if isinstance(failure, CellTimeoutError) else f"failed: {failure}"
        pytest.fail(f"{begun[-1] if begun else 'the kernel'} {why}", pytrace=False)
    return notebook


def shown(cell: Any) -> str:
    """What a cell printed, and the texts of its figures."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif "data" in output:
            texts.append("".join(output.data.get("text/plain", "")))
    return "\n".join(texts)


def test_the_notebooks_take_a_model_and_a_task():
    stems = {path.stem for path in NOTEBOOKS}
    assert stems >= BOTH
    for path in NOTEBOOKS:
        assert takes_both(path) or path.stem not in BOTH, path.stem


def test_each_runs_with_other_pairs_and_each_pair_runs_some():
    runs = {case: taken(case) for case in CASES}
    assert all(runs.values())
    for path in filter(takes_both, NOTEBOOKS):
        assert sum(path in paths for paths in runs.values()) == PAIRS


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.timeout(HANGS)
@pytest.mark.parametrize(("model", "task"), CASES, ids=["-".join(case) for case in CASES])
def test_every_notebook_runs(model, task, tmp_path):
    if not (EMBEDDED[model].folder / "config.json").is_file():
        pytest.skip(f"{model} is not in this checkout")
    notebook = run_all(taken((model, task)), {"model": model, "task": task, "fast": True}, tmp_path)
    assert not any(tmp_path.iterdir()), "a notebook left files behind"
    for cell in notebook.cells:
        said = shown(cell)
        assert "Warning" not in said, f"{cell.metadata.where}: {said}"
        # What is said of another task's answers or of another model would be wrong here.
        if not any(f"for each {what}" in said for what in ("defence", "model", "attack")):  # the shipped tables
            others = ["caption"] if task != "caption" else ["VQA"]
            if not cell.metadata.where.startswith(COMPARES):
                others += [name for name in EMBEDDED if name != model]
            own = reduce(lambda text, note: text.replace(note, ""), NOTES, said)
            wrong = [word for word in others if word in own]
            assert not wrong, f"{cell.metadata.where} speaks of {wrong}: {said}"
