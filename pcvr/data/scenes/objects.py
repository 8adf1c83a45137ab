"""One object of a scene, and the spatial relations of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcvr.data.scenes.sprites import SIZE_PX

COLUMNS = ("left", "middle", "right")
ROWS = ("top", "centre", "bottom")


@dataclass(frozen=True)
class SceneObject:
    """One object with its position.

    Attributes:
        kind, color, size: names.
        rgb: body colour as drawn (the named colour, slightly varied), 0..255.
        x, y: upper left corner of the bounding box in pixels.
        width, height: size of the bounding box in pixels.
        side: the longer of the two, which selects the sprite.
        mirrored: whether it is mirrored left to right.
    """

    kind: str
    color: str
    size: str
    rgb: tuple[int, int, int]
    x: int
    y: int
    width: int
    height: int
    side: int
    mirrored: bool

    @property
    def cx(self) -> float:
        """Centre of the bounding box, pixels from the left."""
        return self.x + self.width / 2

    @property
    def cy(self) -> float:
        """Centre of the bounding box, pixels from the top."""
        return self.y + self.height / 2

    @property
    def column(self) -> str:
        """``"left"``, ``"middle"`` or ``"right"`` third of the image, by its centre."""
        return COLUMNS[min(2, int(3 * self.cx / SIZE_PX))]

    @property
    def row(self) -> str:
        """``"top"``, ``"centre"`` or ``"bottom"`` third of the image, by its centre."""
        return ROWS[min(2, int(3 * self.cy / SIZE_PX))]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Bounding box ``(x0, y0, x1, y1)`` in pixels, the second corner excluded."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def facts(self) -> dict[str, Any]:
        """Return the facts about the object as plain values."""
        return {
            "kind": self.kind,
            "color": self.color,
            "size": self.size,
            "place": f"{self.row} {self.column}",
            "column": self.column,
            "row": self.row,
            "cx": self.cx,
            "cy": self.cy,
            "box": self.box,
        }


def relation(one: SceneObject, other: SceneObject) -> str:
    """Return the relation of ``one`` to ``other`` along the axis of larger distance, such as ``"left of"``."""
    dx, dy = other.cx - one.cx, other.cy - one.cy
    if abs(dx) >= abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def next_to(one: SceneObject, other: SceneObject) -> bool:
    """Return whether two objects are side by side: at about the same height, at most 14 pixels apart."""
    left, right = sorted((one, other), key=lambda each: each.cx)
    return abs(one.cy - other.cy) <= 14 and 0 <= right.x - (left.x + left.width) <= 14
