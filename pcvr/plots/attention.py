"""Show attention over images, and what covering parts of an image says about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.analysis.attention import PARTS, Attention
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import shortened, show_picture
from pcvr.plots.style import CLEAN, INK, LINES, OTHER, PAGE, TRIGGERED, figure_style, show_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DARK = 0.16
"""Brightness where a map is 0."""


def spotlight(image: Image, values: np.ndarray) -> Image:
    """Light an image by a map: full brightness at the map's maximum, dark where it is 0 or below.

    Args:
        image: uint8 ``[H, W, 3]``.
        values: ``[down, across]``.
    """
    top = float(values.max())
    light = _DARK + (1 - _DARK) * np.clip(values / top, 0, 1) if top > 0 else np.full(values.shape, _DARK)
    rows, columns = (
        np.minimum(np.arange(side) * parts // side, parts - 1)
        for side, parts in zip(image.shape[:2], values.shape, strict=True)
    )
    return np.rint(image * light[np.ix_(rows, columns)][:, :, None]).astype(np.uint8)


def attention_maps(
    seen: Attention,
    layer: int | None = None,
    head: int | None = None,
    how: str = "mean",
    most: int = 16,
    columns: int = 8,
) -> Figure:
    """Draw the image lit by the model's attention before each word of an answer.

    Args:
        seen: from `pcvr.analysis.attention.attend`.
        layer: one layer from 0, or None for the mean over all.
        head: one head from 0, or None for the mean over all.
        how: ``"mean"`` or ``"rollout"``.
        most: largest number of words.
        columns: number of words in a row.
    """
    from matplotlib.figure import Figure

    count = min(len(seen.steps.tokens), most)
    rows = math.ceil(count / columns)
    columns = math.ceil(count / rows)
    title = f"“{shortened(seen.steps.text, 80, 2)}” · {said_of(layer, head, how)}"
    said = []
    with figure_style():
        figure = Figure(figsize=(max(min(1.42 * columns, PAGE), 5), 1.78 * rows + 0.75), layout="constrained")
        figure.suptitle(title, fontsize=10)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for token, axes in enumerate(grid[:count]):
            values = seen.map(token, layer, head, how)
            fraction = f"{100 * values.sum():.0f} %"
            show_picture(axes, spotlight(seen.image, values), f"{seen.steps.tokens[token]}")
            axes.title.set_fontsize(9)
            axes.set_xlabel(fraction, fontsize=8)
            row, column = np.unravel_index(int(values.argmax()), values.shape)
            said.append(f"{seen.steps.tokens[token]}: {fraction}, most at row {row + 1} column {column + 1}")
        for axes in grid[count:]:
            axes.set_axis_off()
        joint = "; " if columns > 5 else "\n"
        note = f"below: the fraction of the attention that falls on the image{joint}brightness: each panel by itself"
        figure.supxlabel(note, fontsize=9)
    text = f"The image lit by attention, a panel for each word of the answer, {title}. {'; '.join(said)}."
    return described(figure, text)


def head_maps(seen: Attention, token: int) -> Figure:
    """Draw the attention before one word for every layer (down) and every head (across), each on its own scale.

    On one scale the head that looks at a single place would leave all others black.

    Args:
        seen: from `pcvr.analysis.attention.attend`.
        token: position in the answer.
    """
    from matplotlib.figure import Figure

    layers, heads = seen.rows.shape[:2]
    maps = {(i, k): seen.map(token, i, k) for i in range(layers) for k in range(heads)}
    fractions = {key: float(values.sum()) for key, values in maps.items()}
    with figure_style():
        wide = min(1.7, (PAGE - 0.3) / heads)
        figure = Figure(figsize=(wide * heads + 0.3, (wide + 0.35) * layers + 0.8), layout="constrained")
        figure.suptitle(f"attention before “{seen.steps.tokens[token]}”", fontsize=10)
        grid = figure.subplots(layers, heads, squeeze=False)
        for (i, k), values in maps.items():
            title = f"{_percent(fractions[i, k])} on image\nat most {_percent(float(values.max()))}"
            show_map(grid[i, k], values, title, cmap="cividis", vmin=0)
            grid[i, k].title.set_fontsize(8)
            if k == 0:
                grid[i, k].set_ylabel(f"layer {i + 1}", fontsize=9)
            if i == layers - 1:
                grid[i, k].set_xlabel(f"head {k + 1}", fontsize=9)
        note = "colours: each panel by itself, from 0 to the attention on its brightest cell (“at most”)"
        figure.supxlabel(note, fontsize=9)
    said = "; ".join(f"layer {i + 1} head {k + 1} {_percent(fraction)}" for (i, k), fraction in fractions.items())
    return described(
        figure,
        f"Maps of attention to the image before the word {seen.steps.tokens[token]}, a row for each layer, a column "
        f"for each head. Share on the image: {said}.",
    )


def _percent(fraction: float) -> str:
    """A fraction in per cent; below one, that it is below."""
    return f"{100 * fraction:.0f} %" if fraction >= 0.01 else "< 1 %"


def share_bars(seen: Attention, layer: int | None = None) -> Figure:
    """Draw where the attention before each word falls: image, prompt, and the answer so far.

    Args:
        seen: from `pcvr.analysis.attention.attend`.
        layer: one layer from 0, or None for the mean over all.
    """
    from matplotlib.figure import Figure

    tokens = seen.steps.tokens
    fractions = [seen.parts(token, layer) for token in range(len(tokens))]
    colours = (OTHER[0], "#999999", CLEAN)
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        axes = figure.subplots()
        bottom = np.zeros(len(tokens))
        for part, colour, hatch in zip(PARTS, colours, ("", "//", ".."), strict=True):
            values = np.array([each[part] for each in fractions])
            axes.bar(range(len(tokens)), values, 0.75, bottom=bottom, color=colour, ec="white", hatch=hatch, label=part)
            bottom += values
        axes.set_xticks(range(len(tokens)), tokens, rotation=30 if len(tokens) > 10 else 0)
        axes.set(ylim=(0, 1), ylabel="fraction of attention", xlabel="the word that comes next")
        axes.set_title(f"mean over heads, {'all layers' if layer is None else f'layer {layer + 1}'}", fontsize=10)
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside right center", fontsize=9)
    said = "; ".join(
        f"{word}: " + ", ".join(f"{part} {fraction:.2f}" for part, fraction in each.items())
        for word, each in zip(tokens, fractions, strict=True)
    )
    return described(figure, f"Stacked bars of where attention falls before each word of the answer. {said}.")


def beside_occlusion(seen: Attention, token: int, effect: np.ndarray, correlation: float) -> Figure:
    """Draw the image, the attention before one word, and what each part of the image adds to the word.

    Args:
        seen: from `pcvr.analysis.attention.attend`.
        token: position in the answer.
        effect: ``[down, across]``, from `pcvr.analysis.occlusion.occlusion_map`.
        correlation: of the two maps.
    """
    from matplotlib.figure import Figure

    word = seen.steps.tokens[token]
    looked = seen.map(token)
    reach = float(np.abs(effect).max()) or 1.0
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
        panels = figure.subplots(1, 3)
        show_picture(panels[0], seen.image, f"before “{word}” (probability {seen.steps.chosen[token]:.2f})")
        shades = show_map(panels[1], looked, "where it looked", cmap="cividis", vmin=0)
        figure.colorbar(shades, ax=panels[1], label="fraction of attention")
        shades = show_map(panels[2], effect, "what it needed", cmap="PuOr", vmin=-reach, vmax=reach)
        figure.colorbar(shades, ax=panels[2], label="probability gained")
        figure.supxlabel(f"correlation of the two maps: {correlation:.2f}", fontsize=9)
    at = [np.unravel_index(int(values.argmax()), values.shape) for values in (looked, effect)]
    places = [f"row {row + 1} column {column + 1}" for row, column in at]
    return described(
        figure,
        f"The image; the attention before the word {word}, most at {places[0]}; and what each cell adds to the "
        f"word's probability, most at {places[1]}, {effect.max():.2f}, least {effect.min():.2f}. Correlation "
        f"{correlation:.2f}.",
    )


def covering_figure(counts: Sequence[int], curves: Mapping[str, np.ndarray], cells: int) -> Figure:
    """Draw the probability of a word as more and more of the image is covered, a line for each order.

    Args:
        counts: number of covered cells at each of K points.
        curves: order to ``[N, K]``, from `pcvr.analysis.occlusion.covering_curves`; the mean over N images is drawn.
        cells: number of cells of an image.

    Raises:
        PcvrError: there is no curve, or one has another length than `counts`.
    """
    from matplotlib.figure import Figure

    if not curves or any(values.shape[1] != len(counts) for values in curves.values()):
        raise PcvrError(
            f"each curve needs a value for each of {len(counts)} counts: give what covering_curves returns."
        )
    images = len(next(iter(curves.values())))
    with figure_style():
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        said = []
        for (name, values), colour, line in zip(curves.items(), (TRIGGERED, INK, CLEAN), LINES, strict=False):
            mean = values.mean(0)
            axes.plot(counts, mean, line, marker="o", ms=4, color=colour, label=name)
            if images > 1:
                error = values.std(0, ddof=1) / np.sqrt(images)
                axes.fill_between(counts, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
            said.append(f"{name}: {', '.join(f'{p:.2f}' for p in mean)}")
        axes.set_xticks(list(counts))
        axes.set(ylim=(-0.02, 1.02), xlabel=f"cells covered, of {cells}", ylabel="probability of the word")
        axes.set_title(f"mean over {images} image{'s' if images > 1 else ''}, ± standard error", fontsize=10)
        axes.legend(loc="best", title="covered")
    at = ", ".join(map(str, counts))
    return described(figure, f"The probability of a word when {at} of {cells} cells are covered: {'; '.join(said)}.")


def one_word(
    seen: Attention, token: int, layer: int | None = None, head: int | None = None, how: str = "mean"
) -> Figure:
    """Draw the attention before one word: the image, the image lit by it, and the map in numbers.

    Args:
        seen: from `pcvr.analysis.attention.attend`.
        token: position in the answer.
        layer: one layer from 0, or None for the mean over all.
        head: one head from 0, or None for the mean over all.
        how: ``"mean"`` or ``"rollout"``.
    """
    from matplotlib.figure import Figure

    values = seen.map(token, layer, head, how)
    word, parts = seen.steps.tokens[token], seen.parts(token, layer, head, how)
    where = ", ".join(f"{part} {100 * fraction:.0f} %" for part, fraction in parts.items())
    with figure_style():
        figure = Figure(figsize=(PAGE, 3.1), layout="constrained")
        panels = figure.subplots(1, 3)
        figure.suptitle(f"before “{word}” · {said_of(layer, head, how)} · {where}", fontsize=10)
        show_picture(panels[0], seen.image, "the image")
        show_picture(panels[1], spotlight(seen.image, values), "lit by attention")
        shades = show_map(panels[2], values, "the same as a map", cmap="cividis", vmin=0)
        figure.colorbar(shades, ax=panels[2], label="fraction of the attention")
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return described(
        figure,
        f"Attention before the word {word} of “{seen.steps.text}”, {said_of(layer, head, how)}: {where}; most at row "
        f"{row + 1} column {column + 1}, {values.max():.2f}.",
    )


def said_of(layer: int | None, head: int | None, how: str) -> str:
    """Name the layers and heads of an attention map."""
    if how == "rollout":
        return "attention rollout"
    which = "all layers" if layer is None else f"layer {layer + 1}"
    return f"{which}, {'mean over heads' if head is None else f'head {head + 1}'}"
