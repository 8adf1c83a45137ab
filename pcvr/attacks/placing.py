"""Place a patch in a corner or the middle of the file, or of the part of the file that a model sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
_PROBES = ((480, 480), (240, 720), (720, 240), (360, 480))  # height and width of images that probe a processor
_SLACK = 8  # pixels by which a processor's rounding may move an edge


@dataclass(frozen=True)
class Seen:
    """The part of an image that a model sees: a window in the middle of an image of any size.

    Attributes:
        height: of the window, above 0, in `unit`; at most the image's height counts.
        width: of the window, likewise.
        unit: ``"own side"`` (fractions of the image's height and width), ``"short side"`` (fractions of the shorter
            side, for processors that resize the short side and cut out a square), or ``"pixels"``.
    """

    height: float = 1.0
    width: float = 1.0
    unit: str = "own side"

    def __post_init__(self) -> None:
        check_number("height of the visible part", self.height, 0, 1e6, self.unit, above=True)
        check_number("width of the visible part", self.width, 0, 1e6, self.unit, above=True)
        check_choice("unit of the visible part", self.unit, UNITS)

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the visible rows and columns of an image of this size, at least one of each."""
        high, wide = _unit_px(self.unit, height, width)
        return _middle(self.height * high, height), _middle(self.width * wide, width)


def _unit_px(unit: str, height: int, width: int) -> tuple[int, int]:
    """Return the pixels of one unit, for the height and the width of a window."""
    short = min(height, width)
    return {"own side": (height, width), "short side": (short, short), "pixels": (1, 1)}[unit]


def _middle(share: float, length: int) -> slice:
    side = min(length, max(1, int(share + 0.5)))
    start = (length - side) // 2
    return slice(start, start + side)


def as_seen(value: Any) -> Seen | None:
    """Convert `value`, a :class:`Seen`, a mapping of its fields (as in manifests) or None.

    Raises:
        PcvrError: the value is something else, or has other fields.
    """
    if value is None or isinstance(value, Seen):
        return value
    try:
        return Seen(**value) if isinstance(value, Mapping) else _reject_seen(value)
    except TypeError:
        return _reject_seen(value)


def _reject_seen(value: Any) -> Seen:
    raise PcvrError(f"seen is {shown(value)}: give what attack.fitted_to(model) sets: height, width and unit.")


def area_of(place: str, seen: Seen | None, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns to which `place` refers: the whole file, or the visible part.

    Raises:
        PcvrError: the place refers to the visible part, and no model was given.
    """
    if not place.startswith(SEEN):
        return slice(0, height), slice(0, width)
    if seen is None:
        raise PcvrError(
            f"the place {place!r} lies in the part of an image that a model sees: say which model, with "
            "poison(model=...) or attack.fitted_to(model), or on the command line with --model."
        )
    return seen.window(height, width)


def innermost(trigger: Any) -> Any:
    """Return the trigger that others are built around, see `pcvr.attacks.composed`; any other is its own."""
    while hasattr(trigger, "inner"):
        trigger = trigger.inner
    return trigger


def moved(trigger: Any, place: str, seen: Seen) -> Any:
    """Return the trigger with its patch in another place; a trigger without a place stays unchanged."""
    if hasattr(trigger, "inner"):
        return replace(trigger, inner=moved(trigger.inner, place, seen))
    return replace(trigger, place=place, seen=seen) if hasattr(trigger, "seen") else trigger


def opened(model: VisionLanguageModel | str) -> VisionLanguageModel:
    """Return the model, or load the processor of a name, without weights."""
    if not isinstance(model, str):
        return model
    from pcvr.models.load import load_processor

    return load_processor(model)


def seen_by(model: VisionLanguageModel | str) -> Seen:
    """Find which part of an image a model sees, by probing its processor with four shapes.

    Raises:
        PcvrError: a :class:`Seen` cannot describe the part.
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
        f"what {shown(vlm.name)} sees of an image is not a window in its middle (of {windows}; top, left, bottom, "
        "right): give a place in the file, and a margin that leads into the visible part."
    )


def _largest(found: Mapping[tuple[int, int], Window], unit: str) -> Seen:
    """Return the largest window found, in `unit`; of a smaller image, everything is visible."""
    high = max((window.bottom - window.top) / _unit_px(unit, *size)[0] for size, window in found.items())
    wide = max((window.right - window.left) / _unit_px(unit, *size)[1] for size, window in found.items())
    return Seen(round(high, 3), round(wide, 3), unit)


def _fits(guess: tuple[slice, slice], window: Window) -> bool:
    said = (guess[0].start, guess[1].start, guess[0].stop, guess[1].stop)
    return all(abs(one - other) <= _SLACK for one, other in zip(said, window, strict=True))
