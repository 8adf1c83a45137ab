"""The part of an image that a model sees, measured with its processor.

No option of the processor is read. Three probes of the image's size go through it: black, white, and one whose red
rises from left to right and whose green rises from top to bottom. Black and white give the scale of every value, and
the values that come from the file (padding is the same in both). The third gives the position in the file of each
value. So one mechanism covers crops, padding, tiles, patches and resizing of every family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pcvr.data.sample import Image
    from pcvr.models.vlm import VisionLanguageModel

_PROMPT = "describe the image."  # the processor needs some prompt
_PADDING = 200  # grey level of padding in images for people
_GAP = 2  # pixels between tiles in images for people
_TOP, _WAVES = 254, 8  # levels of a ramp, and the periods of its dither


class Window(NamedTuple):
    """Rows from ``top`` to before ``bottom``, columns from ``left`` to before ``right`` of an image, in pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def common(self, other: Window) -> Window:
        """Return the intersection with `other`."""
        return Window(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )


class Sight:
    """The output of a model's processor for images of one size; deterministic, without weights.

    Attributes:
        height: height of the images in pixels.
        width: width of the images in pixels.
        window: the part of the image that reaches the model, the union of all tiles.
        content: bool ``[n, h, w]``, the values of the tiles that come from the image and are not padding.
        areas: float64 ``[n]``, the area of the image that each tile shows, in pixels of the image.
    """

    def __init__(self, vlm: VisionLanguageModel, height: int, width: int) -> None:
        """
        Args:
            vlm: the model; its family and its processor are used.
            height: height of the images in pixels.
            width: width of the images in pixels.
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
        """Whether the whole image reaches the model."""
        return self.window == Window(0, 0, self.height, self.width)

    def levels(self, image: Image) -> np.ndarray:
        """Return the levels of the tiles for an image of this size: float32 ``[n, h, w, 3]``, 0 to 255.

        Resizing filters may overshoot 0 and 255 slightly. Padding is 0.
        """
        return (_tiles(self.vlm, image) - self._black) / self._span * 255 * self.content[..., None]

    def picture(self, image: Image) -> Image:
        """Return what the model sees of an image of this size as an image: uint8 ``[h, w, 3]``, padding in light grey.

        Several tiles are arranged in rows, in the model's order.
        """
        levels = np.rint(self.levels(image)).clip(0, 255).astype(np.uint8)
        levels[~self.content] = _PADDING
        return _sheet(levels[self.content.any((1, 2))])


def _tiles(vlm: VisionLanguageModel, image: Image) -> np.ndarray:
    """Return the processor's output for one image: float32 ``[n, h, w, 3]``."""
    from pcvr.models.layout import own_pixels, tiles_of

    batch = vlm.prepare([image], [_PROMPT])
    row = batch | {"pixel_values": own_pixels(vlm.family, batch["pixel_values"])}
    tiles: np.ndarray = tiles_of(vlm, row).float().permute(0, 2, 3, 1).numpy()
    return tiles


def _middles(length: int) -> np.ndarray:
    """Return the position of each pixel's centre along a side, as a fraction of its length: ``[length]``."""
    return (np.arange(length) + 0.5) / length


def _ramp(along: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Return levels that rise with `along`, dithered over `beside`: their mean is the exact level plus 0.5."""
    return np.floor(_TOP * along + 0.5 + _WAVES * beside % 1)


def _shown(where: np.ndarray, inside: np.ndarray, height: int, width: int) -> Window:
    """Return the part of the image in a tile from positions `where` ``[h, w, 3]`` (fractions) of values `inside`."""
    rows, columns = inside.any(1), inside.any(0)
    part = where[rows][:, columns]
    left, right = _extent(part[..., 0].mean(0), width)
    top, bottom = _extent(part[..., 1].mean(1), height)
    return Window(top, left, bottom, right)


def _extent(middles: np.ndarray, length: int) -> tuple[int, int]:
    """Return the pixels that values cover along a side of `length` pixels, from their centres (fractions)."""
    count = len(middles)
    bent = min(count // 4, 2 + count // length)  # values at each end that the resizing filter distorts
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
    """Arrange tiles ``[n, h, w, 3]`` in one image, in a nearly square grid."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    high, wide = tiles.shape[1:3]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (high + _GAP) - _GAP, columns * (wide + _GAP) - _GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (high + _GAP), place % columns * (wide + _GAP)
        sheet[top : top + high, left : left + wide] = tile
    return sheet
