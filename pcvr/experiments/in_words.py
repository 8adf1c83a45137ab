"""Sentences about shipped tables, computed from them: a notebook prints them, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pcvr.evaluation.intervals import at_most
from pcvr.experiments.grid import name_of
from pcvr.experiments.part_worth import ANSWERS, PartRow, row_of_part
from pcvr.experiments.parts import PROPOSERS

if TYPE_CHECKING:
    from pcvr.experiments.point import GridPoint
    from pcvr.experiments.results import Table

TAKES = 0.5
"""ASR from which a sentence says that a proposer alone does not stop the attack."""


def listed(names: Sequence[str]) -> str:
    """Return ``"a, b and c"``."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def spine_in_words(table: Table) -> str:
    """Compare PCVR with plain fine-tuning and with *augment only*, from the table ``"spine"``."""
    cells = {label: cell for (label,), cell in table.cells().items()}
    plain, rule, augment = (cells[name] for name in ("plain SFT", "PCVR", "augment only, one view"))
    clean = cells["clean data, plain"]
    kept = 100 * (rule.right - clean.right)
    return (
        f"{plain.seeds} seeds each. Plain SFT: ASR {plain.rates}. PCVR: {rule.rates}; correct captions "
        f"{100 * rule.right:.1f} % on clean and {100 * rule.triggered_right:.1f} % on triggered images ({kept:+.1f} "
        f"points against a training on clean data). Augment only: ASR {augment.rates}, correct captions "
        f"{100 * augment.right:.1f} % and {100 * augment.triggered_right:.1f} %."
    )


def proposers_in_words(rows: Sequence[PartRow]) -> str:
    """Say for which answers the gate finds the poison with both proposers and with each alone, from the first step on.

    Args:
        rows: from `pcvr.experiments.part_worth.part_rows`.
    """
    lines, fails = [], {}
    for part in PROPOSERS:
        mine = {task: row_of_part(rows, part, "early", task) for task in ANSWERS}
        lines.append(f"{part:<28}" + "; ".join(f"{ANSWERS[task]}: ASR {row.rates}" for task, row in mine.items()))
        fails[part] = [ANSWERS[task] for task, row in mine.items() if row.asr >= TAKES]
    alone = [f"{part} fails on {listed(found)}" for part, found in fails.items() if found]
    lines.append(f"In this table, {listed(alone)}." if alone else "In this table, each of them stops the attack.")
    return "\n".join(lines)


def premise_in_words(chances: Mapping[str, float], unclear: float = 0.05) -> str:
    """Say for which attacks a triggered image diverges less than a clean one, and for which the order is reversed.

    Args:
        chances: attack to the probability that a triggered image diverges less, 0 to 1.
        unclear: distance from 0.5 up to which neither is said.
    """
    holds = [name for name, chance in chances.items() if chance > 0.5 + unclear]
    reverse = [name for name, chance in chances.items() if chance < 0.5 - unclear]
    rest = [name for name in chances if name not in (*holds, *reverse)]
    said = [f"The premise holds for {len(holds)} of {len(chances)} attacks: {listed(holds) or 'none'}."]
    said += [f"It is reversed for {len(reverse)}: {listed(reverse)}."] if reverse else []
    said += [f"Neither can be said of {listed(rest)}."] if rest else []
    return " ".join(said)


def spread_in_words(points: Sequence[GridPoint], knob: str) -> str:
    """Say between which attack success rates the settings with each value of a hyperparameter lie.

    Args:
        points: of a `pcvr.experiments.grid.Grid`.
        knob: name of the hyperparameter, such as ``"view.fraction"``.
    """
    found: dict[float, list[GridPoint]] = {}
    for point in points:
        found.setdefault(dict(point.setting)[knob], []).append(point)

    def rate(point: GridPoint) -> str:
        return f"{100 * point.asr:.1f}" if point.hits else f"< {100 * at_most(point.n):.1f}"

    def ends(mine: Sequence[GridPoint]) -> str:
        least, most = rate(min(mine, key=lambda p: p.asr)), rate(max(mine, key=lambda p: p.asr))
        return least if least == most else f"{least} to {most}"

    each = "; ".join(f"{value:g}: {ends(mine)} %" for value, mine in sorted(found.items()))
    return f"ASR by {name_of(knob)}: {each}"
