"""Check that a trigger reaches the model: what the processor keeps of the change that the trigger makes.

Our criterion for one image: the change has a bounding box in the file, and a model sees a window of the file. The
trigger survives if

1. the box and the window share at least half of the smaller one: a patch is not cut to a sliver, and a trigger all over
   the image passes with any window;
2. at least a tenth of the change's mean square inside the window is left after resizing: a patch keeps that down to
   about a third of a visible pixel, but resizing averages a fine pattern away;
3. some value changes by two levels or more: rounding alone makes one.
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

CHECKED_IMAGES = 32
"""Images that a check examines, evenly spaced in the data, so that a run does not become slower."""
_SURVIVAL = 0.9  # fraction of these on which a trigger must survive
_OVERLAP, _KEPT, _PEAK = 0.5, 0.1, 1.5  # the three numbers of the criterion

Pair = tuple["Image", "Image"]
"""A clean image and the same image with the trigger: uint8 ``[H, W, 3]``."""


@dataclass(frozen=True)
class Reach:
    """What a model sees of the change that a trigger makes.

    Attributes:
        overlap: common area of the change's box and the visible window, as a fraction of the smaller one, 0 to 1.
        kept: mean square of the change that is seen, as a fraction of that in the same window of the file.
        peak: the largest visible change of a value, in levels.
        changed: whether the file changed at all.
    """

    overlap: float
    kept: float
    peak: float
    changed: bool = True

    @property
    def lost(self) -> str:
        """How the trigger was lost: ``"unchanged"``, ``"outside"`` or ``"faded"``; empty if it survives."""
        if not self.changed:
            return "unchanged"
        if self.overlap < _OVERLAP:
            return "outside"
        return "faded" if self.kept < _KEPT or self.peak < _PEAK else ""


def reach(sight: Sight, clean: Image, triggered: Image) -> Reach:
    """Measure what a model sees of a trigger; both images have the size of `sight`."""
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


def sample_evenly(indices: Sequence[int]) -> list[int]:
    """Return at most :data:`CHECKED_IMAGES` of `indices`, evenly spaced."""
    places = np.linspace(0, len(indices) - 1, min(len(indices), CHECKED_IMAGES)).round().astype(int)
    return [indices[int(place)] for place in places]


def check_reach(pairs: Iterable[Pair], attack: Attack, vlm: VisionLanguageModel | None = None) -> dict[str, Any]:
    """Raise unless the trigger changes the images, and what a model sees of them.

    Args:
        pairs: clean images, each with its triggered version.
        attack: whose trigger it is.
        vlm: the model; None checks the files alone.

    Returns:
        ``model`` (its name), ``pictures`` (how many were checked) and ``survives`` (on how many the trigger survives).

    Raises:
        PcvrError: the trigger survives on fewer than 90 %; the message says how it was lost and what to do.
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
    if count - len(lost) < _SURVIVAL * count:
        (how, size), _ = Counter(lost).most_common(1)[0]
        many = f"{sum(one == how for one, _ in lost)} of {count} images"
        raise PcvrError(_sentence(attack, how, many, size, sights.get(size)))
    return {"model": None if vlm is None else vlm.name, "pictures": count, "survives": count - len(lost)}


def check_poisoned(data: Dataset, vlm: VisionLanguageModel) -> None:
    """Run :func:`check_reach` on data poisoned by this package, in memory or in a folder; other data pass.

    An attack that cannot be built again is not checked.
    """
    while isinstance(data, Subset):
        data = data.dataset
    for attack, pairs in data.clean_pairs() if hasattr(data, "clean_pairs") else ():
        check_reach(pairs, attack, vlm)


def changes_images(attack: Attack) -> bool:
    """Return whether the attack changes the images of poisoned samples."""
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
        advice = f"place it with place={SEEN + place.removeprefix(SEEN)!r}" if place else "give images cut to that"
        if place and place.startswith(SEEN):
            advice = "use the model that it was fitted to, or attack.fitted_to(model)"
        return (
            f"the trigger of {name} lies outside the part that {vlm} sees on {many} (its processor cuts "
            f"out the middle: {part}): {advice}, {on}."
        )
    high, wide = sight.content.shape[1:]
    return (
        f"the trigger of {name} fades on {many} when the processor of {vlm} brings them to "
        f"{wide} x {high} px (one has {width} x {height} px): make it larger or coarser (preset='scaled'), {on}."
    )
