"""Running one notebook in a kernel, with its time, its memory and, when it fails, the cell and the reason."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG

from bookkit.kernels import this_kernel
from bookkit.memory import peak_of_children
from bookkit.source import Cell, SourceError, cells_of, headings, parameters, summary, title
from pcvr.errors import PcvrError
from pcvr.utils.places import check_place

# Limits for what hangs: a busy machine makes everything many times slower, and fails nothing.
CELL_TIMEOUT = 7200  # seconds, fifty times what any cell takes alone; papermill's own default is to wait for ever
START_TIMEOUT = 900  # seconds for a kernel to start; alone it takes one
_UNDER_WAY = ".running"  # folder beside the results, for a notebook that is not done
_LINE = 60  # characters of a cell that an error quotes


@dataclass(frozen=True)
class Run:
    """What one execution gave.

    Attributes:
        name: the notebook's file stem.
        title: its level-one heading.
        summary: the first sentence under the title.
        seconds: wall time, the kernel's start included.
        peak_bytes: the largest resident memory of the kernel and its children.
        longest: seconds of the cell that took longest.
        executed: the notebook with its outputs.
        error: why it failed, in one sentence; None when it ran through.
    """

    name: str
    title: str
    summary: str
    seconds: float
    peak_bytes: int
    longest: float
    executed: Path
    error: str | None


def refuse_place(out: Path, names: Sequence[str]) -> None:
    """Stop before running unless the results can be written to `out`, over nothing but older results.

    Args:
        out: folder of the results.
        names: of the notebooks' files.

    Raises:
        SourceError: what is in the way.
    """
    try:
        check_place(out, own=lambda _: True)
    except PcvrError as problem:
        raise SourceError(str(problem)) from None
    for name in names:
        if (out / name).exists() and not _is_result(out / name):
            raise SourceError(f"{out / name} is no result of an earlier run: give --out another folder.")


def _is_result(path: Path) -> bool:
    try:
        return "papermill" in nbformat.read(path, as_version=4).metadata
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def refuse_unknown(path: Path, given: Mapping[str, Any]) -> None:
    """Stop before running when a parameter's name is not declared: papermill itself would only warn.

    Raises:
        SourceError: names the parameter and the ones that exist.
    """
    try:
        known = parameters(_cells(path))
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from None
    for name in given:
        if name not in known:
            raise SourceError(f"{path.name} has no parameter {name!r}: it has {', '.join(known) or 'none'}.")


def run_notebook(
    path: Path,
    executed: Path,
    given: Mapping[str, Any] | None = None,
    label: str = "",
    cell_timeout: int = CELL_TIMEOUT,
    progress: bool = True,
) -> Run:
    """Execute a notebook and write it, with outputs, to ``executed``; a failing cell is reported, not raised.

    It runs in an empty folder of its own, so that it can rest on nothing but the installed package.

    Args:
        path: the notebook.
        executed: where the result goes, whole, once the notebook is done or has failed. Until then it is in a hidden
            folder beside it, written after every cell.
        given: parameters by name.
        label: text before the progress bar, which counts cells; no bar on anything but a terminal.
        cell_timeout: seconds that one cell may take.
        progress: whether there is a progress bar.

    Raises:
        SourceError: an unknown parameter.
    """
    given = dict(given or {})
    refuse_unknown(path, given)
    cells = _cells(path)
    under_way = executed.parent / _UNDER_WAY / executed.name
    under_way.parent.mkdir(parents=True, exist_ok=True)
    error = None
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="pcvr-run-") as folder, this_kernel(), peak_of_children() as peak:
        try:
            papermill.execute_notebook(
                path.resolve(),
                under_way.resolve(),
                parameters=given,
                kernel_name="python3",
                start_timeout=START_TIMEOUT,
                execution_timeout=cell_timeout,
                cwd=folder,
                progress_bar={"desc": label or path.stem, "leave": False, "disable": None if progress else True},
            )
        except PapermillExecutionError as failure:
            ran = [cell for cell in _cells(under_way) if ERROR_MARKER_TAG not in cell.tags]  # they come with an error
            error = f"{place(ran, failure.cell_index)} raised {failure.ename}: {failure.evalue}"
        except CellTimeoutError:
            error = f"{_last_begun(under_way)} {too_long(cell_timeout)}"
        except DeadKernelError:
            error = f"the kernel died in {_last_begun(under_way)}, most likely because memory ran out"
        except RuntimeError as failure:  # of the kernel's start, which has no class of its own
            error = f"the kernel did not start: {failure}; run it again when the machine has less to do"
    seconds = time.perf_counter() - start
    longest = _longest(under_way)
    os.replace(under_way, executed)
    with suppress(OSError):  # another run may have its notebook there
        under_way.parent.rmdir()
    return Run(path.stem, title(cells), summary(cells), seconds, peak.bytes, longest, executed, error)


def place(cells: Sequence[Cell], index: int) -> str:
    """Where a reader finds a cell: its number from 1, the heading above it and its first line."""
    above = headings(cells[:index])
    heading = f"under {above[-1][1]!r}, " if above else ""
    line = next((line for line in cells[index].text.splitlines() if line.strip()), "")
    quoted = line if len(line) <= _LINE else line[:_LINE] + "..."
    return f"cell {index + 1} ({heading}{quoted!r})"


def too_long(seconds: int) -> str:
    """What is said of a cell that ran into the limit, and what to do."""
    return (
        f"took longer than {seconds} s: other work on the machine may slow it down; "
        f"give each cell longer with make workbook ARGS='--timeout {2 * seconds}'"
    )


def _longest(executed: Path) -> float:
    """Seconds of the cell that took longest."""
    cells = nbformat.read(executed, as_version=4).cells
    return max((cell.metadata.get("papermill", {}).get("duration") or 0.0 for cell in cells), default=0.0)


def _last_begun(executed: Path) -> str:
    """The place of the last cell that papermill started."""
    notebook = nbformat.read(executed, as_version=4)
    begun = [i for i, cell in enumerate(notebook.cells) if cell.metadata["papermill"]["start_time"]]
    return place(cells_of(notebook), begun[-1])


def _cells(path: Path) -> tuple[Cell, ...]:
    return cells_of(nbformat.read(path, as_version=4))
