"""Show a model from the outside in: its tokens, an image in patches, the content of a patch, and nearby words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import INK, OTHER, PAGE, TRIGGERED, figure_style, show_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.analysis.decoding import ModelInput

_MARK = "#d9d9d9"
_TOKEN_COLOURS = {  # kind of token -> fill, letters
    "image token": (OTHER[0], INK),
    "mark of the template": (_MARK, INK),
    "word": ("white", INK),
}

_HALO = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75}


def token_strip(reading: ModelInput, columns: int = 11) -> Figure:
    """Draw every token of the language model's input in reading order: its word and its id.

    Args:
        reading: from `pcvr.analysis.decoding.model_input`.
        columns: number of tokens in a row.

    Raises:
        PcvrError: there is less than one column.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    if columns < 1:
        raise PcvrError(f"columns is {columns}: give at least 1.")
    rows = math.ceil(len(reading.tokens) / columns)
    images = 0
    with figure_style():
        figure = Figure(
            figsize=(min(0.74, (PAGE - 0.06) / columns) * columns + 0.06, 0.62 * rows + 0.65), layout="constrained"
        )
        axes = figure.subplots()
        for place, (token, number, is_image) in enumerate(
            zip(reading.tokens, reading.ids, reading.is_image, strict=True)
        ):
            row, column = divmod(place, columns)
            images += int(is_image)
            kind = "image token" if is_image else "mark of the template" if token.startswith("<") else "word"
            fill, letters = _TOKEN_COLOURS[kind]
            axes.add_patch(Rectangle((column, -row), 0.94, -0.86, fc=fill, ec=INK, lw=0.7))
            label = f"image {images}" if is_image else _short(token)
            axes.text(column + 0.47, -row - 0.3, label, ha="center", va="center", fontsize=8, color=letters)
            axes.text(column + 0.47, -row - 0.65, str(number), ha="center", va="center", fontsize=8, color="#444444")
        axes.set(xlim=(-0.05, columns), ylim=(-rows, 0.1))
        axes.set_axis_off()
        handles = [Patch(fc=fill, ec=INK, label=kind) for kind, (fill, _) in _TOKEN_COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    words = [word for word, is_image in zip(reading.tokens, reading.is_image, strict=True) if not is_image]
    return described(
        figure,
        f"{len(reading.tokens)} tokens in reading order with their numbers in the vocabulary: {images} image tokens, "
        f"all with the same number, and {len(words)} others: {' '.join(words)}.",
    )


def patch_figure(image: Image, grid: tuple[int, int], at: tuple[int, int], features: np.ndarray) -> Figure:
    """Draw an image cut into patches, one patch enlarged, and the tower's features of it.

    Args:
        image: uint8 ``[H, W, 3]``, as the tower gets it.
        grid: patches down and across.
        at: row and column of the patch.
        features: ``[D]``, the tower's numbers for it.

    Raises:
        PcvrError: the grid has no such patch.
    """
    from matplotlib.figure import Figure

    patch = cell_of(image, grid, at)
    high, wide = patch.shape[:2]
    levels = patch.size
    with figure_style():
        figure = Figure(figsize=(PAGE, 3.0), layout="constrained")
        first, second, third = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
        show_picture(first, image, f"{grid[0]} × {grid[1]} patches")
        draw_grid(first, image, grid)
        frame_cell(first, image, grid, at)
        first.set_xlabel(f"{image.shape[1]} × {image.shape[0]} px")
        show_picture(second, patch, f"patch at row {at[0] + 1}, column {at[1] + 1}", TRIGGERED)
        second.set_xlabel(f"{wide} × {high} px × 3 colours\n= {levels} levels")
        columns = 16
        filled = np.full(math.ceil(len(features) / columns) * columns, np.nan)
        filled[: len(features)] = features
        reach = float(np.abs(features).max())
        table, colours = filled.reshape(-1, columns), {"cmap": "PuOr", "vmin": -reach, "vmax": reach}
        shades = show_map(third, table, "the tower's features of it", aspect="auto", **colours)
        third.set_xlabel(f"{len(features)} numbers, in reading order")
        figure.colorbar(shades, ax=third, label="value")
    return described(
        figure,
        f"An image of {image.shape[1]} by {image.shape[0]} pixels cut into {grid[0]} by {grid[1]} patches; the "
        f"patch at row {at[0] + 1}, column {at[1] + 1} enlarged, {levels} levels; and the {len(features)} numbers "
        f"that the tower makes of it, from {features.min():.1f} to {features.max():.1f}.",
    )


def likeness_figure(image: Image, at: tuple[int, int], maps: Mapping[str, np.ndarray], label: str = "cosine") -> Figure:
    """Draw how similar one patch is to all others, at several depths of the tower.

    Args:
        image: uint8 ``[H, W, 3]``.
        at: row and column of the patch.
        maps: title to ``[down, across]``, from `pcvr.analysis.anatomy.likeness`.
        label: of the colours.

    Raises:
        PcvrError: there is no map.
    """
    from matplotlib.figure import Figure

    if not maps:
        raise PcvrError("there is nothing to draw: give at least one map.")
    grid = next(iter(maps.values())).shape
    with figure_style():
        figure = Figure(figsize=(min(2.75 * (len(maps) + 1) + 0.6, PAGE), 2.9), layout="constrained")
        panels = figure.subplots(1, len(maps) + 1)
        show_picture(panels[0], image, "the patch")
        draw_grid(panels[0], image, grid)
        frame_cell(panels[0], image, grid, at)
        for axes, (title, values) in zip(panels[1:], maps.items(), strict=True):
            shades = show_map(axes, values, title, cmap="PuOr", vmin=-1, vmax=1)
            write_values(axes, values, dark=lambda v: abs(v) > 0.6)
        figure.colorbar(shades, ax=list(panels[1:]), label=label)
    said = "; ".join(f"{title}: {np.sort(values.ravel())[-4:-1].round(2).tolist()}" for title, values in maps.items())
    return described(
        figure,
        f"An image with the patch at row {at[0] + 1}, column {at[1] + 1} framed, and maps of how alike all patches "
        f"are to it. The three most alike besides itself: {said}.",
    )


def word_map(image: Image, grid: tuple[int, int], named: Sequence[tuple[Sequence[str], np.ndarray]]) -> Figure:
    """Draw the nearest words to the image tokens, at the places of the tokens.

    Only the nearer half of the range gets a word: cells whose token is nearer to its word than halfway between the
    farthest and the nearest.

    Args:
        image: uint8 ``[H, W, 3]``.
        grid: cells down and across, as many as image tokens.
        named: for each line of words, the word of every token and its nearness ``[I]``; the first line decides.

    Raises:
        PcvrError: there are no words, or their number differs from that of the cells.
    """
    from matplotlib.figure import Figure

    cells = grid[0] * grid[1]
    if not named or any(len(words) != cells or len(near) != cells for words, near in named):
        raise PcvrError(f"a word map of {grid[0]} by {grid[1]} cells needs {cells} words in each line.")
    nearness = np.asarray(named[0][1])
    shown = nearness >= (nearness.min() + nearness.max()) / 2
    high, wide = image.shape[0] / grid[0], image.shape[1] / grid[1]
    said = []
    with figure_style():
        figure = Figure(figsize=(PAGE, 4.1), layout="constrained")
        first, second = figure.subplots(1, 2)
        for axes, title, pale in ((first, "the image", False), (second, "the words nearest to its tokens", True)):
            show_picture(axes, np.clip(image * 0.35 + 165, 0, 255).astype(np.uint8) if pale else image, title)
            draw_grid(axes, image, grid)
        for cell in np.flatnonzero(shown):
            row, column = divmod(int(cell), grid[1])
            text = "\n".join(words[cell] for words, _ in reversed(named))
            place = (column + 0.5) * wide - 0.5, (row + 0.5) * high - 0.5
            second.text(*place, text, ha="center", va="center", fontsize=9, bbox=_HALO)
            said.append(f"row {row + 1} column {column + 1} {text}".replace("\n", " "))
    return described(
        figure,
        f"An image in {grid[0]} by {grid[1]} cells, and the words nearest to its image tokens: {'; '.join(said)}. The "
        f"other {int((~shown).sum())} cells are left empty.",
    )


def cell_of(image: Image, grid: tuple[int, int], at: tuple[int, int]) -> Image:
    """Return the pixels of one cell of a grid over an image.

    Raises:
        PcvrError: the grid has no such cell.
    """
    (row, column), (down, across) = at, grid
    if not (0 <= row < down and 0 <= column < across):
        raise PcvrError(f"patch {at} is not in a grid of {down} by {across}: rows and columns count from 0.")
    rows, columns = (
        np.linspace(0, side, parts + 1).round().astype(int) for side, parts in zip(image.shape[:2], grid, strict=True)
    )
    return image[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]


def draw_grid(axes: Any, image: Image, grid: Sequence[int]) -> None:
    """Draw thin lines between the cells of an image that `show_picture` drew."""
    for side, parts, line in zip(image.shape[:2], grid, (axes.axhline, axes.axvline), strict=True):
        for edge in np.linspace(0, side, parts + 1)[1:-1]:
            line(edge - 0.5, color="white", lw=1.6)
            line(edge - 0.5, color=INK, lw=0.6)


def frame_cell(axes: Any, image: Image, grid: Sequence[int], at: tuple[int, int], colour: str = TRIGGERED) -> None:
    """Draw a thick frame around one cell."""
    from matplotlib.patches import Rectangle

    high, wide = image.shape[0] / grid[0], image.shape[1] / grid[1]
    corner = (at[1] * wide - 0.5, at[0] * high - 0.5)
    axes.add_patch(Rectangle(corner, wide, high, fill=False, ec="white", lw=5, zorder=3))
    axes.add_patch(Rectangle(corner, wide, high, fill=False, ec=colour, lw=3, zorder=3))


def write_values(axes: Any, values: np.ndarray, dark: Any, size: float = 8) -> None:
    """Write each value of a map ``[down, across]`` into its cell, in white where `dark` says so."""
    if values.size > 100:
        return  # too small to read
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if dark(value) else INK
        axes.text(
            column, row, f"{value:.1f}".replace("-0.0", "0.0"), ha="center", va="center", fontsize=size, color=colour
        )


def _short(token: str) -> str:
    return token if len(token) <= 11 else f"{token[:9]}…"
