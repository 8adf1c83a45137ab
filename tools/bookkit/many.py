"""Running many notebooks, several at a time, each in processes of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import psutil
from tqdm import tqdm

from bookkit.running import Run, run_notebook

MEMORY = 2_000_000_000  # bytes of free memory for each notebook; the largest one takes two thirds of it
MOST = 4  # notebooks at a time: with more, the longest of them decides when all are done


def usual_jobs() -> int:
    """Return how many notebooks this machine runs at a time: one a core, as far as the free memory goes, up to 4."""
    free = int(psutil.virtual_memory().available // MEMORY)
    return max(1, min(joblib.cpu_count(), free, MOST))


def run_notebooks(
    paths: Sequence[Path], out: Path, given: Mapping[str, Any], cell_timeout: int, jobs: int
) -> Iterator[Run]:
    """Yield each notebook's run as soon as it is done.

    With more than one at a time the cores are shared out: each kernel computes with its part of them.

    Args:
        paths: the notebooks; they are begun in this order.
        out: folder of the results, which keep the notebooks' names.
        given: parameters by name.
        cell_timeout: seconds that one cell may take.
        jobs: notebooks at a time, at least 1.
    """
    jobs = min(jobs, len(paths))
    run = joblib.delayed(partial(run_notebook, given=given, cell_timeout=cell_timeout, progress=jobs == 1))
    calls = [
        run(path, out / path.name, label=f"{number}/{len(paths)} {path.stem}") for number, path in enumerate(paths, 1)
    ]
    runs = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
    # Bars of several processes would write over each other: one bar counts notebooks then.
    yield from tqdm(runs, "notebooks", len(paths), leave=False, disable=True if jobs == 1 else None)
