"""One object of a scene, and how two of them lie to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcvr.data.scenes.sprites import SIZE_PX

COLUMNS = ("left", "middle", "right")
ROWS = ("top", "centre", "bottom")


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, and where.

    Attributes:
        kind, color, size: their names.
        rgb: the body colour as drawn (the named colour, slightly varied), 0..255.
        x, y: the upper left corner of its bounding box in pixels.
        width, height: of its bounding box in pixels.
        side: the longer of the two, before rounding the other; picks the sprite.
        mirrored: whether it is drawn mirrored left to right.
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
        """``"left"``, ``"middle"`` or ``"right"`` third of the picture, by its centre."""
        return COLUMNS[min(2, int(3 * self.cx / SIZE_PX))]

    @property
    def row(self) -> str:
        """``"top"``, ``"centre"`` or ``"bottom"`` third of the picture, by its centre."""
        return ROWS[min(2, int(3 * self.cy / SIZE_PX))]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Bounding box ``(x0, y0, x1, y1)`` in pixels, the second corner excluded."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def facts(self) -> dict[str, Any]:
        """What is true of the object, as plain values."""
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
    """How ``one`` lies to ``other``, along the axis on which they are further apart: ``"left of"`` or so."""
    dx, dy = other.cx - one.cx, other.cy - one.cy
    if abs(dx) >= abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def next_to(one: SceneObject, other: SceneObject) -> bool:
    """Whether the two stand side by side: about level, with at most 14 pixels between them."""
    left, right = sorted((one, other), key=lambda each: each.cx)
    return abs(one.cy - other.cy) <= 14 and 0 <= right.x - (left.x + left.width) <= 14
