"""A pen that draws one object on layers from which any body colour can be rendered.

Every shape is painted on three layers: its opacity (``alpha``), the fraction of the body colour that it shows
(``tint``), and its own light (``base``). The rendered colour is ``base + tint * colour``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as PilImage
from PIL import ImageChops, ImageDraw, ImageFilter

CANVAS = 400
"""Side of the square canvas in pixels: objects are drawn large and reduced later, which smooths their edges."""

UNIT = CANVAS / 100
"""Canvas pixels per unit: drawings use coordinates from 0 to 100, y pointing down."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Paint:
    """A paint: the fraction of the body colour that it shows (0..1) and the RGB light that it adds (0..255)."""

    tint: float
    base: tuple[int, int, int] = (0, 0, 0)


def fixed(red: int, green: int, blue: int) -> Paint:
    """Return a paint that does not depend on the body colour."""
    return Paint(0.0, (red, green, blue))


BODY = Paint(1.0)
SHADE = Paint(0.8)
DARK = Paint(0.52)
LINE = Paint(0.36)
LIGHT = Paint(0.68, (78, 78, 78))
GLOSS = Paint(0.3, (176, 176, 176))


def smooth(points: Sequence[Point], steps: int = 12) -> list[Point]:
    """Return a closed smooth curve through ``points`` (uniform Catmull-Rom) as a polygon."""
    knots = np.asarray(points, dtype=float)
    before, after, beyond = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (each[:, None, :] for each in (before, knots, after, beyond))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


class Pen:
    """Paints shapes in units of 0..100; with ``clip`` only where something is already painted."""

    def __init__(self) -> None:
        self.alpha = PilImage.new("L", (CANVAS, CANVAS))
        self.tint = PilImage.new("L", (CANVAS, CANVAS))
        self.base = PilImage.new("RGB", (CANVAS, CANVAS))

    def _paint(self, draw: Callable[[ImageDraw.ImageDraw], None], paint: Paint, clip: bool) -> None:
        mask = PilImage.new("L", (CANVAS, CANVAS))
        draw(ImageDraw.Draw(mask))
        if clip:
            mask = ImageChops.multiply(mask, self.alpha)
        self.alpha.paste(255, mask=mask)
        self.tint.paste(round(255 * paint.tint), mask=mask)
        self.base.paste(paint.base, mask=mask)

    def polygon(self, points: Sequence[Point], paint: Paint = BODY, *, clip: bool = False) -> None:
        """Paint a filled polygon."""
        scaled = [(x * UNIT, y * UNIT) for x, y in points]
        self._paint(lambda pen: pen.polygon(scaled, fill=255), paint, clip)

    def blob(self, points: Sequence[Point], paint: Paint = BODY, *, clip: bool = False) -> None:
        """Paint a filled smooth shape through ``points``."""
        self.polygon(smooth(points), paint, clip=clip)

    def ellipse(self, x: float, y: float, rx: float, ry: float, paint: Paint = BODY, *, clip: bool = False) -> None:
        """Paint a filled ellipse centred at ``(x, y)``."""
        box = [(x - rx) * UNIT, (y - ry) * UNIT, (x + rx) * UNIT, (y + ry) * UNIT]
        self._paint(lambda pen: pen.ellipse(box, fill=255), paint, clip)

    def box(self, x0: float, y0: float, x1: float, y1: float, paint: Paint = BODY, *, round_by: float = 0) -> None:
        """Paint a filled rectangle, its corners rounded by the radius ``round_by``."""
        box = [x0 * UNIT, y0 * UNIT, x1 * UNIT, y1 * UNIT]
        self._paint(lambda pen: pen.rounded_rectangle(box, radius=round_by * UNIT, fill=255), paint, False)

    def line(self, points: Sequence[Point], width: float, paint: Paint = LINE, *, clip: bool = False) -> None:
        """Paint a line with round ends and joints."""
        scaled = [(x * UNIT, y * UNIT) for x, y in points]
        radius = width * UNIT / 2

        def draw(pen: ImageDraw.ImageDraw) -> None:
            pen.line(scaled, fill=255, width=round(2 * radius))
            for x, y in scaled:
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)

        self._paint(draw, paint, clip)

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float, paint: Paint = LINE,
        *, clip: bool = False,
    ) -> None:  # fmt: skip
        """Paint an arc of an ellipse from ``start`` to ``end`` degrees, clockwise from the right."""
        angles = np.radians(np.linspace(start, end, 48))
        self.line([(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles], width, paint, clip=clip)

    def outline(self, width: float) -> None:
        """Paint a dark outline of ``width`` units around and below everything painted so far."""
        # A blurred edge falls from 0.5 to about 0.16 at a distance of one blur radius.
        wide = self.alpha.filter(ImageFilter.GaussianBlur(width * UNIT)).point(lambda value: 255 if value > 40 else 0)
        rim = ImageChops.subtract(wide, self.alpha)
        self.tint.paste(round(255 * LINE.tint), mask=rim)
        self.base.paste(LINE.base, mask=rim)
        self.alpha = ImageChops.lighter(wide, self.alpha)

    def copy(self) -> Pen:
        """Return a copy with layers of its own."""
        other = Pen()
        other.alpha, other.tint, other.base = self.alpha.copy(), self.tint.copy(), self.base.copy()
        return other
