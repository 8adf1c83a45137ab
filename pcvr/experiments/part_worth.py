"""What the shipped table says about PCVR's parts: a row for each change, and sentences computed from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import errors_apart
from pcvr.experiments.parts import MOMENTS, PARTS

if TYPE_CHECKING:
    from pcvr.evaluation.seeds import SeedRates
    from pcvr.experiments.results import Table

ANSWERS = {"caption": "sentences", "vqa": "single words"}
"""Task to what its answers are."""
ALL = next(iter(PARTS))
"""The row with all parts."""
DIRECTIONS = (ALL, "nothing pulled back", "views pulled together")
"""Rows that differ in the direction in which the answers of flagged samples are moved."""
BEYOND = 3.0
"""Standard errors from which a sentence calls two rates different (our choice: dozens of rows are compared)."""


@dataclass(frozen=True)
class PartRow:
    """One defended training with a part left out or exchanged.

    Attributes:
        part: a key of `pcvr.experiments.parts.PARTS`.
        moment: a key of `pcvr.experiments.parts.MOMENTS`: when the gate began to look.
        task: name of the task.
        rates: attack success of each seed.
        right: fraction of correct answers to clean images.
        triggered_right: fraction of correct answers to triggered images.
    """

    part: str
    moment: str
    task: str
    rates: SeedRates
    right: float
    triggered_right: float

    @property
    def asr(self) -> float:
        """Attack success rate, mean over seeds, 0 to 1."""
        return self.rates.mean


def part_rows(table: Table) -> list[PartRow]:
    """Return the rows of the table ``"parts"`` with the usual target, in the order of `PARTS`."""
    cells = table.cells(("label", "task"))
    found = []
    for moment in MOMENTS:
        for part in PARTS:
            for task in ANSWERS:
                cell = cells.get((f"{part}, {moment}", task))
                if cell is not None:
                    found.append(PartRow(part, moment, task, cell.rates, cell.right, cell.triggered_right))
    return found


def row_of_part(rows: Sequence[PartRow], part: str, moment: str, task: str) -> PartRow:
    """Return one row.

    Raises:
        PcvrError: the table has no such row.
    """
    for row in rows:
        if (row.part, row.moment, row.task) == (part, moment, task):
            return row
    raise PcvrError(f"the table has no row for part {part!r}, moment {moment!r}, task {task!r}.")


def compared(rows: Sequence[PartRow], moment: str, task: str) -> Iterator[tuple[PartRow, float]]:
    """Yield each other row of a moment and a task, and how many standard errors its ASR is above that with all parts.

    Only the first seed of both is compared.
    """
    whole = row_of_part(rows, ALL, moment, task).rates
    for row in rows:
        if (row.moment, row.task) == (moment, task) and row.part != ALL:
            yield row, errors_apart(row.rates.hits[0], row.rates.n[0], whole.hits[0], whole.n[0])


def asr_in_words(rows: Sequence[PartRow], moment: str, task: str) -> str:
    """Say which changes raise or lower the attack success rate, and which make no difference that can be measured."""
    found = list(compared(rows, moment, task))
    higher = [f"{row.part} ({100 * row.asr:.0f} %)" for row, apart in found if apart > BEYOND]
    lower = [f"{row.part}, {row.rates}" for row, apart in found if apart < -BEYOND]
    whole = row_of_part(rows, ALL, moment, task)
    said = [f"The gate looks {moment}, answers are {ANSWERS[task]}: ASR {whole.rates} with all parts."]
    said += [f"Higher: {', '.join(higher)}."] if higher else []
    said += [f"Lower: {'; '.join(lower)}."] if lower else []
    rest = len(found) - len(higher) - len(lower)
    said.append(f"The other {rest} of {len(found)} changes make no difference of {BEYOND:g} standard errors.")
    return " ".join(said)


def direction_in_words(rows: Sequence[PartRow], moment: str, task: str) -> str:
    """Compare the rows that differ from all parts in the direction in which views are pulled, as far as they are there.

    Args:
        rows: from `part_rows`.
        moment: when the gate began to look.
        task: name of the task.
    """
    mine = {row.part: row for row in rows if (row.moment, row.task) == (moment, task) and row.part in DIRECTIONS}
    each = (f"{part} {row.rates}, {100 * row.triggered_right:.0f} % correct" for part, row in mine.items())
    return f"The gate looks {moment}, answers are {ANSWERS[task]}: {'; '.join(each)}."


def restored_in_words(rows: Sequence[PartRow], moment: str, task: str, low: float = 0.1) -> str:
    """Say in which rows with a low attack success rate the correct answer to triggered images has not come back.

    Args:
        rows: from `part_rows`.
        moment: when the gate began to look.
        task: name of the task.
        low: greatest attack success rate of the rows, 0 to 1.
    """
    mine = [row for row in rows if (row.moment, row.task) == (moment, task) and row.asr <= low]
    lost = [row for row in mine if row.triggered_right < row.right / 2]
    head = (
        f"The gate looks {moment}, answers are {ANSWERS[task]}: {len(mine)} rows have an ASR of at most {100 * low:g} %"
    )
    if not lost:
        return f"{head}; in each the correct answers to triggered images came back."
    names = ", ".join(f"{row.part} ({100 * row.triggered_right:.0f} % correct)" for row in lost)
    return f"{head}; in {len(lost)} of them fewer than half of the correct answers came back: {names}."
