"""Show PCVR away from home: each case with and without the defence, attack success beside utility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pcvr.evaluation.intervals import wilson
from pcvr.experiments.second_attacker import each_attacker
from pcvr.plots.describe import described
from pcvr.plots.seeds import seed_lines
from pcvr.plots.style import CLEAN, DEFENDED, INK, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.experiments.results import Cell, Table

_BY = ("label", "task", "attack")
_LOOKS = {"none": ("no defence", TRIGGERED, "o"), "pcvr": ("PCVR", DEFENDED, "s")}
_APART = 0.18
"""Distance of a case's two marks from the middle of its row."""


def away_picture(table: Table) -> Figure:
    """Draw a row for each case: attack success with its 95 % Wilson interval, and correct answers on clean images.

    Cases that ask something new have no attacker: their row shows the correct answers to what is new as well.

    Args:
        table: from ``pcvr.experiments.results.load("away")`` or `pcvr.experiments.results.read`.
    """
    from matplotlib.figure import Figure

    table = each_attacker(table)
    cells = table.cells((*_BY, "defense"))
    cases = list(dict.fromkeys(key[:-1] for key in cells))
    learned = _learned(table)
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.44 * len(cases) + 1.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row, case in enumerate(reversed(cases)):
            for place, (defense, (name, colour, marker)) in enumerate(_LOOKS.items()):
                cell = cells.get((*case, defense))
                if cell is None:
                    continue
                y = row + _APART * (1 - 2 * place)
                look = {"color": colour, "marker": marker, "ms": 7, "ls": "none", "label": name}
                new = learned.get((*case, defense))
                if new is None:
                    seed_lines(left, cell.rates, y, _APART, lw=1.2, zorder=1)
                    left.plot(100 * cell.asr, y, **look)
                right.plot(100 * cell.right, y, **look)
                if new is not None:
                    _rate(right, new[0], new[1], y, look | {"mfc": "none", "mew": 2, "label": f"{name}, what is new"})
        # A label of one line would be cut: `make_plain` allows 32 characters a line.
        labels = ["\n".join(_name(case).split(" · ", 1)) for case in reversed(cases)]
        left.set_yticks(range(len(cases)), labels, fontsize=9)
        left.set(xlim=(-3, 103))
        left.set(xlabel="attack success (%), lower is better", title="Does the backdoor fire?")
        right.set(xlabel="correct answers (%), higher is better", title="Are the answers correct?", xlim=(-3, 103))
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
            axes.set_ylim(-0.6, len(cases) - 0.4)
        left.axvline(10, color=CLEAN, lw=1, ls="--", zorder=0, label="10 %")
        handles = {
            name: line for ax in (left, right) for line, name in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, fontsize=9)
    said = "; ".join(f"{_name(case)}: {_in_words(case, cells, learned)}" for case in cases)
    return described(
        figure, f"Dots of attack success and of correct answers for each case, with and without PCVR. {said}."
    )


def _learned(table: Table) -> dict[tuple[str, ...], tuple[int, int]]:
    """Right answers to what is new and how many were asked, over all seeds, by case and defence."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for run in table.runs:
        if "novel" in run:
            key = tuple(str(run["experiment"][field]) for field in (*_BY, "defense"))
            right, n = found.get(key, (0, 0))
            found[key] = right + run["novel"]["right"], n + run["novel"]["n"]
    return found


def _rate(axes: Axes, hits: int, n: int, y: float, look: Mapping[str, Any]) -> None:
    """Draw a rate with its interval."""
    low, high = wilson(hits, n)
    axes.plot([100 * low, 100 * high], [y, y], color=INK, lw=1.2, zorder=1)
    axes.plot(100 * hits / n, y, **look)


def _name(case: Sequence[str]) -> str:
    """The name of a row; cases without an attacker leave the attack out."""
    label, task, attack = case
    return f"{label} · {task}" if label.startswith("new: ") else f"{label} · {task} · {attack}"


def _in_words(
    case: tuple[str, ...], cells: Mapping[tuple[str, ...], Cell], learned: Mapping[tuple[str, ...], tuple[int, int]]
) -> str:
    parts = []
    for defense, (name, _, _) in _LOOKS.items():
        if cell := cells.get((*case, defense)):
            new = learned.get((*case, defense))
            first = f"ASR {cell.rates}" if new is None else f"right on what is new {new[0]} of {new[1]}"
            parts.append(f"{name} {first}, correct {100 * cell.right:.1f} %")
    return ", ".join(parts)
