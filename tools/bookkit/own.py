"""The reader's own copies of the notebooks, in work/: made once, never overwritten, kept as a backup before a reset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from bookkit.editions import FOLDERS
from bookkit.origin import origin, untouched
from bookkit.source import SourceError, named, notebooks_in
from pcvr.utils.files import write_bytes
from pcvr.utils.places import alone

WORK = "work"
BACKUPS = "backups"
_LOCK = "copies"


def refresh(root: Path) -> list[str]:
    """Bring ``root/work`` up to date with ``root/notebooks`` without losing anything that a reader wrote.

    A notebook without a copy gets one. A copy that nobody has changed or run becomes the new version. Beside any other
    copy of an earlier version the new one is put, as ``NN_name (new).ipynb``.

    Returns:
        A sentence for each notebook that needs the reader's decision.

    Raises:
        SourceError: there is no notebook.
        PcvrError: the folder cannot be written, or another process is writing there.
    """
    here = root / WORK
    sources = notebooks_in(root / FOLDERS["student"])
    with alone(here / _LOCK, f"the notebooks in {here}"):
        said = [sentence for source in sources for sentence in _refreshed(source, here / source.name)]
        return [*said, *_left_over(here, {source.stem for source in sources})]


def _refreshed(source: Path, copy: Path) -> Iterator[str]:
    newest = origin(source)
    if newest is None:
        yield f"{_name(source)} cannot be read as a notebook: run 'make notebooks ARGS=--force'."
    elif not copy.exists():
        write_bytes(copy, source.read_bytes(), new=True)
    elif (mine := origin(copy)) is None:
        yield f"{_name(copy)} cannot be read as a notebook and was left as it is: {_advice(copy)}."
    elif mine.version == newest.version:
        return
    elif untouched(copy):
        write_bytes(copy, source.read_bytes())
    else:
        beside = _beside(copy)
        if not beside.exists() or untouched(beside):
            write_bytes(beside, source.read_bytes())
            yield (
                f"{_name(copy)} is of an earlier version and was left as it is; {_name(beside)} is the new one: "
                f"{_advice(copy)}."
            )
        elif origin(beside) != newest:
            yield (
                f"You have worked in {_name(copy)} and {_name(beside)}, and there is a newer version: {_advice(copy)}."
            )


def _left_over(here: Path, present: set[str]) -> Iterator[str]:
    """Copies of notebooks that the workbook no longer has: removed where a reader has left nothing in them."""
    for copy in sorted(here.glob("*.ipynb")):
        made = origin(copy)
        if made is None or made.name in present or copy.stem != made.name:  # a renamed one is the reader's own
            continue
        if untouched(copy):
            copy.unlink()
        else:
            yield f"{_name(copy)} was kept, and the workbook no longer has this notebook: rename it or delete it."


def reset(root: Path, wanted: Sequence[str], agree: Callable[[str], bool]) -> list[str]:
    """Replace copies by fresh ones; what stood there is kept in ``work/backups``.

    Args:
        root: the checkout.
        wanted: numbers or names of notebooks.
        agree: gets a text and returns whether to go on; asked for each copy that a reader has changed or run.

    Returns:
        A sentence for each notebook.

    Raises:
        SourceError: no notebook has that number or name, or one of them cannot be read.
        PcvrError: the folder cannot be written, or another process is writing there.
    """
    here = root / WORK
    sources = named(notebooks_in(root / FOLDERS["student"]), wanted)
    for source in sources:
        if origin(source) is None:
            raise SourceError(f"{_name(source)} cannot be read as a notebook: run 'make notebooks ARGS=--force'.")
    with alone(here / _LOCK, f"the notebooks in {here}"):
        return [_reset(source, here / source.name, agree) for source in sources]


def _reset(source: Path, copy: Path, agree: Callable[[str], bool]) -> str:
    done = f"{_name(copy)} is fresh."
    if copy.exists() and not untouched(copy):
        if not agree(f"{_name(copy)} goes to {WORK}/{BACKUPS}/, and a fresh copy takes its place."):
            return f"{_name(copy)} was left as it is."
        kept = keep(copy, copy.parent)
        done += f" What you had is in {WORK}/{BACKUPS}/{kept.name}; reload the page if it is open in JupyterLab."
    write_bytes(copy, source.read_bytes())
    beside = _beside(copy)
    if beside.exists() and untouched(beside):
        beside.unlink()
    return done


def keep(path: Path, here: Path) -> Path:
    """Copy a file to the folder ``backups`` in `here`, under its name and the time, and return where it is."""
    stamp = datetime.now().strftime("%Y-%m-%d %H.%M.%S")
    names = (f"{path.stem} {stamp}{f' {n}' if n > 1 else ''}{path.suffix}" for n in itertools.count(1))
    target = next(place for name in names if not (place := here / BACKUPS / name).exists())
    write_bytes(target, path.read_bytes(), new=True)
    return target


def _beside(copy: Path) -> Path:
    return copy.with_name(f"{copy.stem} (new){copy.suffix}")


def _advice(copy: Path) -> str:
    number = copy.name.split("_")[0]
    return f"'make reset NB={number}' keeps yours in {WORK}/{BACKUPS}/ and makes a fresh copy"


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
