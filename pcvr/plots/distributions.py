"""Show the token distributions of an answer on an image and on its patch view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, INK, LINES, PAGE, PALETTE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.analysis.two_views import ViewTrace

LN2 = float(np.log(2))
SMALLEST_BAR = 0.02
"""Words less probable on both views get no row in a `token_map`."""


def trace_figure(trace: ViewTrace, token: int, title: str = "", top: int = 6) -> Figure:
    """Draw one answer at one token: both images, both distributions, and the divergence along the answer.

    Args:
        trace: from `pcvr.analysis.two_views.trace_views`.
        token: position in the answer, 0 to T - 1.
        title: of the figure; "triggered" in it gives the bars the trigger's colour.
        top: number of words.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(PAGE, 4.6), layout="constrained")
        if title:
            figure.suptitle(title)
        grid = figure.add_gridspec(2, 4, height_ratios=(1.5, 1))
        for column, (image, name) in enumerate(((trace.image, "original"), (trace.view_image, "view"))):
            axes = figure.add_subplot(grid[0, column])
            show_picture(axes, image, name)
        colour = TRIGGERED if "triggered" in title else CLEAN
        _bars(figure.add_subplot(grid[0, 2:]), trace, token, colour, top)
        _along(figure.add_subplot(grid[1, :]), trace, token, colour)
    return described(figure, _said(trace, token, top), title)


def trace_bars(traces: Mapping[str, ViewTrace], token: int | None = None, top: int = 6, columns: int = 2) -> Figure:
    """Draw distributions at one token, a panel for each trace: solid bars for the original, hatched for the view.

    Args:
        traces: title to trace; "triggered" in a title gives the trigger's colour.
        token: position in each answer, or the last one of a shorter answer; None takes the token of each at which
            the two views differ most.
        top: number of words in a panel.
        columns: number of panels in a row.
    """
    from matplotlib.figure import Figure

    if not traces:
        raise PcvrError("there is nothing to draw: give at least one trace.")
    rows = -(-len(traces) // columns)
    with figure_style():
        figure = Figure(figsize=(min(4.75 * columns, PAGE), 0.32 * top * rows + 1.0 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        said = []
        for axes, (title, trace) in zip(grid.flat, traces.items(), strict=False):
            at = int(trace.divergence.argmax()) if token is None else min(token, len(trace.tokens) - 1)
            _bars(axes, trace, at, TRIGGERED if "triggered" in title else CLEAN, top)
            axes.set_title(f"{title}\n{axes.get_title()}", fontsize=10)
            said.append(f"{title}: {_said(trace, at, 3)}")
        for axes in list(grid.flat)[len(traces) :]:
            axes.set_axis_off()
    return described(figure, " ".join(said))


def token_map(trace: ViewTrace, top: int = 3, title: str = "") -> Figure:
    """Draw every answer token at once: a row a word, a column a token, probability as colour; original beside view.

    Args:
        trace: from `pcvr.analysis.two_views.trace_views`.
        top: rows that each token adds at most; words below 2 % in both views are left out.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    rows: list[str] = []
    for token in range(len(trace.tokens)):
        rows += [w for w, p, q in trace.top(token, top) if w not in rows and max(p, q) >= SMALLEST_BAR]
    index = [trace.words.index(w) for w in rows]
    with figure_style():
        figure = Figure(figsize=(PAGE, 0.2 * len(rows) + 1.6), layout="constrained")
        if title:
            figure.suptitle(title)
        grid = figure.subplots(1, 2, sharey=True)
        for axes, (name, values) in zip(grid, (("original", trace.original), ("view", trace.view)), strict=True):
            shades = axes.imshow(values[:, index].T, cmap="cividis", vmin=0, vmax=1, aspect="auto")
            axes.set(title=name, yticks=range(len(rows)), yticklabels=rows)
            axes.set_xticks(range(len(trace.tokens)), trace.tokens, rotation=60, ha="right", rotation_mode="anchor")
            axes.tick_params(axis="y", labelsize=8)
            axes.grid(visible=False)
            axes.set_xlabel("the word that comes next in the answer")
        grid[0].set_ylabel("what the model may say")
        figure.colorbar(shades, ax=list(grid), label="probability")
    said = []
    for word, p, q in zip(trace.tokens, trace.original, trace.view, strict=True):
        at = trace.words.index(word)
        said.append(f"{word} {p[at]:.2f} and {q[at]:.2f}")
    text = "Heat maps of word probability at each answer token, original and view."
    text += f" Probability of the answer's own words, original and view: {'; '.join(said)}."
    return described(figure, text, title)


def along_the_answer(traces: Mapping[str, ViewTrace], cap: float | None = None) -> Figure:
    """Draw the cross-view divergence token by token, a panel for each trace.

    Args:
        traces: title to trace; "triggered" in a title gives the trigger's colour.
        cap: a divergence in nats to mark, such as the defence's cap.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(PAGE, 1.75 * len(traces) + 0.3), layout="constrained")
        grid = figure.subplots(len(traces), 1, squeeze=False)
        said = []
        for axes, (title, trace) in zip(grid.flat, traces.items(), strict=True):
            _along(axes, trace, None, TRIGGERED if "triggered" in title else CLEAN)
            axes.set_title(f"{title}: {trace.divergence.mean():.3f} nats on average", fontsize=10)
            if cap is not None:
                axes.axhline(cap, color=INK, ls=":", lw=1)
            said.append(f"{title}: mean {trace.divergence.mean():.3f} nats.")
    return described(figure, "Bars of cross-view divergence at each token of the answer. " + " ".join(said))


def mean_along(groups: Mapping[str, Sequence[ViewTrace]], tokens: int = 8) -> Figure:
    """Draw the mean cross-view divergence at the first tokens, a line for each group of traces.

    Args:
        groups: label to traces; positions that less than half of a group's answers reach are left out.
        tokens: number of positions.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        said = []
        for k, (label, traces) in enumerate(groups.items()):
            reached = [[t.divergence[at] for t in traces if at < len(t.divergence)] for at in range(tokens)]
            means = [float(np.mean(v)) if v and 2 * len(v) >= len(traces) else np.nan for v in reached]
            axes.plot(range(1, tokens + 1), means, LINES[k % 4], marker="o", ms=4, color=PALETTE[k % 7], label=label)
            said.append(f"{label}: {', '.join(f'{m:.2f}' for m in means if m == m)}")
        axes.set(xlabel="position in the answer", ylabel="mean divergence (nats)", ylim=(-0.02, LN2 + 0.02))
        axes.set_title("Where in the answer the two views differ")
        axes.legend(loc="best")
    return described(figure, f"Lines of mean cross-view divergence over the position in the answer. {'; '.join(said)}.")


def _bars(axes: Axes, trace: ViewTrace, token: int, colour: str, top: int) -> None:
    found = trace.top(token, top)
    at = np.arange(len(found))[::-1]
    axes.barh(at + 0.2, [p for _, p, _ in found], height=0.38, color=colour, label="original")
    axes.barh(at - 0.2, [q for _, _, q in found], height=0.38, fc="white", ec=colour, hatch="////", label="view")
    axes.set_yticks(at, [w for w, _, _ in found])
    axes.set(xlim=(0, 1.02), xlabel="probability")
    place = f"token {token + 1} of {len(trace.tokens)}, “{trace.tokens[token]}”"
    axes.set_title(f"{place}: {trace.divergence[token]:.2f} nats apart", fontsize=10)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", fontsize=8)


def _along(axes: Axes, trace: ViewTrace, token: int | None, colour: str) -> None:
    count = len(trace.tokens)
    bars = axes.bar(range(count), trace.divergence, color=colour, width=0.7)
    if token is not None:
        bars[token].set(edgecolor=INK, linewidth=2)
    axes.set_xticks(range(count), trace.tokens, rotation=30 if count > 10 else 0, fontsize=9)
    axes.set(ylim=(0, LN2), ylabel="divergence (nats)", xlim=(-0.6, max(count, 6) - 0.4))
    axes.grid(axis="x", visible=False)


def _said(trace: ViewTrace, token: int, top: int) -> str:
    words = "; ".join(f"{w} {p:.2f} and {q:.2f}" for w, p, q in trace.top(token, top))
    return (
        f"Answer “{trace.text}”, token {token + 1} of {len(trace.tokens)}: probabilities on original and view: "
        f"{words}. Divergence there {trace.divergence[token]:.3f} nats, mean over the answer "
        f"{trace.divergence.mean():.3f} nats."
    )
