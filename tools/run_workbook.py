"""Run the notebooks in order and write them, with pages to read and an index, to build/workbook/.

python tools/run_workbook.py                 every notebook in its default mode
python tools/run_workbook.py --only 05       one of them
python tools/run_workbook.py --solutions     the solution edition
python tools/run_workbook.py -p retrain=True another value for a parameter
python tools/run_workbook.py --jobs 1        one at a time; by default as many as cores and memory allow, up to 4
python tools/run_workbook.py --record        note time and peak memory of each, alone, in docs/workbook.json
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bookkit.editions import FOLDERS
from bookkit.figures import record
from bookkit.many import run_notebooks, usual_jobs
from bookkit.report import clock, size, write_html, write_index
from bookkit.running import CELL_TIMEOUT, Run, refuse_place, refuse_unknown
from bookkit.source import SourceError, named, notebooks_in
from tqdm import tqdm

from pcvr.utils.terminal import run_command

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run the workbook and return the exit status: 0 when every notebook ran through."""
    options = _options(arguments)
    folder = (
        ROOT / FOLDERS["solution" if options.solutions else "student"]
        if options.notebooks is None
        else options.notebooks
    )
    out = options.out or ROOT / "build" / ("workbook-solutions" if options.solutions else "workbook")
    try:
        given = {**_assignments(options.parameter), **({"fast": True} if options.fast else {})}
        paths = notebooks_in(folder)
        paths = named(paths, options.only) if options.only else paths
        for path in paths:
            refuse_unknown(path, given)
        refuse_place(out, [path.name for path in paths])
        if options.record and (given or options.solutions or options.notebooks):
            raise SourceError("--record notes the default mode of notebooks/: leave out what changes it.")
        if options.record and options.jobs not in (None, 1):
            raise SourceError("--record measures each notebook alone: leave out --jobs.")
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    jobs = 1 if options.record else options.jobs or usual_jobs()
    start = time.perf_counter()
    runs = []
    for run in run_notebooks(paths, out, given, options.timeout, jobs):
        runs.append(run)
        _say(run, f"{len(runs)}/{len(paths)}")
        if options.record:
            record(ROOT, [run])
    seconds = time.perf_counter() - start
    runs.sort(key=lambda run: run.name)
    mode = "default mode" if not given else ", ".join(f"{name}={value!r}" for name, value in given.items())
    index = write_index(runs, out, mode if jobs == 1 else f"{mode}, {jobs} at a time", seconds)
    return _conclude(runs, index, seconds)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="pass fast=True: small and quick, as in the tests")
    parser.add_argument("--only", metavar="NN", action="append", help="a notebook's number or name; may be repeated")
    parser.add_argument("--solutions", action="store_true", help="run solutions/ instead of notebooks/")
    parser.add_argument("--out", type=Path, help="folder of the results (build/workbook)")
    parser.add_argument("-p", "--parameter", metavar="NAME=VALUE", action="append", default=[], help="set a parameter")
    parser.add_argument("--jobs", type=_count, metavar="N", help="notebooks at a time")
    parser.add_argument("--timeout", type=_count, default=CELL_TIMEOUT, metavar="S", help="seconds for a cell")
    parser.add_argument("--record", action="store_true", help="note time and peak memory in docs/workbook.json")
    parser.add_argument("--notebooks", type=Path, help="folder to take the notebooks from")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, and got {text!r}")
    return int(text)


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SourceError(f"-p takes NAME=VALUE, and got {pair!r}.")
        try:
            found[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            found[name] = value  # a word without quotes is that word
    return found


def _say(run: Run, count: str) -> None:
    write_html(run)
    word = "ran through" if run.error is None else "FAILED"
    tqdm.write(f"{count:>5} {run.name:<26} {word:<12} {clock(run.seconds):>12} {size(run.peak_bytes):>9}")
    sys.stdout.flush()


def _conclude(runs: Sequence[Run], index: Path, seconds: float) -> int:
    failed = [run for run in runs if run.error is not None]
    print(f"\n{len(runs) - len(failed)} of {len(runs)} notebooks ran through in {clock(seconds)}.")
    for run in failed:
        print(f"{run.name} failed: {run.error}. Its page shows how far it came: {run.executed.with_suffix('.html')}")
    print(f"Read them in a browser:      {index}")
    print("Work in them in JupyterLab:  make lab   (opens your own copies, in work/)")
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
