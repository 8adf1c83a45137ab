"""What one notebook says about itself and the others: minutes, the table of contents, the link to the next one.

A source writes a marker, ``<!-- time -->``, ``<!-- contents -->`` or ``<!-- next -->``; `filled` puts the text there.
So a table of contents cannot miss a notebook, and a link to the next one cannot skip it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bookkit.source import Cell, Source, SourceError, summary, title
from pcvr.utils.files import read_json

WORDS_A_MINUTE = 200
"""Of technical prose in a foreign language. Code counts by its words too."""
TABLE = Path("docs") / "workbook.json"
"""Where the running times of the notebooks are recorded."""
LOOK = 0.3
"""Minutes to run a code cell and to look at what it shows, in the mean over cells with a figure and without."""
_CARD = re.compile(r"<!--\s*card\b[^>]*\bminutes=(\d+)")
_MARKER = re.compile(r"<!--\s*(time|contents|next)\s*-->")
_FIVE = 5
"""Minutes are rounded up to a multiple of this: nobody reads to the minute."""


def number(name: str) -> str:
    """The number of a notebook: ``"05b"`` of ``"05b_terms"``."""
    return name.partition("_")[0]


def heading(source: Source) -> tuple[str, str]:
    """The title in two parts, as in ``"The backdoor: an ordinary fine-tuning"``; the second may be the summary."""
    short, colon, rest = title(source.cells).partition(": ")
    return short, rest if colon else summary(source.cells).rstrip(".")


def minutes_of_reading(source: Source) -> float:
    """Minutes to read a notebook and to look at what its cells show; exercises not included.

    Folded texts count; solutions and the marks of Markdown do not.
    """
    words = sum(len(re.findall(r"\w[\w'-]*", _read(cell))) for cell in source.cells)
    looks = sum(cell.kind == "code" and "exercise" not in cell.tags for cell in source.cells)
    return words / WORDS_A_MINUTE + LOOK * looks


def reading_minutes(source: Source) -> int:
    """The same, rounded up to five."""
    return _FIVE * ceil(minutes_of_reading(source) / _FIVE)


def exercise_minutes(source: Source) -> list[int]:
    """Minutes on the cards of a notebook's exercises."""
    return [int(found) for cell in source.cells for found in _CARD.findall(cell.text)]


def time_line(source: Source) -> str:
    """Say how long a notebook takes: ``"**Time:** 30 minutes to read, 25 for three exercises."``"""
    minutes = exercise_minutes(source)
    line = f"**Time:** {reading_minutes(source)} minutes to read and run"
    if not minutes:
        return f"{line}."
    exercises = "one exercise" if len(minutes) == 1 else f"the {_count(len(minutes))} exercises"
    return f"{line}, {sum(minutes)} more for {exercises}."


def recorded(root: Path) -> dict[str, dict[str, Any]]:
    """Return what was recorded of each notebook: ``seconds``, ``longest_cell`` (seconds), ``peak_mb``, and how."""
    if not (root / TABLE).exists():
        return {}
    found: dict[str, dict[str, Any]] = read_json(root / TABLE, "the table of the notebooks")["notebooks"]
    return found


def measured(root: Path) -> dict[str, float]:
    """Seconds that each notebook took when it was last recorded, by name; empty if nothing was recorded."""
    return {name: float(row["seconds"]) for name, row in recorded(root).items()}


def contents(shelf: Sequence[Source], here: str, runs: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> str:
    """The table of all notebooks in reading order, as Markdown.

    Args:
        shelf: every source, in reading order.
        here: the name of the notebook in which the table stands; it has no link to itself.
        runs: from `recorded`; without any, the table has no columns for time and memory.
    """
    heads = ["", "notebook", "what it is about", "to read", "exercises", *(["to run", "memory"] if runs else [])]
    rows = [f"| {' | '.join(heads)} |".replace("|  |", "| |", 1), "|" + " --- |" * len(heads)]
    for source in shelf:
        short, about = heading(source)
        link = f"**{short}** (you are here)" if source.name == here else f"[{short}]({source.name}.ipynb)"
        minutes = exercise_minutes(source)
        tasks = f"{len(minutes)}, {sum(minutes)} min" if minutes else "none"
        columns = [number(source.name), link, about, f"{reading_minutes(source)} min", tasks]
        rows.append(f"| {' | '.join([*columns, *(_taken(runs.get(source.name, {})) if runs else [])])} |")
    return "\n".join(rows)


def next_line(shelf: Sequence[Source], here: str) -> str:
    """The link to the next notebook, ``"**Next:** [04 The premise](04_the_premise.ipynb)"``; the last has none.

    The sentence goes on in the source: it says what is next.
    """
    names = [source.name for source in shelf]
    following = shelf[names.index(here) + 1 :]
    if not following:
        return "**The end.**"
    source = following[0]
    return f"**Next:** [{number(source.name)} {heading(source)[0]}]({source.name}.ipynb)"


def filled(cell: Cell, source: Source, shelf: Sequence[Source], runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a Markdown cell with its markers replaced.

    Args:
        cell: of `source`.
        source: the notebook.
        shelf: every source, in reading order.
        runs: from `recorded`.

    Raises:
        SourceError: `source` is not on the shelf.
    """
    if source.name not in [each.name for each in shelf]:
        raise SourceError(f"{source.name} is not among the notebooks: {', '.join(each.name for each in shelf)}.")
    made: Mapping[str, str] = {
        "time": time_line(source),
        "contents": contents(shelf, source.name, runs),
        "next": next_line(shelf, source.name),
    }
    return _MARKER.sub(lambda match: made[match[1]], cell.text)


def _read(cell: Cell) -> str:
    """What a reader reads of a cell: Markdown without comments, addresses and formulas; code without exercises."""
    if cell.kind == "code":
        return "" if "exercise" in cell.tags else cell.text
    plain = re.sub(r"<!--.*?-->|<[^>]+>|\$\$.*?\$\$", " ", cell.text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", plain)


def _taken(run: Mapping[str, Any]) -> list[str]:
    """What a run took: time and peak memory."""
    memory = f"{run['peak_mb']} MB" if "peak_mb" in run else "not measured"
    return [_clock(run["seconds"]) if "seconds" in run else "not measured", memory]


def _clock(seconds: float) -> str:
    """A measured time, rounded up: machines differ by more than that."""
    return f"{10 * ceil(seconds / 10)} s" if seconds <= 90 else f"{ceil(seconds / 60)} min"


def _count(n: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six")
    return words[n] if n < len(words) else str(n)
