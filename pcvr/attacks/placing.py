"""Where a patch goes: into a corner or the middle of the file, or of the part of the file that a model sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice, check_number

if TYPE_CHECKING:
    from pcvr.models.sight import Window
    from pcvr.models.vlm import VisionLanguageModel

PLACES = ("top_left", "top_right", "bottom_left", "bottom_right", "centre")
"""Places in the file."""
SEEN = "seen_"
SEEN_PLACES = tuple(SEEN + place for place in PLACES)
"""The same places in the part of the file that a model sees."""

UNITS = ("own side", "short side", "pixels")
_PROBES = ((480, 480), (240, 720), (720, 240), (360, 480))  # height and width of the pictures to ask about
_SLACK = 8  # pixels that a processor's own rounding may move an edge of these


@dataclass(frozen=True)
class Seen:
    """The part of a picture that a model sees: a window in its middle, for pictures of any size.

    Attributes:
        height: of the window, above 0, in `unit`; never more than the picture has.
        width: of the window, likewise.
        unit: ``"own side"`` (shares of the picture's height and width), ``"short side"`` (both are shares of the
            shorter one, as where a processor resizes the short side and cuts out a square), or ``"pixels"``.
    """

    height: float = 1.0
    width: float = 1.0
    unit: str = "own side"

    def __post_init__(self) -> None:
        check_number("height of what is seen", self.height, 0, 1e6, self.unit, above=True)
        check_number("width of what is seen", self.width, 0, 1e6, self.unit, above=True)
        check_choice("unit of what is seen", self.unit, UNITS)

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns that are seen of a picture of this size; at least one of each."""
        high, wide = _unit_px(self.unit, height, width)
        return _middle(self.height * high, height), _middle(self.width * wide, width)


def _unit_px(unit: str, height: int, width: int) -> tuple[int, int]:
    """What 1 is in pixels, for the height and the width of a window."""
    short = min(height, width)
    return {"own side": (height, width), "short side": (short, short), "pixels": (1, 1)}[unit]


def _middle(share: float, length: int) -> slice:
    side = min(length, max(1, int(share + 0.5)))
    start = (length - side) // 2
    return slice(start, start + side)


def as_seen(value: Any) -> Seen | None:
    """`value` as a :class:`Seen`: one, its fields as a mapping (as manifests have them), or None.

    Raises:
        PcvrError: something else, or other fields.
    """
    if value is None or isinstance(value, Seen):
        return value
    try:
        return Seen(**value) if isinstance(value, Mapping) else _refuse(value)
    except TypeError:
        return _refuse(value)


def _refuse(value: Any) -> Seen:
    raise PcvrError(f"seen is {shown(value)}: give what attack.fitted_to(model) sets: height, width and unit.")


def area_of(place: str, seen: Seen | None, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns inside which `place` is meant: the whole file, or what is seen of it.

    Raises:
        PcvrError: the place is in what a model sees, and nobody said which model.
    """
    if not place.startswith(SEEN):
        return slice(0, height), slice(0, width)
    if seen is None:
        raise PcvrError(
            f"the place {place!r} lies in the part of a picture that a model sees: say which model, with "
            "poison(model=...) or attack.fitted_to(model), or on the command line with --model."
        )
    return seen.window(height, width)


def opened(model: VisionLanguageModel | str) -> VisionLanguageModel:
    """The model, or of a name as much of it as says what it sees: no weights."""
    if not isinstance(model, str):
        return model
    from pcvr.models.load import load_processor

    return load_processor(model)


def seen_by(model: VisionLanguageModel | str) -> Seen:
    """What a model sees of pictures of any size, asked of its processor with pictures of four shapes.

    Raises:
        PcvrError: the part is none that a :class:`Seen` describes.
    """
    from pcvr.models.sight import Sight

    vlm = opened(model)
    found = {size: Sight(vlm, *size).window for size in _PROBES}
    for unit in UNITS:
        guess = _largest(found, unit)
        if all(_fits(guess.window(*size), window) for size, window in found.items()):
            return guess
    windows = "; ".join(f"{w} x {h}: {tuple(found[h, w])}" for h, w in _PROBES)
    raise PcvrError(
        f"what {shown(vlm.name)} sees of a picture is no window in its middle (of {windows}; top, left, bottom, "
        "right): give a place in the file, and a margin that leads into what is seen."
    )


def _largest(found: Mapping[tuple[int, int], Window], unit: str) -> Seen:
    """The window in `unit` that is as large as the largest found: a smaller picture is seen as far as it goes."""
    high = max((window.bottom - window.top) / _unit_px(unit, *size)[0] for size, window in found.items())
    wide = max((window.right - window.left) / _unit_px(unit, *size)[1] for size, window in found.items())
    return Seen(round(high, 3), round(wide, 3), unit)


def _fits(guess: tuple[slice, slice], window: Window) -> bool:
    said = (guess[0].start, guess[1].start, guess[0].stop, guess[1].stop)
    return all(abs(one - other) <= _SLACK for one, other in zip(said, window, strict=True))
