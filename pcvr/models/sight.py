"""What a model sees of a picture, asked of its processor: which part of the file reaches it, and what is left of it.

No option of a processor is read here. Three probes of the picture's size go through it: black, white, and one whose red
rises from left to right and whose green from top to bottom. Black and white tell the scale of every value, and which
values come from the file at all (padding is the same in both); the third tells where in the file each value lies. So
crops, padding, tiles, patches and resizing of every family come out of one mechanism.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pcvr.data.sample import Image
    from pcvr.models.vlm import VisionLanguageModel

_PROMPT = "describe the image."  # the picture is looked at, whatever is asked of it
_PADDING = 200  # level of what does not come from the file, in pictures for people
_GAP = 2  # pixels between tiles, in pictures for people
_TOP, _WAVES = 254, 8  # levels of a ramp, and how often its rounding goes from always down to always up


class Window(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of a file, in pixels; the last ones are outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Pixels inside; 0 where nothing is."""
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def common(self, other: Window) -> Window:
        """What lies in both."""
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


class Sight:
    """What a model's processor makes of pictures of one size. No random number is drawn, no weight is used.

    Attributes:
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
        window: the part of the file that reaches the model; of several tiles, what all of them show together.
        content: bool ``[n, h, w]``, which values of the tiles come from the file and are no padding.
        areas: float64 ``[n]``, how much of the file each tile shows, in pixels of the file.
    """

    def __init__(self, vlm: VisionLanguageModel, height: int, width: int) -> None:
        """
        Args:
            vlm: the model; its family and its processor are used.
            height: of the pictures.
            width: of the pictures.
        """
        self.vlm, self.height, self.width = vlm, height, width
        probe = np.zeros((height, width, 3), np.uint8)
        self._black = _tiles(vlm, probe)
        self._span = _tiles(vlm, np.full_like(probe, 255)) - self._black
        size = np.abs(self._span).min(-1)
        self.content = size > size.max() / 2
        self._span[~self.content] = 1
        down, across = _middles(height)[:, None], _middles(width)[None]
        probe[..., 0], probe[..., 1] = _ramp(across, down), _ramp(down, across)
        where = (self.levels(probe) - 0.5) / _TOP
        shown = [
            _shown(where[tile], inside, height, width) if inside.any() else Window(0, 0, 0, 0)
            for tile, inside in enumerate(self.content)
        ]
        self.areas = np.array([part.area for part in shown], dtype=float)
        parts = [part for part in shown if part.area]
        self.window = Window(
            min(part.top for part in parts),
            min(part.left for part in parts),
            max(part.bottom for part in parts),
            max(part.right for part in parts),
        )

    @property
    def whole(self) -> bool:
        """Whether all of the file reaches the model."""
        return self.window == Window(0, 0, self.height, self.width)

    def levels(self, image: Image) -> np.ndarray:
        """What is seen of a picture of this size: levels of the tiles, 0 to 255, float32 ``[n, h, w, 3]``.

        Filters may lead a little beyond 0 and 255. Padding is 0.
        """
        return (_tiles(self.vlm, image) - self._black) / self._span * 255 * self.content[..., None]

    def picture(self, image: Image) -> Image:
        """What is seen of a picture of this size, for people: uint8 ``[h, w, 3]``, padding in light grey.

        Several tiles are laid out in rows, in the model's order.
        """
        levels = np.rint(self.levels(image)).clip(0, 255).astype(np.uint8)
        levels[~self.content] = _PADDING
        return _sheet(levels[self.content.any((1, 2))])


def _tiles(vlm: VisionLanguageModel, image: Image) -> np.ndarray:
    """One picture as the processor hands it to the tower: float32 ``[n, h, w, 3]``."""
    from pcvr.models.layout import tiles_of

    batch = vlm.prepare([image], [_PROMPT])
    pixels = batch["pixel_values"]
    row = batch | {"pixel_values": pixels if vlm.family.layout == "patches" else pixels[0]}
    tiles: np.ndarray = tiles_of(vlm, row).float().permute(0, 2, 3, 1).numpy()
    return tiles


def _middles(length: int) -> np.ndarray:
    """Where the middle of each pixel lies along a side, as a share of it: ``[length]``."""
    return (np.arange(length) + 0.5) / length


def _ramp(along: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Levels that rise with `along`, with what whole levels lose spread over `beside`: their mean is exact to 0.5."""
    return np.floor(_TOP * along + 0.5 + _WAVES * beside % 1)


def _shown(where: np.ndarray, inside: np.ndarray, height: int, width: int) -> Window:
    """The part of the file in a tile: from `where` in shares ``[h, w, 3]``, and which values are from the file."""
    rows, columns = inside.any(1), inside.any(0)
    part = where[rows][:, columns]
    left, right = _extent(part[..., 0].mean(0), width)
    top, bottom = _extent(part[..., 1].mean(1), height)
    return Window(top, left, bottom, right)


def _extent(middles: np.ndarray, length: int) -> tuple[int, int]:
    """From where to where values reach along a side of `length` pixels, of which the middles are known as shares."""
    count = len(middles)
    bent = min(count // 4, 2 + count // length)  # at each end: there a filter has nothing more to read
    if count < 2 or length < 2:
        half = min(middles[0], 1 - middles[0])
        ends = np.array([middles[0] - half, middles[0] + half])
    else:
        straight = slice(bent, count - bent)
        pitch, first = np.polyfit(np.arange(count)[straight], middles[straight], 1)
        ends = np.array([first - pitch / 2, first + (count - 0.5) * pitch])
    low, high = np.rint(ends * length).clip(0, length).astype(int)
    return int(low), max(int(low) + 1, int(high))


def _sheet(tiles: np.ndarray) -> np.ndarray:
    """Tiles ``[n, h, w, 3]`` as one picture, in rows of about as many as there are rows."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    high, wide = tiles.shape[1:3]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (high + _GAP) - _GAP, columns * (wide + _GAP) - _GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (high + _GAP), place % columns * (wide + _GAP)
        sheet[top : top + high, left : left + wide] = tile
    return sheet
