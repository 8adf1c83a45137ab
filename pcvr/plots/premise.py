"""Show the premise on a few images: views of an image and its triggered version, AUROC, and scores by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.defenses.pcvr.gate import FLOOR
from pcvr.errors import PcvrError
from pcvr.evaluation.detection import auroc_of_low
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.histograms import invariance_histograms, log_axis, power_labels
from pcvr.plots.style import CLEAN, INK, OTHER, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.analysis.two_views import ViewTrace
    from pcvr.plots.histograms import Groups


def flipbook(traces: Mapping[str, Sequence[ViewTrace]], top: int = 5) -> Figure:
    """Draw an image and its triggered version: several views of each, and below each view the likeliest next words.

    Each row shows the token at which its views differ most from the original, on average.

    Args:
        traces: title to the traces of one image under several views, as many in each row; "triggered" in a title
            gives the trigger's colour.
        top: number of words.

    Raises:
        PcvrError: there is nothing to draw, or rows have different lengths.
    """
    from matplotlib.figure import Figure

    counts = {len(each) for each in traces.values()}
    if len(counts) != 1 or 0 in counts:
        raise PcvrError(f"a flipbook needs the same number of views in each row, at least one, not {sorted(counts)}.")
    columns = counts.pop() + 1
    with figure_style():
        figure = Figure(figsize=(1.75 * columns + 0.9, 3.5 * len(traces)), layout="constrained")
        said = []
        for part, (title, each) in zip(
            figure.subfigures(len(traces), 1, squeeze=False)[:, 0], traces.items(), strict=True
        ):
            said.append(_flip(part, title, each, top, TRIGGERED if "triggered" in title else CLEAN))
    return described(figure, " ".join(said))


def _flip(part: Any, title: str, traces: Sequence[ViewTrace], top: int, colour: str) -> str:
    """Draw one row of a flipbook; return its description."""
    token = int(np.mean([t.divergence for t in traces], axis=0).argmax())
    first = traces[0]
    most = np.max([first.original[token], *(t.view[token] for t in traces)], axis=0)
    order = np.argsort(-most, kind="stable")[:top]
    words = [first.words[i] for i in order]
    grid = part.subplots(2, len(traces) + 1, height_ratios=(1.25, 1), squeeze=False)
    whole = [float(t.divergence.sum()) for t in traces]
    place = f"token {token + 1} of {len(first.tokens)}, “{first.tokens[token]}”"
    part.suptitle(f"{title}: “{first.text}”, {place}", fontsize=10)
    shown = [(first.image, first.original, "original")]
    shown += [(t.view_image, t.view, f"{apart:.2f} nats") for t, apart in zip(traces, whole, strict=True)]
    at = np.arange(len(words))[::-1]
    for column, (image, chances, name) in enumerate(shown):
        show_picture(grid[0, column], image, name)
        axes = grid[1, column]
        style = {"color": colour} if column == 0 else {"fc": "white", "ec": colour, "hatch": "////"}
        axes.barh(at, chances[token, order], height=0.7, **style)
        axes.set(xlim=(0, 1.02), xticks=[0, 1])
        axes.set_yticks(at, words if column == 0 else [])
        axes.grid(axis="y", visible=False)
    grid[1, 0].set_xlabel("probability")
    on_original = [f"{word} {first.original[token, i]:.2f}" for word, i in zip(words, order, strict=True)]
    on_views = [", ".join(f"{t.view[token, i]:.2f}" for t in traces) for i in order]
    both = "; ".join(
        f"{one} on the original, {others} on views" for one, others in zip(on_original, on_views, strict=True)
    )
    apart = ", ".join(f"{value:.2f}" for value in whole)
    return f"{title}, answer “{first.text}”, {place}: {both}. Divergence over the whole answer: {apart} nats."


def pair_square(clean: np.ndarray, suspect: np.ndarray, names: tuple[str, str] = ("clean", "triggered")) -> Figure:
    """Draw the meaning of an AUROC: every suspect beside every clean sample, dark where the suspect scores lower.

    Args:
        clean: ``[N]`` scores, at least one.
        suspect: ``[M]`` scores, at least one.
        names: names of the two groups.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    value = auroc_of_low(clean, suspect)
    low, high = np.sort(suspect)[:, None], np.sort(clean)[None]
    won = (low < high) + (low == high) / 2
    with figure_style():
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.imshow(won, cmap=ListedColormap(["#eeeeee", OTHER[1], CLEAN]), vmin=0, vmax=1, aspect="auto",
                    interpolation="nearest", extent=(0, 100, 100, 0))  # fmt: skip
        axes.set(
            xlabel=f"{names[0]} samples, lowest score first (%)", title=f"{100 * value:.1f} % of all pairs are dark"
        )
        axes.set_ylabel(f"{names[1]} samples, lowest score first (%)")
        axes.grid(visible=False)
    text = (
        f"A rectangle of {len(suspect)} by {len(clean)} pairs. In {100 * value:.1f} percent of them, a tie being half, "
        f"the score of the {names[1]} one is below that of the {names[0]} one."
    )
    return described(figure, text)


def score_histograms(panels: Mapping[str, Groups], xlabel: str = "score (nats, logarithmic)") -> Figure:
    """Draw `invariance_histograms` of scores that may span many decades, with ticks at powers of ten only.

    Args:
        panels: title to groups of values.
        xlabel: what the score is, with its unit.
    """
    figure = invariance_histograms(panels, xlabel, log=True)
    for axes in figure.axes:
        _few_ticks(axes)
    return figure


def _few_ticks(axes: Axes) -> None:
    """Keep powers of ten only on a logarithmic axis over more than three decades, where more ticks would overlap."""
    from matplotlib.ticker import LogLocator

    low, high = axes.get_xlim()
    if high > 1e3 * low:
        axes.xaxis.set_major_locator(LogLocator())
        power_labels(axes)


def kinds_figure(groups: Mapping[str, np.ndarray], poisoned: np.ndarray, xlabel: str) -> Figure:
    """Draw scores of clean samples as rows of dots by kind of question, and those of poisoned samples below.

    Args:
        groups: from `pcvr.analysis.question_kinds.by_kind`.
        poisoned: ``[M]`` scores.
        xlabel: what the score is, with its unit; the axis is logarithmic, and lower scores are drawn at 1e-6.
    """
    from matplotlib.figure import Figure

    rows = {f"{kind} …": values for kind, values in groups.items()} | {"poisoned": np.asarray(poisoned)}
    if not rows or min(len(values) for values in rows.values()) == 0:
        raise PcvrError("a kind of question has no scores to draw: give at least one for each, and for the poisoned.")
    rng = np.random.default_rng(0)  # shifts dots vertically, so that they do not hide each other
    with figure_style():
        figure = Figure(figsize=(8, 0.42 * len(rows) + 1.1), layout="constrained")
        axes = figure.subplots()
        for k, (name, values) in enumerate(rows.items()):
            colour, shown = TRIGGERED if name == "poisoned" else CLEAN, np.maximum(values, FLOOR)
            axes.plot(shown, k + rng.uniform(-0.28, 0.28, len(shown)), "o", ms=3, color=colour, alpha=0.45, mew=0)
            axes.plot([np.median(shown)] * 2, [k - 0.4, k + 0.4], color=INK, lw=2)
        log_axis(axes)
        _few_ticks(axes)
        axes.set_yticks(range(len(rows)), [f"{name} ({len(values)})" for name, values in rows.items()])
        axes.invert_yaxis()
        axes.set_xlabel(xlabel)
        axes.grid(axis="y", visible=False)
    said = "; ".join(
        f"{name}: median {np.median(v):.4f}, lowest {v.min():.2g}, n = {len(v)}" for name, v in rows.items()
    )
    return described(figure, f"Dots of {xlabel} by kind of question. {said}.")
