"""Figures of an answer's token distributions on a picture and on its patch view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, DEFENDED, INK, LINES, OTHER, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pcvr.analysis.two_views import ViewTrace

LN2 = float(np.log(2))
SMALLEST_BAR = 0.02
"""Words less probable than this on both views get no row in a `token_map`."""


def telling_figure(telling: ViewTrace, token: int, title: str = "", top: int = 6) -> Figure:
    """One answer at one token: both pictures, both distributions, and the divergence along the whole answer.

    Args:
        telling: from `pcvr.analysis.two_views.trace_views`.
        token: position in the answer, 0 to T - 1.
        title: stands over the figure; with "triggered" in it the bars have the trigger's colour.
        top: how many words are drawn.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9.5, 4.6), layout="constrained")
        if title:
            figure.suptitle(title)
        grid = figure.add_gridspec(2, 4, height_ratios=(1.5, 1))
        for column, (picture, name) in enumerate(((telling.image, "original"), (telling.view_image, "view"))):
            axes = figure.add_subplot(grid[0, column])
            show_picture(axes, picture, name)
        colour = TRIGGERED if "triggered" in title else CLEAN
        _bars(figure.add_subplot(grid[0, 2:]), telling, token, colour, top)
        _along(figure.add_subplot(grid[1, :]), telling, token, colour)
    return described(figure, f"{title + '. ' if title else ''}{_said(telling, token, top)}")


def story_bars(tellings: Mapping[str, ViewTrace], token: int | None = None, top: int = 6, columns: int = 2) -> Figure:
    """Distributions at one token, a panel for each telling: solid bars for the original, hatched bars for the view.

    Args:
        tellings: title to telling; titles with "triggered" in them are drawn in the trigger's colour.
        token: position in each answer, the last one where an answer is shorter; None takes from each the token at
            which its two views differ most.
        top: how many words a panel has.
        columns: panels in a row.
    """
    from matplotlib.figure import Figure

    if not tellings:
        raise PcvrError("there is nothing to draw: give at least one telling.")
    rows = -(-len(tellings) // columns)
    with figure_style():
        figure = Figure(figsize=(4.75 * columns, 0.32 * top * rows + 1.0 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        said = []
        for axes, (title, telling) in zip(grid.flat, tellings.items(), strict=False):
            at = int(telling.divergence.argmax()) if token is None else min(token, len(telling.tokens) - 1)
            _bars(axes, telling, at, TRIGGERED if "triggered" in title else CLEAN, top)
            axes.set_title(f"{title}\n{axes.get_title()}", fontsize=10)
            said.append(f"{title}: {_said(telling, at, 3)}")
        for axes in list(grid.flat)[len(tellings) :]:
            axes.set_axis_off()
    return described(figure, " ".join(said))


def token_map(telling: ViewTrace, top: int = 3, title: str = "") -> Figure:
    """Every answer token at once: words down, tokens along, probability as colour; original beside view.

    Args:
        telling: from `pcvr.analysis.two_views.trace_views`.
        top: how many words each token contributes to the rows at most; those below 2 % in both views are left out.
        title: stands over the figure.
    """
    from matplotlib.figure import Figure

    rows: list[str] = []
    for token in range(len(telling.tokens)):
        rows += [w for w, p, q in telling.top(token, top) if w not in rows and max(p, q) >= SMALLEST_BAR]
    index = [telling.words.index(w) for w in rows]
    with figure_style():
        figure = Figure(figsize=(9.5, 0.2 * len(rows) + 1.6), layout="constrained")
        if title:
            figure.suptitle(title)
        grid = figure.subplots(1, 2, sharey=True)
        for axes, (name, values) in zip(grid, (("original", telling.original), ("view", telling.view)), strict=True):
            shades = axes.imshow(values[:, index].T, cmap="cividis", vmin=0, vmax=1, aspect="auto")
            axes.set(title=name, yticks=range(len(rows)), yticklabels=rows)
            axes.set_xticks(range(len(telling.tokens)), telling.tokens, rotation=60, ha="right", rotation_mode="anchor")
            axes.tick_params(axis="y", labelsize=8)
            axes.grid(visible=False)
            axes.set_xlabel("the word that comes next in the answer")
        grid[0].set_ylabel("what the model may say")
        figure.colorbar(shades, ax=list(grid), label="probability")
    said = []
    for word, p, q in zip(telling.tokens, telling.original, telling.view, strict=True):
        at = telling.words.index(word)
        said.append(f"{word} {p[at]:.2f} and {q[at]:.2f}")
    text = f"{title + '. ' if title else ''}Heat maps of word probability at each answer token, original and view."
    return described(figure, f"{text} Probability of the answer's own words, original and view: {'; '.join(said)}.")


def along_the_answer(tellings: Mapping[str, ViewTrace], cap: float | None = None) -> Figure:
    """Cross-view divergence token by token, a panel for each telling.

    Args:
        tellings: title to telling; titles with "triggered" in them are drawn in the trigger's colour.
        cap: a divergence in nats to mark, such as the defence's cap.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9.5, 1.75 * len(tellings) + 0.3), layout="constrained")
        grid = figure.subplots(len(tellings), 1, squeeze=False)
        said = []
        for axes, (title, telling) in zip(grid.flat, tellings.items(), strict=True):
            _along(axes, telling, None, TRIGGERED if "triggered" in title else CLEAN)
            axes.set_title(f"{title}: {telling.divergence.mean():.3f} nats on average", fontsize=10)
            if cap is not None:
                axes.axhline(cap, color=INK, ls=":", lw=1)
            said.append(f"{title}: mean {telling.divergence.mean():.3f} nats.")
    return described(figure, "Bars of cross-view divergence at each token of the answer. " + " ".join(said))


def mean_along(groups: Mapping[str, Sequence[ViewTrace]], tokens: int = 8) -> Figure:
    """Mean cross-view divergence at the first tokens of the answers, a line for each group of tellings.

    Args:
        groups: label to tellings; positions that fewer than half of a group's answers reach are left out.
        tokens: how many positions.
    """
    from matplotlib.figure import Figure

    colours = (CLEAN, TRIGGERED, DEFENDED, *OTHER)
    with figure_style():
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        said = []
        for k, (label, tellings) in enumerate(groups.items()):
            reached = [[t.divergence[at] for t in tellings if at < len(t.divergence)] for at in range(tokens)]
            means = [float(np.mean(v)) if v and 2 * len(v) >= len(tellings) else np.nan for v in reached]
            axes.plot(range(1, tokens + 1), means, LINES[k % 4], marker="o", ms=4, color=colours[k % 7], label=label)
            said.append(f"{label}: {', '.join(f'{m:.2f}' for m in means if m == m)}")
        axes.set(xlabel="position in the answer", ylabel="mean divergence (nats)", ylim=(-0.02, LN2 + 0.02))
        axes.set_title("Where in the answer the two views differ")
        axes.legend()
    return described(figure, f"Lines of mean cross-view divergence over the position in the answer. {'; '.join(said)}.")


def _bars(axes: Axes, telling: ViewTrace, token: int, colour: str, top: int) -> None:
    found = telling.top(token, top)
    at = np.arange(len(found))[::-1]
    axes.barh(at + 0.2, [p for _, p, _ in found], height=0.38, color=colour, label="original")
    axes.barh(at - 0.2, [q for _, _, q in found], height=0.38, fc="white", ec=colour, hatch="////", label="view")
    axes.set_yticks(at, [w for w, _, _ in found])
    axes.set(xlim=(0, 1.02), xlabel="probability")
    place = f"token {token + 1} of {len(telling.tokens)}, “{telling.tokens[token]}”"
    axes.set_title(f"{place}: {telling.divergence[token]:.2f} nats apart", fontsize=10)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", fontsize=8)


def _along(axes: Axes, telling: ViewTrace, token: int | None, colour: str) -> None:
    count = len(telling.tokens)
    bars = axes.bar(range(count), telling.divergence, color=colour, width=0.7)
    if token is not None:
        bars[token].set(edgecolor=INK, linewidth=2)
    axes.set_xticks(range(count), telling.tokens, rotation=30 if count > 10 else 0, fontsize=9)
    axes.set(ylim=(0, LN2), ylabel="divergence (nats)", xlim=(-0.6, max(count, 6) - 0.4))
    axes.grid(axis="x", visible=False)


def _said(telling: ViewTrace, token: int, top: int) -> str:
    words = "; ".join(f"{w} {p:.2f} and {q:.2f}" for w, p, q in telling.top(token, top))
    return (
        f"Answer “{telling.text}”, token {token + 1} of {len(telling.tokens)}: probabilities on original and view: "
        f"{words}. Divergence there {telling.divergence[token]:.3f} nats, mean over the answer "
        f"{telling.divergence.mean():.3f} nats."
    )
