"""The explorer of all attacks side by side: strength, resolution and preset."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage

from pcvr.attacks import ATTACKS, get_attack
from pcvr.attacks.stealth import psnr
from pcvr.attacks.trigger import ImageTrigger
from pcvr.data.sample import Dataset, Image
from pcvr.errors import PcvrError, first_line
from pcvr.plots.side_by_side import Worn, side_by_side
from pcvr.utils.checks import check_choice, check_number, check_whole

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

PRESETS = ("scaled", "compat")
SIDES = (64, 96, 128, 224, 336)
"""Choice of resolutions, pixels on the short side: from a thumbnail to the input of LLaVA-1.5."""


@dataclass(frozen=True)
class LabControls:
    """The controls of :func:`lab_explorer`, and where it shows the result.

    Attributes:
        sample: index of the image.
        side: of the image, pixels on the short side.
        strength: factor on each trigger's strength.
        preset: ``"scaled"`` or ``"compat"``.
        picture: Image widget with the figure.
        status: HTML widget with the result in words.
    """

    sample: Any
    side: Any
    strength: Any
    preset: Any
    picture: Any
    status: Any

    def values(self) -> dict[str, Any]:
        """Return the arguments of :func:`lab_view` that are set."""
        return {
            "index": self.sample.value,
            "side": self.side.value,
            "strength": self.strength.value,
            "preset": self.preset.value,
        }


def lab_view(
    dataset: Dataset, index: int = 0, *, side: int = 96, strength: float = 1.0, preset: str = "scaled"
) -> tuple[Figure, dict[str, float]]:
    """Draw every attack on one image at one resolution.

    Args:
        dataset: where the image comes from.
        index: index of the image.
        side: short side in pixels, 16 to 1024; the image is resized before it is triggered.
        strength: factor of at least 0 on each trigger's strength, up to its largest value. Prompts have no strength.
        preset: ``"scaled"`` or ``"compat"``.

    Returns:
        The figure, and attack to PSNR in dB (infinite if the image is unchanged).

    Raises:
        PcvrError: a value is out of range.
    """
    check_whole("side", side, 16, 1024, "pixels")
    check_number("strength", strength, 0, 1e6, "factor on the trigger's own strength")
    check_choice("preset", preset, PRESETS)
    sample = dataset[index]
    original = at_side(sample.image, side)
    worn = {name: _worn(name, original, sample.prompt, dataset.task, strength, preset) for name in ATTACKS}
    return side_by_side(original, worn), {name: psnr(original, each.image) for name, each in worn.items()}


def _worn(name: str, original: Image, prompt: str, task: str, strength: float, preset: str) -> Worn:
    """Return the image under one attack, or the unchanged image with the reason why the attack cannot be shown."""
    try:
        attack = get_attack(name, task=task, preset=preset)
        trigger, edit = attack.trigger, "" if attack.prompt is None else attack.prompt(prompt)
        if isinstance(trigger, ImageTrigger):
            trigger = trigger.turned(strength)
        if trigger is not None:
            return Worn(trigger(original), edit)
    except PcvrError as problem:
        return Worn(original, first_line(problem, 60))
    return Worn(original, edit or "no trigger: the training images are crafted")


def at_side(image: Image, side: int) -> Image:
    """Resize an image to a short side of `side` pixels, bicubic."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(PilImage.fromarray(image).resize(size, PilImage.Resampling.BICUBIC))


def lab_explorer(dataset: Dataset) -> tuple[VBox, LabControls]:
    """Build controls with all attacks on one image; code can set every control too.

    Args:
        dataset: where images come from.

    Returns:
        The box to display and its controls.
    """
    import ipywidgets as widgets

    from pcvr.widgets.page import on_page, wrapped_row
    from pcvr.widgets.picture import figure_image
    from pcvr.widgets.redraw import View, on_change, redrawing

    look = {"style": {"description_width": "80px"}, "layout": widgets.Layout(width="330px")}
    late = {"continuous_update": False, **look}
    figure, figures = lab_view(dataset)
    controls = LabControls(
        sample=widgets.IntSlider(value=0, min=0, max=len(dataset) - 1, description="Image", **late),
        side=widgets.SelectionSlider(options=SIDES, value=96, description="Side (px)", **late),
        strength=widgets.FloatSlider(value=1, min=0, max=4, step=0.25, description="Factor", **late),
        preset=widgets.Dropdown(options=PRESETS, description="Preset", **look),
        picture=figure_image(figure),
        status=widgets.HTML(attack_status(figures)),
    )

    def draw() -> View:
        figure, figures = lab_view(dataset, **controls.values())
        return View(attack_status(figures), (figure,))

    moved = (controls.sample, controls.side, controls.strength, controls.preset)
    on_change(moved, redrawing(draw, controls.status, controls.picture))
    return on_page(wrapped_row(*moved), controls.status, controls.picture), controls


def attack_status(figures: dict[str, float]) -> str:
    """Return HTML with the most and the least visible attack; screen readers announce changes."""
    seen = {name: psnr for name, psnr in figures.items() if np.isfinite(psnr)}
    if not seen:
        return '<div role="status">No attack changes this image: poison() would raise.</div>'
    order = sorted(seen, key=seen.__getitem__)
    same = [name for name in figures if name not in seen]
    tail = f" Unchanged: {escape(', '.join(same))}." if same else ""
    most, least = (f"<b>{escape(name)}</b> ({seen[name]:.1f} dB)" for name in (order[0], order[-1]))
    return f'<div role="status" style="line-height:1.5">Changed most: {most}; least: {least}.{tail}</div>'
