"""Show the file, the part that a model sees, and the trigger's change there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pcvr.attacks.reach import reach
from pcvr.attacks.stealth import changed
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.models.sight import Sight
from pcvr.plots.describe import described
from pcvr.plots.gallery import dashed_window, show_picture
from pcvr.plots.style import CLEAN, PAGE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.models.vlm import VisionLanguageModel

_LOST = {
    "": "the trigger reaches the model",
    "outside": "lost: outside the visible part",
    "faded": "lost: faded in resizing",
    "unchanged": "lost: the file did not change",
}


def what_is_seen(
    vlm: VisionLanguageModel, original: Image, worn: Mapping[str, Image], gain: float = 2, title: str = ""
) -> Figure:
    """Draw a row for each triggered image: the file, what the model sees of it, and the trigger's change there.

    Args:
        vlm: the model with the processor.
        original: the clean image, uint8 ``[H, W, 3]``.
        worn: a name to the triggered image, of the same size.
        gain: factor on the difference; results are clipped at 255.
        title: above.

    Raises:
        PcvrError: there is no triggered image, or one has another size.
    """
    from matplotlib.figure import Figure

    if not worn or any(image.shape != original.shape for image in worn.values()):
        raise PcvrError("what_is_seen shows one triggered image or more, all as large as the original: give some.")
    height, width = original.shape[:2]
    sight = Sight(vlm, height, width)
    top, left, bottom, right = sight.window
    clean, said = sight.picture(original), []
    with figure_style():
        part = clean.shape[1] / clean.shape[0]
        ratios = (width / height, part, part)  # all images of a row are as high as its axes
        high = (PAGE - 0.4) / sum(ratios)
        figure = Figure(figsize=(PAGE, (high + 0.85) * len(worn) + (0.4 if title else 0)), layout="constrained")
        grid = figure.subplots(len(worn), 3, squeeze=False, width_ratios=ratios)
        for (name, image), (file, seen, change) in zip(worn.items(), grid, strict=True):
            found = reach(sight, original, image)
            frame = CLEAN if found.lost else TRIGGERED
            show_picture(file, image, f"the file: {name}")
            dashed_window(file, slice(top, bottom), slice(left, right))
            shown = sight.picture(image)
            show_picture(seen, shown, f"what {vlm.name} sees", frame)
            show_picture(change, changed(clean, shown, gain), f"difference × {gain:g}", frame)
            file.set_xlabel(f"{width} × {height} px; dashed: the visible part")
            seen.set_xlabel(size_of(sight))
            verdict = _LOST[found.lost]
            change.set_xlabel(f"{verdict}\n(largest change {found.peak:.0f} levels)")
            said.append(f"{name}: {verdict}, largest change {found.peak:.0f} levels")
        if title:
            figure.suptitle(title)
    part = "all of it" if sight.whole else f"rows {top} to {bottom} and columns {left} to {right}"
    return described(
        figure,
        f"An image of {width} x {height} px, what {vlm.name} sees of it ({part}), and "
        f"the difference that the trigger makes there. {'; '.join(said)}.",
        title,
    )


def size_of(sight: Sight) -> str:
    """Return the size of the visible part, and the number of tiles, in words."""
    high, wide = sight.content.shape[1:]
    tiles = int(sight.content.any((1, 2)).sum())
    return f"{wide} × {high} px" if tiles == 1 else f"{tiles} tiles of {wide} × {high} px"
