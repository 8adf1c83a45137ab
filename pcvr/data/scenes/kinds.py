"""The twelve kinds of object with their drawings, and the eight body colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pcvr.data.scenes.pen import BODY, DARK, GLOSS, LIGHT, LINE, SHADE, Pen, fixed

COLORS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (222, 44, 40),
        "orange": (247, 132, 24),
        "yellow": (250, 216, 48),
        "green": (58, 164, 70),
        "blue": (44, 104, 220),
        "purple": (134, 62, 186),
        "pink": (250, 146, 192),
        "white": (248, 248, 248),
    }
)
"""Body colours by name, RGB 0..255."""

WOOD = fixed(128, 84, 50)
LEAF = fixed(72, 140, 62)
GLASS = fixed(190, 222, 236)
BLACK = fixed(38, 38, 44)
SILVER = fixed(196, 198, 204)
PALE = fixed(250, 248, 240)
SLATE = fixed(86, 90, 106)
LAMP = fixed(255, 226, 130)

# The points of a shape read better in rows than one a line.
# fmt: off


def _apple(pen: Pen) -> None:
    pen.blob([(50, 26), (66, 18), (86, 26), (94, 50), (84, 78), (64, 94),
              (50, 91), (36, 94), (16, 78), (6, 50), (14, 26), (34, 18)])
    pen.blob([(92, 34), (94, 54), (82, 80), (62, 93), (50, 90), (70, 78), (84, 58)], SHADE, clip=True)
    pen.ellipse(28, 42, 8, 12, GLOSS, clip=True)
    pen.arc(50, 20, 14, 9, 20, 160, 4, DARK, clip=True)
    pen.line([(50, 30), (51, 16), (56, 4)], 6, WOOD)
    pen.blob([(56, 16), (66, 5), (84, 4), (78, 15), (66, 19)], LEAF)


def _ball(pen: Pen) -> None:
    pen.ellipse(50, 50, 46, 46)
    pole = (44, 30)
    rim = [(50 + 70 * math.cos(math.radians(a)), 50 + 70 * math.sin(math.radians(a))) for a in range(30, 390, 30)]
    for start in range(0, 12, 4):
        pen.polygon([pole, *rim[start : start + 3]], PALE, clip=True)
    for end in rim[::2]:
        pen.line([pole, end], 2, DARK, clip=True)
    pen.ellipse(*pole, 8, 8, DARK)


def _banana(pen: Pen) -> None:
    pen.blob([(80, 8), (90, 9), (91, 20), (97, 44), (90, 72), (65, 92), (34, 95),
              (11, 86), (4, 76), (10, 68), (34, 64), (54, 52), (68, 34), (77, 18)])
    pen.blob([(92, 26), (99, 46), (92, 72), (66, 94), (34, 97), (10, 88), (34, 88), (62, 83), (84, 64), (92, 42)],
             SHADE, clip=True)
    pen.line([(12, 75), (38, 76), (64, 65), (80, 44), (84, 20)], 3, DARK, clip=True)
    pen.line([(81, 6), (86, 15)], 11, WOOD)
    pen.ellipse(8, 76, 6, 6.5, WOOD)


def _boat(pen: Pen) -> None:
    pen.line([(45, 6), (45, 68)], 5, WOOD)
    pen.polygon([(41, 10), (41, 60), (10, 60)], PALE)
    pen.polygon([(50, 8), (50, 60), (92, 60)], BODY)
    pen.polygon([(3, 65), (97, 65), (82, 95), (18, 95)])
    pen.polygon([(13, 86), (87, 86), (82, 95), (18, 95)], SHADE, clip=True)
    pen.line([(4, 68), (96, 68)], 5, LIGHT)


def _car(pen: Pen) -> None:
    pen.blob([(26, 50), (34, 30), (46, 25), (62, 26), (74, 36), (82, 50), (70, 54), (40, 54)])
    pen.blob([(4, 58), (10, 50), (30, 47), (60, 46), (84, 49), (95, 56),
              (96, 70), (90, 75), (50, 76), (10, 75), (4, 70)])
    pen.polygon([(34, 47), (39, 34), (50, 32), (50, 47)], GLASS)
    pen.polygon([(55, 32), (63, 33), (73, 47), (55, 47)], GLASS)
    pen.line([(5, 69), (95, 69)], 5, SHADE, clip=True)
    pen.line([(52, 50), (52, 68)], 2, DARK)
    pen.ellipse(92, 58, 4, 4, LAMP)
    for x in (26, 74):
        pen.ellipse(x, 75, 13, 13, BLACK)
        pen.ellipse(x, 75, 6, 6, SILVER)


def _cat(pen: Pen) -> None:
    pen.arc(74, 74, 17, 17, 100, -80, 9, BODY)
    pen.blob([(46, 50), (64, 62), (72, 82), (68, 95), (46, 96), (24, 95), (20, 82), (28, 62)])
    pen.ellipse(46, 84, 11, 15, LIGHT, clip=True)
    pen.line([(36, 95), (36, 84)], 2.5, DARK, clip=True)
    pen.line([(56, 95), (56, 84)], 2.5, DARK, clip=True)
    for side in (-1, 1):
        pen.polygon([(46 + 33 * side, 4), (46 + 34 * side, 38), (46 + 6 * side, 20)])
        pen.polygon([(46 + 28 * side, 13), (46 + 28 * side, 30), (46 + 15 * side, 20)], fixed(240, 160, 165))
    pen.ellipse(46, 38, 36, 26)
    for side in (-1, 1):
        pen.ellipse(46 + 15 * side, 36, 6, 7.5, BLACK)
        pen.ellipse(46 + 15 * side + 2, 33, 2.2, 2.2, PALE)
        pen.line([(46 + 16 * side, 48), (46 + 34 * side, 45)], 1.8, DARK)
        pen.line([(46 + 16 * side, 52), (46 + 32 * side, 54)], 1.8, DARK)
        pen.arc(46 + 4.5 * side, 51, 4.5, 4, 10, 170, 2, LINE)
    pen.polygon([(41, 44), (51, 44), (46, 50)], fixed(214, 96, 110))


def _cup(pen: Pen) -> None:
    pen.arc(72, 54, 20, 18, -95, 95, 9, BODY)
    pen.blob([(8, 24), (40, 20), (74, 24), (73, 50), (67, 84), (54, 93), (28, 93), (15, 84), (9, 50)])
    pen.blob([(58, 24), (74, 24), (73, 50), (67, 84), (54, 93), (40, 93), (56, 78), (61, 50)], SHADE, clip=True)
    pen.line([(20, 44), (24, 74)], 6, LIGHT, clip=True)
    pen.ellipse(41, 23, 34, 10, LIGHT)
    pen.ellipse(41, 24, 28, 6.5, fixed(92, 58, 40))


def _fish(pen: Pen) -> None:
    pen.blob([(40, 32), (50, 14), (66, 22), (66, 36)], SHADE)
    pen.blob([(46, 66), (56, 84), (66, 80), (66, 64)], SHADE)
    pen.polygon([(32, 50), (4, 22), (12, 50), (4, 78)], SHADE)
    pen.blob([(24, 50), (40, 32), (64, 28), (86, 38), (97, 52), (86, 64), (64, 72), (40, 67)])
    pen.blob([(26, 54), (50, 58), (96, 54), (86, 64), (64, 72), (40, 67)], LIGHT, clip=True)
    pen.arc(62, 50, 10, 20, -70, 70, 3, DARK, clip=True)
    for x in (40, 52):
        pen.arc(x - 8, 49, 10, 14, -60, 60, 2.5, DARK, clip=True)
    pen.ellipse(82, 45, 6.5, 6.5, PALE)
    pen.ellipse(83.5, 45, 3.6, 3.6, BLACK)
    pen.line([(5, 28), (16, 44)], 2, DARK, clip=True)
    pen.line([(5, 72), (16, 56)], 2, DARK, clip=True)


def _flower(pen: Pen) -> None:
    pen.line([(50, 56), (52, 78), (50, 95)], 6, LEAF)
    pen.blob([(51, 88), (62, 72), (80, 70), (72, 84), (60, 90)], LEAF)
    pen.blob([(50, 92), (38, 78), (22, 78), (30, 90), (42, 95)], LEAF)
    for turn in range(6):
        angle = math.radians(60 * turn + 30)
        pen.ellipse(50 + 21 * math.cos(angle), 36 + 21 * math.sin(angle), 14.5, 14.5, DARK)
        pen.ellipse(50 + 20.5 * math.cos(angle), 36 + 20.5 * math.sin(angle), 12.8, 12.8, BODY)
    pen.ellipse(50, 36, 13, 13, BODY)
    pen.ellipse(50, 36, 10.5, 10.5, fixed(122, 72, 36))
    pen.ellipse(48, 34, 5, 5, fixed(172, 112, 54))


def _hat(pen: Pen) -> None:
    pen.ellipse(50, 74, 47, 15, SHADE)
    pen.ellipse(50, 71, 47, 13, BODY)
    pen.blob([(24, 72), (25, 44), (34, 22), (50, 17), (66, 22), (75, 44), (76, 72), (64, 78), (50, 80), (36, 78)])
    pen.blob([(58, 18), (68, 24), (75, 44), (76, 72), (64, 78), (52, 80), (64, 60)], SHADE, clip=True)
    pen.blob([(24, 60), (50, 67), (76, 60), (76.5, 71), (64, 77), (50, 79), (36, 77), (23.5, 71)], BLACK)
    pen.line([(36, 30), (33, 48)], 5, LIGHT, clip=True)


def _house(pen: Pen) -> None:
    pen.box(70, 10, 82, 40, fixed(150, 92, 74))
    pen.box(14, 46, 86, 95)
    pen.polygon([(14, 46), (86, 46), (86, 54), (14, 54)], SHADE)
    pen.polygon([(50, 5), (98, 50), (2, 50)], SLATE)
    pen.polygon([(50, 5), (60, 14.5), (22, 50), (2, 50)], fixed(106, 110, 128))
    pen.box(42, 66, 60, 95, WOOD)
    pen.ellipse(56, 81, 2, 2, LAMP)
    for x in (20, 66):
        pen.box(x, 60, x + 15, 76, PALE)
        pen.box(x + 2, 62, x + 13, 74, GLASS)
        pen.line([(x + 7.5, 62), (x + 7.5, 74)], 1.8, PALE)


def _tree(pen: Pen) -> None:
    pen.polygon([(42, 56), (58, 56), (60, 84), (66, 96), (34, 96), (40, 84)], WOOD)
    pen.polygon([(52, 56), (58, 56), (60, 84), (66, 96), (56, 96)], fixed(100, 64, 38))
    lobes = [(28, 46, 22), (72, 46, 22), (50, 54, 20), (36, 26, 20), (64, 26, 20), (50, 20, 17), (50, 38, 24)]
    for x, y, r in lobes:
        pen.ellipse(x, y, r, r, BODY)
    for x, y, r in ((74, 46, 19), (52, 56, 17)):
        pen.arc(x, y, r, r, 10, 120, 5, SHADE, clip=True)
    for x, y, r in ((28, 46, 15), (36, 24, 13), (62, 36, 13)):
        pen.arc(x, y, r, r, 190, 280, 5, LIGHT, clip=True)

# fmt: on

DRAWINGS: Mapping[str, Callable[[Pen], None]] = MappingProxyType(
    {
        "apple": _apple,
        "ball": _ball,
        "banana": _banana,
        "boat": _boat,
        "car": _car,
        "cat": _cat,
        "cup": _cup,
        "fish": _fish,
        "flower": _flower,
        "hat": _hat,
        "house": _house,
        "tree": _tree,
    }
)
"""Kind of object to its drawing."""

KINDS: tuple[str, ...] = tuple(DRAWINGS)
"""The kinds of object, in alphabetical order."""
