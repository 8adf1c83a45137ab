"""Whether a trigger reaches the model: what its processor leaves of the change from a picture to its triggered twin.

Our criterion, for one picture. The change has a bounding box in the file; a model sees a window of the file. A trigger
survives when

1. the box and the window have at least half of the smaller one in common: a patch is not cut down to a sliver, and of
   a trigger that is spread over the picture any window has its share;
2. inside the window at least a tenth of the change's mean square is still there after resizing: a patch keeps that down
   to about a third of a pixel of what is seen, a fine pattern that resizing averages away does not;
3. some value changes by two levels or more: one is what rounding makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.attacks.base import Attack
from pcvr.attacks.placing import SEEN
from pcvr.data.subset import Subset
from pcvr.errors import PcvrError, shown
from pcvr.models.sight import Sight, Window

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset, Image
    from pcvr.models.vlm import VisionLanguageModel

LOOKED_AT = 32
"""Pictures that a check looks at, evenly spread over the data: a run must not become slower by it."""
ENOUGH = 0.9
"""Share of these on which a trigger has to survive."""
_OVERLAP, _KEPT, _PEAK = 0.5, 0.1, 1.5  # the three numbers of the criterion

Pair = tuple["Image", "Image"]
"""A clean picture and its triggered twin: uint8 ``[H, W, 3]``."""


@dataclass(frozen=True)
class Reach:
    """What a model sees of the change between a picture and its triggered twin.

    Attributes:
        overlap: common area of the change's box and the window that is seen, as a share of the smaller one, 0 to 1.
        kept: mean square of the change in what is seen, as a share of that in the same window of the file.
        peak: the largest change of a value that is seen, in levels.
        changed: whether the file changed at all.
    """

    overlap: float
    kept: float
    peak: float
    changed: bool = True

    @property
    def lost(self) -> str:
        """How the trigger was lost: ``"unchanged"``, ``"outside"``, ``"faded"``; empty where it survives."""
        if not self.changed:
            return "unchanged"
        if self.overlap < _OVERLAP:
            return "outside"
        return "faded" if self.kept < _KEPT or self.peak < _PEAK else ""


def reach(sight: Sight, clean: Image, triggered: Image) -> Reach:
    """What is seen of a trigger; the pictures have the size of `sight`."""
    change = triggered.astype(np.float32) - clean
    rows, columns = (np.flatnonzero(change.any((axis, 2))) for axis in (1, 0))
    if not len(rows):
        return Reach(0, 0, 0, changed=False)
    box = Window(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    window = sight.window
    overlap = box.common(window).area / min(box.area, window.area)
    before = float(np.square(change[window.top : window.bottom, window.left : window.right]).mean())
    seen = sight.levels(triggered) - sight.levels(clean)
    each = np.square(seen).mean(-1).sum((1, 2)) / np.maximum(sight.content.sum((1, 2)), 1)
    after = float(each @ sight.areas / sight.areas.sum())
    return Reach(overlap, after / before if before else 0.0, float(np.abs(seen).max()))


def spread(indices: Sequence[int]) -> list[int]:
    """At most :data:`LOOKED_AT` of `indices`, evenly spread."""
    places = np.linspace(0, len(indices) - 1, min(len(indices), LOOKED_AT)).round().astype(int)
    return [indices[int(place)] for place in places]


def check_reach(pairs: Iterable[Pair], attack: Attack, vlm: VisionLanguageModel | None = None) -> dict[str, Any]:
    """Make sure that the trigger is in the pictures, and in what a model sees of them.

    Args:
        pairs: clean pictures and their triggered twins.
        attack: whose trigger it is.
        vlm: the model; None looks at the files alone.

    Returns:
        ``model`` (its name), ``pictures`` (how many were looked at) and ``survives`` (on how many the trigger does).

    Raises:
        PcvrError: the trigger survives on fewer than 90 %; the sentence says where it went and what to do.
    """
    sights: dict[tuple[int, int], Sight] = {}
    lost: list[tuple[str, tuple[int, int]]] = []
    count = 0
    for clean, triggered in pairs:
        count += 1
        size = (clean.shape[0], clean.shape[1])
        how = "unchanged" if np.array_equal(clean, triggered) else ""
        if vlm is not None and not how:
            sight = sights[size] = sights.get(size) or Sight(vlm, *size)
            how = reach(sight, clean, triggered).lost
        if how:
            lost.append((how, size))
    if count - len(lost) < ENOUGH * count:
        (how, size), _ = Counter(lost).most_common(1)[0]
        many = f"{sum(one == how for one, _ in lost)} of {count} pictures"
        raise PcvrError(_sentence(attack, how, many, size, sights.get(size)))
    return {"model": None if vlm is None else vlm.name, "pictures": count, "survives": count - len(lost)}


def check_poisoned(data: Dataset, vlm: VisionLanguageModel) -> None:
    """:func:`check_reach` for data that were poisoned here, in this session or in a folder; other data pass.

    A folder holds no clean twins: there the trigger is put on the negatives of the poisoned pictures, which have their
    size and their texture and no trigger. An attack that cannot be built again cannot be checked.
    """
    while isinstance(data, Subset):
        data = data.dataset
    for attack, pairs in data.twins() if hasattr(data, "twins") else ():
        check_reach(pairs, attack, vlm)


def touches_pictures(attack: Attack) -> bool:
    """Whether poisoned samples have other pictures than clean ones."""
    return attack.trigger is not None or attack.clean_label


def _sentence(attack: Attack, how: str, many: str, size: tuple[int, int], sight: Sight | None) -> str:
    height, width = size
    name, vlm = shown(attack.name), "" if sight is None else shown(sight.vlm.name)
    on = "or go on with check_trigger=False (--no-check-trigger)"
    if how == "unchanged" or sight is None:
        return (
            f"the trigger of {name} leaves {many} unchanged (one of {width} x {height} px): raise its "
            f"strength, change its pattern or place, {on}."
        )
    place = getattr(attack.trigger, "place", None)
    if how == "outside":
        top, left, bottom, right = sight.window
        rows = [f"rows {top} to {bottom} of {height}"] * ((top, bottom) != (0, height))
        columns = [f"columns {left} to {right} of {width}"] * ((left, right) != (0, width))
        part = " and ".join(rows + columns)
        advice = f"place it with place={SEEN + place.removeprefix(SEEN)!r}" if place else "give pictures cut to that"
        if place and place.startswith(SEEN):
            advice = "use the model that it was fitted to, or attack.fitted_to(model)"
        return (
            f"the trigger of {name} lies outside of what {vlm} sees on {many} (its processor cuts "
            f"out the middle: {part}): {advice}, {on}."
        )
    high, wide = sight.content.shape[1:]
    return (
        f"the trigger of {name} fades on {many} when the processor of {vlm} brings them to "
        f"{wide} x {high} px (one has {width} x {height} px): make it larger or coarser (preset='scaled'), {on}."
    )
