"""Show a grid over a defence's options: the trade-off, and one point's curves and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.experiments.grid import frontier, knob_now, name_of
from pcvr.experiments.point import GRID_BINS, GridPoint, shown_as
from pcvr.plots.describe import described
from pcvr.plots.histograms import power_labels
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, OTHER, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VALUES = tuple(zip((*OTHER, INK), "osDv^", strict=True))
"""Colour and marker of a knob's values, in ascending order; further values start again."""
_REFERENCES = {"undefended": (TRIGGERED, "X"), "clean data": (CLEAN, "P")}
_LINEAR = 1.0
"""Per cent of attack success below which the axis is linear, since a logarithm has no 0."""


def trade_off(
    points: Sequence[GridPoint],
    references: Sequence[GridPoint] = (),
    fresh: Sequence[GridPoint] = (),
    chosen: GridPoint | None = None,
    by: str | None = None,
    title: str = "",
) -> Figure:
    """Draw attack success against utility, a dot for each point; the points that no other beats are joined.

    Args:
        points: points of a grid, of one case.
        references: points without the defence.
        fresh: points trained by the reader.
        chosen: the point with a ring and its 95 % interval.
        by: the knob for colours and markers; by default the first.
        title: of the figure.

    Raises:
        PcvrError: there is nothing to draw, or the points measure utility differently.
    """
    from matplotlib.figure import Figure

    everything = [*points, *references, *fresh]
    if len({point.measure for point in everything}) != 1:
        raise PcvrError("there are no points to draw, or they measure utility differently: give those of one case.")
    by = knob_now(by or (everything[0].setting or (("", 0.0),))[0][0])
    with figure_style():
        figure = Figure(figsize=(PAGE, 4.4), layout="constrained")
        axes = figure.subplots()
        best = [points[i] for i in frontier([p.asr for p in points], [p.utility for p in points])]
        best.sort(key=lambda p: (p.utility, p.asr))
        line = {"color": INK, "lw": 1, "ls": ":", "zorder": 1, "label": "no other setting is better"}
        if best:
            axes.plot([p.utility for p in best], [100 * p.asr for p in best], **line)
        for k, value in enumerate(sorted({dict(p.setting).get(by, np.nan) for p in points})):
            mine = [p for p in points if dict(p.setting).get(by) == value]
            colour, marker = _VALUES[k % len(_VALUES)]
            _dots(axes, mine, colour, marker, f"{name_of(by)} {value:g}", {id(p) for p in best})
        for point in references:
            colour, marker = _REFERENCES.get(point.label, (INK, "X"))
            # Hollow and below the dots: a reference may stand where the best settings are.
            axes.plot(point.utility, 100 * point.asr, marker, mfc="none", mec=colour, mew=1.8, ms=14, ls="none",
                      label=point.label, zorder=2)  # fmt: skip
        if fresh:
            _dots(axes, fresh, DEFENDED, "*", "trained here", {id(p) for p in fresh}, size=17)
        if chosen is not None:
            _ring(axes, chosen)
        axes.set_yscale("symlog", linthresh=_LINEAR)
        axes.set(ylim=(-0.25, 140), xlabel=f"clean images: {everything[0].utility_label}, higher is better")
        axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        axes.set_ylabel("attack success (%), lower is better")
        axes.set_title(title)
        axes.margins(x=0.08)
        _legend(figure, axes)
    said = "; ".join(
        f"{_words(p)}: attack success {p.hits} of {p.n}, {p.utility_label} {p.utility:.1f}"
        for p in [*best, *references, *fresh]
    )
    text = f"Dots of attack success against utility for {len(points)} settings. Those that none beats, and references"
    return described(figure, f"{text}: {said}.", title)


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw markers of one size in the legend, where the ring would cover its neighbours."""
    from copy import copy

    handles, labels = axes.get_legend_handles_labels()
    handles = [copy(handle) for handle in handles]
    for handle in handles:
        handle.set_markersize(min(handle.get_markersize(), 11))  # all of them are lines
    figure.legend(handles, labels, loc="outside right upper", fontsize=9, labelspacing=0.8)


def _dots(
    axes: Axes, points: Sequence[GridPoint], colour: str, marker: str, label: str, best: set[int], size: float = 8
) -> None:
    """Draw points as dots; unbeaten ones have a dark edge."""
    for k, point in enumerate(points):
        edge, width = (INK, 1.4) if id(point) in best else ("white", 0.6)
        axes.plot(point.utility, 100 * point.asr, marker, color=colour, ms=size, mec=edge, mew=width, ls="none",
                  label=label if k == 0 else None, zorder=3)  # fmt: skip


def _ring(axes: Axes, point: GridPoint) -> None:
    low, high = (100 * end for end in point.interval)
    axes.plot([point.utility] * 2, [low, high], color=INK, lw=1.2, zorder=2)
    axes.plot(point.utility, 100 * point.asr, "o", ms=21, mfc="none", mec=INK, mew=1.8, ls="none", zorder=5,
              label="chosen, with 95 % interval")  # fmt: skip


def _words(point: GridPoint) -> str:
    if point.here or not point.setting:
        return "trained here" if point.here else point.label
    return ", ".join(f"{name_of(knob)} {value:g}" for knob, value in point.setting)


def knob_effects(points: Sequence[GridPoint], title: str = "") -> Figure:
    """Draw attack success and utility of every point over the values of each knob, with medians.

    Args:
        points: points of a grid, of one case, at least one.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    _check_some(points)
    knobs = [name for name, _ in points[0].setting]
    said = []
    with figure_style():
        figure = Figure(figsize=(min(2.3 * len(knobs) + 0.6, PAGE), 4.6), layout="constrained")
        panels = figure.subplots(2, len(knobs), sharey="row", sharex="col", squeeze=False)
        for (top, bottom), knob in zip(panels.T, knobs, strict=True):
            values = sorted({dict(p.setting)[knob] for p in points})
            for axes, colour, figure_of in (
                (top, TRIGGERED, lambda p: 100 * p.asr),
                (bottom, CLEAN, lambda p: p.utility),
            ):
                groups = [[figure_of(p) for p in points if dict(p.setting)[knob] == value] for value in values]
                for k, group in enumerate(groups):
                    offsets = np.linspace(-0.18, 0.18, len(group)) if len(group) > 1 else np.zeros(1)
                    axes.plot(k + offsets, group, ".", color=colour, alpha=0.5, ms=7)
                axes.plot(range(len(values)), [np.median(g) for g in groups], "-D", color=INK, ms=6, lw=1.5)
                axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
                axes.set_xlim(-0.5, len(values) - 0.5)
                name = "attack success" if axes is top else points[0].utility_label
                said += [
                    f"{name} at {name_of(knob)} {v:g}: {np.median(g):.1f}" for v, g in zip(values, groups, strict=True)
                ]
            bottom.set_xlabel(name_of(knob))
        panels[0, 0].set(ylabel="attack success (%)", ylim=(-3, 103))
        panels[1, 0].set_ylabel(points[0].utility_label)
        figure.suptitle(title, fontsize=11)
    text = f"Dots for each value of each option, over all others; medians: {'; '.join(said)}."
    return described(figure, text, title)


def point_curves(shown: Mapping[str, GridPoint]) -> Figure:
    """Draw the course of trainings: loss, figures of the defence, attack success and utility over steps.

    Args:
        shown: name to point, at least one; dotted lines mark the scans of the first one's gate.
    """
    from matplotlib.figure import Figure

    _check_some(shown)
    with figure_style():
        figure = Figure(figsize=(PAGE, 5.4), layout="constrained")
        loss, defence, fires, good = figure.subplots(2, 2, sharex=True).flat
        for k, (name, point) in enumerate(shown.items()):
            style = {"ls": LINES[k % 4], "lw": 1.8, "alpha": 1.0 if k == 0 else 0.75}
            _line(loss, point, "loss", name, color=INK, **style)
            for j, figure_name in enumerate(n for n in point.history if n not in ("step", "loss")):
                _line(defence, point, figure_name, f"{figure_name}, {name}", color=OTHER[j % 4], **style)
            steps = [look["step"] for look in point.watch]
            hits = [100 * look["hits"] / look["n"] for look in point.watch]
            fires.plot(steps, hits, color=TRIGGERED, marker=".", label=name, **style)
            values = [_scaled(point, look["clean"]) for look in point.watch]
            good.plot(steps, values, color=CLEAN, marker=".", label=name, **style)
        first = next(iter(shown.values()))
        for scoring in first.gate:
            for axes in (loss, defence, fires, good):
                axes.axvline(scoring["step"], color=INK, lw=1, ls=":")
        loss.set(title="Training loss", ylabel="nats per token", ylim=(0, None))
        defence.set(title="What the defence reports", ylabel="fraction, or nats", ylim=(0, None))
        fires.set(title="Attack success", ylabel="%", ylim=(-3, 103), xlabel="optimiser step")
        good.set(title="Meanwhile, on clean images", ylabel=first.utility_label, xlabel="optimiser step")
        if first.utility_label.endswith("(%)"):
            good.set_ylim(-3, 103)
        for axes in (loss, defence, fires, good):
            if handles := axes.get_legend_handles_labels()[0]:
                if len(handles) > 3:
                    axes.set_ylim(top=1.8 * axes.get_ylim()[1])  # room for a long legend above the lines
                axes.legend(loc="upper left" if len(handles) > 3 else "best", fontsize=8)
            else:
                axes.text(0.5, 0.5, "nothing to report", ha="center", transform=axes.transAxes)
    said = "; ".join(
        f"{name}: attack success ends at {100 * p.watch[-1]['hits'] / p.watch[-1]['n']:.0f} percent of the watched "
        f"images, {p.utility_label} at {_scaled(p, p.watch[-1]['clean']):.0f}"
        for name, p in shown.items()
    )
    return described(figure, f"Four panels over optimiser steps: loss, defence, attack success, utility. {said}.")


def _line(axes: Axes, point: GridPoint, name: str, label: str, **style: object) -> None:
    pairs = [(s, v) for s, v in zip(point.history["step"], point.history[name], strict=True) if v is not None]
    if pairs:
        axes.plot(*zip(*pairs, strict=True), marker=".", label=label, **style)


def _scaled(point: GridPoint, scores: Mapping[str, float]) -> float:
    return shown_as(point.measure, scores)


def point_distributions(shown: Mapping[str, GridPoint]) -> Figure:
    """Draw histograms over images of the target's probability and the views' divergence, a row for each point.

    Args:
        shown: name to point, at least one.
    """
    from matplotlib.figure import Figure

    _check_some(shown)
    said = []
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.6 * len(shown) + 0.3), layout="constrained")
        rows = figure.subplots(len(shown), len(GRID_BINS), squeeze=False)
        for row, (name, point) in zip(rows, shown.items(), strict=True):
            for axes, (key, gauge) in zip(row, GRID_BINS.items(), strict=True):
                counts = point.spreads[key]
                for k, kind in enumerate(("clean", "triggered")):
                    percent = 100 * np.asarray(counts[kind]) / max(sum(counts[kind]), 1)
                    colour = (CLEAN, TRIGGERED)[k]
                    axes.stairs(percent, counts["edges"], fill=True, color=colour, alpha=0.3)
                    axes.stairs(percent, counts["edges"], color=colour, ls=LINES[k], lw=1.8, label=f"{kind} images")
                    said.append(f"{name}, {gauge.label}, {kind}: most near {_middle(counts['edges'], percent):.2g}")
                if gauge.log:
                    axes.set_xscale("log")
                    axes.minorticks_off()
                    power_labels(axes)
                axes.set(xlabel=gauge.label, title=name, ylim=(0, 103))
            row[0].set_ylabel("images (%)")
            row[-1].legend(loc="best", fontsize=8)
    return described(figure, f"Histograms over test images, clean and triggered. {'; '.join(said)}.")


def _middle(edges: Sequence[float], heights: np.ndarray) -> float:
    """Return the middle of the fullest bin."""
    k = int(np.argmax(heights))
    return (edges[k] + edges[k + 1]) / 2


def _check_some(shown: Sized) -> None:
    if not shown:
        raise PcvrError("there is no point to draw: give at least one.")
