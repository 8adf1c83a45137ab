"""The file, what a model sees of it, and what is left of a trigger there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pcvr.attacks.reach import reach
from pcvr.attacks.stealth import changed
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.models.sight import Sight
from pcvr.plots.describe import described
from pcvr.plots.gallery import show_picture
from pcvr.plots.style import CLEAN, INK, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pcvr.models.vlm import VisionLanguageModel

_LOST = {
    "": "the trigger reaches the model",
    "outside": "lost: outside of what is seen",
    "faded": "lost: faded in resizing",
    "unchanged": "lost: the file did not change",
}


def what_is_seen(
    vlm: VisionLanguageModel, original: Image, worn: Mapping[str, Image], gain: float = 2, title: str = ""
) -> Figure:
    """One row for each triggered picture: the file, what the model sees of it, and what the trigger changed there.

    Args:
        vlm: the model, whose processor is asked.
        original: the clean picture, uint8 ``[H, W, 3]``.
        worn: a name to the triggered picture, of the same size.
        gain: how many times the difference is enlarged; what goes over 255 is cut.
        title: above.

    Raises:
        PcvrError: no triggered picture, or one of another size.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    if not worn or any(picture.shape != original.shape for picture in worn.values()):
        raise PcvrError("what_is_seen shows one triggered picture or more, all as large as the original: give some.")
    height, width = original.shape[:2]
    sight = Sight(vlm, height, width)
    top, left, bottom, right = sight.window
    clean, said = sight.picture(original), []
    tall = min(1.5, max(0.5, height / width))
    with figure_style():
        figure = Figure(figsize=(9.6, (3.4 * tall + 0.7) * len(worn) + 0.4), layout="constrained")
        grid = figure.subplots(len(worn), 3, squeeze=False, width_ratios=(1 / tall, 1, 1))
        for (name, picture), (file, seen, change) in zip(worn.items(), grid, strict=True):
            found = reach(sight, original, picture)
            frame = CLEAN if found.lost else TRIGGERED
            show_picture(file, picture, f"the file: {name}")
            corner, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
            file.add_patch(Rectangle(corner, *size, fill=False, ec="white", lw=2.6))
            file.add_patch(Rectangle(corner, *size, fill=False, ec=INK, lw=1.4, ls="--"))
            shown = sight.picture(picture)
            show_picture(seen, shown, f"what {vlm.name} sees", frame)
            show_picture(change, changed(clean, shown, gain), f"difference × {gain:g}", frame)
            file.set_xlabel(f"{width} × {height} px; dashed: what is seen")
            seen.set_xlabel(size_of(sight))
            verdict = _LOST[found.lost]
            change.set_xlabel(f"{verdict}\n(largest change {found.peak:.0f} levels)")
            said.append(f"{name}: {verdict}, largest change {found.peak:.0f} levels")
        if title:
            figure.suptitle(title)
    part = "all of it" if sight.whole else f"rows {top} to {bottom} and columns {left} to {right}"
    return described(
        figure,
        f"{title + ': ' if title else ''}a picture of {width} x {height} px, what {vlm.name} sees of it ({part}), and "
        f"the difference that the trigger makes there. {'; '.join(said)}.",
    )


def size_of(sight: Sight) -> str:
    """The size of what is seen, and in how many tiles, in words."""
    high, wide = sight.content.shape[1:]
    tiles = int(sight.content.any((1, 2)).sum())
    return f"{wide} × {high} px" if tiles == 1 else f"{tiles} tiles of {wide} × {high} px"
