"""Many experiments, each once: a sweep that resumes where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pcvr.experiments.experiment import Experiment
from pcvr.experiments.run import run_experiment
from pcvr.utils.files import read_json, write_json
from pcvr.utils.places import check_place


def sweep(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    jobs: int = 1,
    adapters: bool = False,
    progress: bool = True,
    run: Callable[..., dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Run each experiment once; read the result instead if `folder` has it.

    Args:
        experiments: what to run.
        folder: keeps each result as soon as it exists, so that an interrupted sweep can be resumed.
        jobs: experiments at a time, by joblib; with its dask or ray backend the same call runs on a cluster.
        adapters: whether each adapter is kept too, in a folder named by the experiment's key.
        progress: whether a bar is shown.
        run: runs one experiment, with the arguments of `run_experiment`, which is the default. Give each function its
            own `folder`: results are identified by their experiments alone.

    Returns:
        The results in the order of `experiments`.
    """
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    check_place(folder, own=lambda _: True)
    calls = (delayed(_kept)(e, Path(folder), adapters, run) for e in experiments)
    work = Parallel(n_jobs=jobs, return_as="generator")(calls)
    return list(tqdm(work, total=len(experiments), desc="experiments", disable=not progress))


def _kept(
    experiment: Experiment, folder: Path, adapters: bool, run: Callable[..., dict[str, Any]] | None
) -> dict[str, Any]:
    file, adapter = folder / f"{experiment.key}.json", folder / experiment.key
    if not file.is_file() or (adapters and not adapter.is_dir()):
        shutil.rmtree(adapter, ignore_errors=True)  # of an interrupted run
        write_json(file, (run or run_experiment)(experiment, save=adapter if adapters else None))
    kept: dict[str, Any] = read_json(file, "the result")
    return kept | {"experiment": experiment.to_dict()} if "experiment" in kept else kept  # older files: other names
