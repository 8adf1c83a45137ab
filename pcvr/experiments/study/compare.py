"""One defence against each of the others, attack by attack: paired differences, adjusted by Holm over the attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pcvr.errors import PcvrError
from pcvr.experiments.study.sheets import Sheet
from pcvr.experiments.study.statistics import Paired, holm, paired_over_seeds


@dataclass(frozen=True)
class Comparison:
    """A pair of defences under one attack.

    Attributes:
        row: label of the defence.
        other: label of the one it is compared with.
        attack: title of the column.
        pairs: the difference of attack success for each seed that both have; negative is better for `row`.
        p: of a difference in every seed.
        adjusted: `p` adjusted by Holm over the attacks of this pair of defences.
    """

    row: str
    other: str
    attack: str
    pairs: tuple[Paired, ...]
    p: float
    adjusted: float

    def __str__(self) -> str:
        each = "; ".join(
            f"{100 * one.difference:+.1f} points [{100 * one.interval[0]:+.1f}, {100 * one.interval[1]:+.1f}]"
            for one in self.pairs
        )
        return f"{each}, p {p_in_words(self.adjusted)}"


def p_in_words(p: float) -> str:
    """Return a p-value as it is printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def ours(sheet: Sheet) -> str | None:
    """Return the row that the others are compared with: the first of the defence ``pcvr``, or None."""
    for row in sheet.rows:
        planned = [cell for (label, _), part in sheet.cells.items() if label == row for cell in part.planned.values()]
        if planned and all(cell.defense == "pcvr" for cell in planned):
            return row
    return None


def comparisons(sheet: Sheet, row: str) -> list[Comparison]:
    """Return `row` against each other row, under each attack that is known to have taken and that both were run on.

    Runs without outcomes of their samples (of older tables) make no pairs and are left out.

    Args:
        sheet: from `sheets_of`.
        row: label of the defence.
    """
    found = []
    for other in sheet.rows:
        if other == row:
            continue
        tested: list[tuple[str, list[Paired], float]] = []
        for column, title in sheet.columns.items():
            cells = sheet.at(row, column), sheet.at(other, column)
            if cells[0] is None or cells[1] is None or not sheet.attacked(column):
                continue
            if sheet.took(column) is not True:  # without a run that has no defence nobody knows
                continue
            try:
                pairs, p = paired_over_seeds(_kept(cells[0].runs), _kept(cells[1].runs))
            except PcvrError:
                continue
            tested.append((title, pairs, p))
        adjusted = holm([p for _, _, p in tested])
        found += [
            Comparison(row, other, title, tuple(pairs), p, more)
            for (title, pairs, p), more in zip(tested, adjusted, strict=True)
        ]
    return found


def _kept(runs: Any) -> list[Mapping[str, Any]]:
    """The runs that kept what became of their samples."""
    return [run for run in runs if isinstance(run.get("bits_hit"), str)]
