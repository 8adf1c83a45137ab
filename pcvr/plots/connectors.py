"""Show how an image becomes image tokens: the connectors of several models in one scheme, and where queries look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.analysis.anatomy import CONNECTORS, Anatomy
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.attention import spotlight
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.model import cell_of
from pcvr.plots.style import INK, PAGE, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMES = {"projector": "MLP projector", "queries": "Q-Former", "shuffle": "pixel shuffle"}
# A panel is 10 wide: heights of the stages, and sides of the image and of the field of patches.
_WIDE, _TOP = 10.0, 18.2
_PICTURE, _SIDE = 11.9, 4.0
_PATCHES, _FIELD = 9.4, 2.8
_STRIP, _TOKENS = 5.4, 2.6


def connector_figure(models: Sequence[Anatomy]) -> Figure:
    """Draw image, patches, connector and image tokens of each model, a column for each.

    A patch has its mean colour. Below the field of patches they stand in a row, in reading order, and lines lead from
    them to the row of image tokens. An image token has the colours of the patches from which it is read, mixed with the
    weights of its lines. The lines of the most colourful token are black, and its patches are framed.

    Args:
        models: from `pcvr.analysis.anatomy.anatomy`.

    Raises:
        PcvrError: there is no model.
    """
    from matplotlib.figure import Figure

    if not models:
        raise PcvrError("there is nothing to draw: give at least one model.")
    with figure_style():
        wide = min(3.7, PAGE / len(models))
        figure = Figure(figsize=(wide * len(models), 1.85 * wide), layout="constrained")
        for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
            _draw(axes, model)
    said = "; ".join(
        f"{each.name} ({_NAMES[each.connector]}: {CONNECTORS[each.connector]}) cuts the image into {each.patches} "
        f"patches of {each.patch_px} pixels and makes {each.image_tokens[0]} image tokens of them"
        for each in models
    )
    return described(figure, f"From an image to image tokens, drawn for each model: {said}.")


def query_figure(
    image: Image, maps: np.ndarray, names: Sequence[str] | None = None, columns: int = 8, title: str = ""
) -> Figure:
    """Draw where each query of a Q-Former looks: brighter for more attention, each map scaled to its maximum.

    Args:
        image: uint8 ``[H, W, 3]``.
        maps: ``[queries, down, across]``, such as the mean of `pcvr.analysis.attention.query_maps`.
        names: title of each map, after the number of the query.
        columns: number of maps in a row.
        title: of the figure.

    Raises:
        PcvrError: there is no map, or the numbers of names and maps differ.
    """
    from matplotlib.figure import Figure

    if not len(maps) or (names is not None and len(names) != len(maps)):
        raise PcvrError(f"{len(maps)} maps came with {len(names or ())} names: give one for each query.")
    columns = min(columns, len(maps))
    rows = math.ceil(len(maps) / columns)
    said = []
    with figure_style():
        size = min(1.4 * columns, PAGE), 1.6 * rows + (0.7 if title else 0.35)
        figure = Figure(figsize=size, layout="constrained")
        if title:
            figure.suptitle(title)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, (axes, values) in enumerate(zip(grid, maps, strict=False)):
            name = f"{place + 1}" + (f" · {names[place]}" if names else "")
            show_picture(axes, spotlight(image, values), name)
            axes.title.set_fontsize(8)
            axes.set_xlabel(f"most {100 * values.max():.0f} %", fontsize=8)
            row, column = np.unravel_index(int(values.argmax()), values.shape)
            said.append(f"query {name} most at row {row + 1} column {column + 1}, {values.max():.2f}")
        for axes in grid[len(maps) :]:
            axes.set_axis_off()
        figure.supxlabel(
            "brightness: each panel by itself; below, the fraction of the attention on the brightest patch", fontsize=9
        )
    return described(figure, f"Where each of {len(maps)} queries looks: {'; '.join(said)}.", title)


def _draw(axes: Any, model: Anatomy) -> None:
    down, across = model.grid
    colours = np.array(
        [cell_of(model.image, model.grid, (r, c)).mean((0, 1)) / 255 for r in range(down) for c in range(across)]
    )
    mixed = model.links / np.maximum(model.links.sum(1, keepdims=True), 1e-9) @ colours  # [I, 3]
    axes.set_axis_off()
    axes.set_aspect("equal")
    _picture(axes, model)
    count, width = model.image_tokens
    example = int(np.ptp(mixed, axis=1).argmax())
    read = model.links[example] > 0.5 * model.links[example].max()
    _squares(axes, colours, _field(model.grid), _FIELD / down, framed=read)
    strip, tokens = _row(model.patches, _STRIP), _row(count, _TOKENS)
    _squares(axes, colours, *strip, framed=read)
    one = np.arange(count) == example
    _squares(axes, mixed, *tokens, framed=one, as_circles=model.connector == "queries")
    _lines(axes, model, strip, tokens, colours, example)
    _arrow(axes, _PICTURE - 0.1, _PATCHES + 0.75)
    _arrow(axes, _PATCHES - _FIELD - 0.05, _STRIP + 0.3)

    plus = " (+ 1)" if model.class_token else ""
    end = _TOKENS - tokens[1] / 2
    _say(axes, _TOP - 0.3, model.name, size=10)
    _say(axes, _TOP - 1.1, _NAMES[model.connector], size=10, weight="normal")
    _say(axes, _PICTURE + _SIDE + 0.4, f"{model.grid[0]} × {model.grid[1]} patches of {model.patch_px} px")
    _say(axes, (_PICTURE + _PATCHES) / 2 + 0.4, f"tower: {model.parameters['tower']:,} parameters", boxed=True)
    _say(axes, _PATCHES + 0.3, f"{model.patches} patch tokens{plus} × {model.tower[1]} numbers")
    _say(axes, (_STRIP + _TOKENS) / 2, f"connector: {model.parameters['connector']:,} parameters", boxed=True)
    _say(axes, end - 0.45, f"{count} image tokens × {width} numbers")
    _say(axes, end - 1.1, "to the language model, in this order", weight="normal")
    axes.set(xlim=(0, _WIDE), ylim=(0, _TOP))  # imshow changed them


def _picture(axes: Any, model: Anatomy) -> None:
    left = (_WIDE - _SIDE) / 2
    axes.imshow(model.image, extent=(left, left + _SIDE, _PICTURE, _PICTURE + _SIDE), interpolation="nearest", zorder=1)
    for parts, line in zip(model.grid, (axes.hlines, axes.vlines), strict=True):
        start, span = (_PICTURE, (left, left + _SIDE)) if line == axes.hlines else (left, (_PICTURE, _PICTURE + _SIDE))
        for step in range(parts + 1):
            line(start + _SIDE * step / parts, *span, color="white", lw=0.9, zorder=2)


def _field(grid: tuple[int, int]) -> np.ndarray:
    """Return the centres ``[patches, 2]`` of the squares for the patches, in reading order."""
    rows, columns = np.indices(grid).reshape(2, -1)
    side = _FIELD / grid[0]
    x = _WIDE / 2 + (columns - (grid[1] - 1) / 2) * side
    y = _PATCHES - (rows + 0.5) * side
    return np.stack([x, y], axis=1)


def _row(count: int, y: float) -> tuple[np.ndarray, float]:
    """Return the centres ``[count, 2]`` and the side of squares in one row at height `y`."""
    side = min(0.55, (_WIDE - 0.4) / count)
    x = _WIDE / 2 + (np.arange(count) - (count - 1) / 2) * side
    return np.stack([x, np.full(count, y)], axis=1), side


def _squares(
    axes: Any, colours: np.ndarray, centres: np.ndarray, side: float, framed: np.ndarray, as_circles: bool = False
) -> None:
    from matplotlib.patches import Circle, Rectangle

    half = 0.43 * side
    for colour, (x, y), bold in zip(np.clip(colours, 0, 1), centres, framed, strict=True):
        look: dict[str, Any] = {"fc": colour, "ec": INK, "lw": 1.8 if bold else 0.4, "zorder": 4 if bold else 3}
        axes.add_patch(
            Circle((x, y), half, **look) if as_circles else Rectangle((x - half, y - half), 2 * half, 2 * half, **look)
        )


def _arrow(axes: Any, start: float, end: float) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "lw": 1.2}
    axes.annotate("", (_WIDE / 2, end), (_WIDE / 2, start), arrowprops=look)


def _lines(
    axes: Any,
    model: Anatomy,
    patches: tuple[np.ndarray, float],
    tokens: tuple[np.ndarray, float],
    colours: np.ndarray,
    example: int,
) -> None:
    """Draw a line for each link, darker for a stronger one and full from a quarter of a token, as in a 2 by 2
    shuffle. Lines run between the rows, so that no square hides one."""
    from matplotlib.collections import LineCollection

    alpha = np.minimum(1, 4 * model.links)
    token, patch = np.nonzero(alpha > 0.02)
    starts = patches[0][patch] - [0, patches[1] / 2]
    ends = np.stack([starts, tokens[0][token] + [0, tokens[1] / 2]], axis=1)
    shade = np.column_stack([0.75 * np.clip(colours[patch], 0, 1), 0.75 * alpha[token, patch]])
    shade[token == example, :3] = 0
    widths = np.where(token == example, 1.5, 0.7)
    order = np.argsort(token == example, kind="stable")  # the example's lines last, on top
    axes.add_collection(LineCollection(list(ends[order]), colors=shade[order], linewidths=widths[order], zorder=2))


def _say(axes: Any, y: float, text: str, boxed: bool = False, weight: str = "bold", size: float = 8) -> None:
    box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": INK, "lw": 0.8} if boxed else None
    axes.text(_WIDE / 2, y, text, ha="center", va="center", fontsize=size, weight=weight, color=INK, bbox=box, zorder=5)
