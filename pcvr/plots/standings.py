"""Show the main table of the study: each defence under each attack, and the price of what it achieves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.experiments.standings import ORIGINS, Standing, unbeaten
from pcvr.experiments.study.sheets import NOT_RUN, NOT_TAKEN
from pcvr.plots.describe import described
from pcvr.plots.seeds import places
from pcvr.plots.style import CLEAN, DEFENDED, INK, MARKERS, OTHER, PAGE, PALETTE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.evaluation.seeds import SeedRates
    from pcvr.experiments.standings import Outcome

LOOKS = dict(zip(ORIGINS, ((CLEAN, "o"), (OTHER[0], "s"), (DEFENDED, "^")), strict=True))
"""Colour and marker of a row by where its settings are from."""
UNDEFENDED = (TRIGGERED, "X")
_FAINT = "#999999"
_EDGE = -7  # where a cell without a run has its hollow marker, per cent


def attack_panels(found: Sequence[Standing], title: str = "") -> Figure:
    """Draw a panel for each attack: the attack success of each defence, a mark for each seed with its Wilson interval.

    What was not run has a hollow mark at the left edge. Under an attack that did not take, marks are grey.

    Args:
        found: from `pcvr.experiments.standings.standings`, at least one.
        title: above the figure.

    Raises:
        PcvrError: there is none.
    """
    from matplotlib.figure import Figure

    _some(found)
    attacks = [each.attack for each in found[0].outcomes]
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.24 * len(found) + 2.2), layout="constrained")
        panels = figure.subplots(1, len(attacks), sharey=True, squeeze=False)[0]
        for k, (axes, attack) in enumerate(zip(panels, attacks, strict=True)):
            for y, row in enumerate(found):
                _success(axes, y, row.outcomes[k], *_look(row))
            took = found[0].outcomes[k].took
            word = {True: "", False: "\ndid not take", None: "\nundefended: not run"}[took]
            axes.set_title(f"{attack}{word}", fontsize=9)
            axes.set(xlim=(-12, 104), xticks=(0, 50, 100))
            axes.tick_params(axis="x", labelsize=9)
        panels[len(panels) // 2].set_xlabel("attack success (%)", fontsize=9)
        panels[0].set_yticks(range(len(found)), [_name(row) for row in found], fontsize=9)
        panels[0].set_ylim(len(found) - 0.4, -0.6)
        figure.suptitle(title, fontsize=11)
        _legend_of_origins(figure)
    said = "; ".join(f"{_name(row)}: {', '.join(_in_words(each) for each in row.outcomes)}" for row in found)
    return described(figure, f"Attack success for each defence and attack. {said}.", title)


def frontier_picture(found: Sequence[Standing], title: str = "") -> Figure:
    """Draw each defence at its worst attack: attack success against correct answers lost, and against time.

    A row that no other beats in all three has a colour and a name; the others are grey. Lines are 95 % intervals:
    Wilson's of attack success, and the paired bootstrap of the difference in correct answers, for each seed. A row that
    was not run against every attack that took is hollow: its worst attack may be missing.

    Args:
        found: from `pcvr.experiments.standings.standings`, at least one.
        title: above the figure.

    Raises:
        PcvrError: there is none.
    """
    from matplotlib.figure import Figure

    _some(found)
    best = [each.row for each in unbeaten(found)]
    named = ["none", "pcvr", *(row for row in best if row != "pcvr")]
    drawn = [row for row in found if row.worst is not None and row.dearest is not None]
    with figure_style():
        figure = Figure(figsize=(PAGE, 5.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row in sorted(drawn, key=lambda each: each.row in named):
            _priced(left, right, row, best, named)
        left.axvline(0, color=INK, lw=1, ls=":", zorder=0)
        right.axvline(1, color=INK, lw=1, ls=":", zorder=0)
        left.set_xlabel("correct clean answers, minus no defence (points)\nworst attack; higher is better")
        right.set_xlabel("time of training, relative to no defence\nlower is better")
        left.set_ylabel("attack success, worst attack (%)\nlower is better")
        left.set_ylim(-4, 104)
        if not drawn:
            left.set_xlim(-10, 5)
            right.set_xlim(0, 3)
            for axes in (left, right):
                axes.text(0.5, 0.5, NOT_RUN, ha="center", transform=axes.transAxes)
        handles = {name: line for ax in (left, right)
                   for line, name in zip(*ax.get_legend_handles_labels(), strict=True)}  # fmt: skip
        if handles:
            order = sorted(handles, key=lambda name: named.index(name) if name in named else len(named))
            figure.legend([handles[name] for name in order], order, loc="outside lower center", ncols=4, fontsize=9)
        figure.suptitle(title, fontsize=11)
    said = "; ".join(price_in_words(row) for row in drawn)
    return described(
        figure,
        f"Attack success against lost answers and against time, a point for each defence. {said or 'Nothing was run'}. "
        f"Not beaten by another: {', '.join(best) or 'none can be named yet'}.",
        title,
    )


def price_in_words(row: Standing) -> str:
    """Return where a row stands at its worst attack, without a full stop; what is missing is named."""
    worst, dearest = row.worst, row.dearest
    if worst is None or worst.rates is None:
        return f"{_name(row)}: {NOT_RUN}"
    parts = [f"attack success {worst.rates} {row.where}"]
    if dearest is not None and dearest.loss is not None:
        ends = ", ".join(f"[{100 * a:+.1f}, {100 * b:+.1f}]" for a, b in (pair.interval for pair in dearest.kept))
        parts.append(f"correct answers {-100 * dearest.loss:+.1f} points {ends} under {dearest.attack}")
    if row.time is not None:
        parts.append(f"time x {row.time:.2f}")
    if not row.whole:
        parts.append(f"{len(row.counted)} of {len(row.outcomes)} attacks run")
    return f"{_name(row)}: {'; '.join(parts)}".replace(";", ",")


def _some(found: Sequence[Standing]) -> None:
    if not found:
        raise PcvrError("there is no row: give what pcvr.experiments.standings.standings returns.")


def _name(row: Standing) -> str:
    """The label of a row, with where its settings are from; a tuned row says so by its label."""
    return row.row if row.origin == "tuned" or row.row == "none" else f"{row.row} ({row.origin})"


def _look(row: Standing) -> tuple[str, str]:
    return UNDEFENDED if row.row == "none" else LOOKS[row.origin]


def _in_words(each: Outcome) -> str:
    if each.rates is None:
        return f"{each.attack} {NOT_RUN}"
    return f"{each.attack} {each.rates}" + (f" ({NOT_TAKEN})" if each.took is False else "")


def _success(axes: Axes, y: float, each: Outcome, colour: str, marker: str) -> None:
    """Draw one cell: every seed with its interval, or a hollow mark at the left edge."""
    if each.rates is None:
        axes.plot(_EDGE, y, marker, mfc="none", mec=colour, ms=4, clip_on=False)
        return
    shade = _FAINT if each.took is False else colour
    for place, rate, (low, high) in _seeds(each.rates):
        axes.plot([100 * low, 100 * high], [y + place] * 2, color=_FAINT if each.took is False else INK, lw=1, zorder=2)
        axes.plot(100 * rate, y + place, marker, color=shade, ms=5, zorder=3)


def _seeds(rates: SeedRates) -> list[tuple[float, float, tuple[float, float]]]:
    """For each seed its place beside the others, its rate and its interval."""
    return list(zip(places(len(rates.rates), 0.5), rates.rates, rates.wilson, strict=True))


def _legend_of_origins(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    looks = {"no defence": UNDEFENDED, **{f"settings: {name}": look for name, look in LOOKS.items()}}
    lines = [Line2D([], [], color=colour, marker=marker, ls="none") for colour, marker in looks.values()]
    lines.append(Line2D([], [], color=INK, mfc="none", marker="o", ms=4, ls="none"))
    figure.legend(lines, [*looks, "not run"], loc="outside lower center", ncols=3, fontsize=9)


def _priced(left: Axes, right: Axes, row: Standing, best: Sequence[str], named: Sequence[str]) -> None:
    """Draw one row on both panels."""
    worst, dearest = row.worst, row.dearest
    if worst is None or worst.rates is None or dearest is None or dearest.loss is None:
        return
    asr, kept = 100 * worst.rates.mean, -100 * dearest.loss
    known = row.row in named
    k = named.index(row.row) if known else 0
    colour, marker = (PALETTE[(k + 1) % len(PALETTE)], MARKERS[k % len(MARKERS)]) if known else (_FAINT, ".")
    look: dict[str, Any] = {"color": colour, "mfc": colour if row.whole else "white", "ls": "none"}
    look |= {"ms": 8 if known else 7, "zorder": 4 if known else 2, "label": row.row if known else "beaten by another"}
    if not known and not row.whole:
        look["label"] = "not run against all attacks"
    lines = {"color": INK if known else _FAINT, "lw": 1, "zorder": 3 if known else 1}
    for axes, x in ((left, kept), (right, row.time)):
        if x is not None:
            for low, high in worst.rates.wilson:
                axes.plot([x, x], [100 * low, 100 * high], **lines)
            axes.plot([x] * len(worst.rates.rates), [100 * rate for rate in worst.rates.rates], "_", color=INK, ms=5)
            axes.plot(x, asr, marker, **look)
    for pair in dearest.kept:
        left.plot([100 * end for end in pair.interval], [asr, asr], **lines)
