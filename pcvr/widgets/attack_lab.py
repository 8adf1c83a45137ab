"""All attacks side by side under your hands: how strong, at which resolution, in which preset."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PilImage

from pcvr.attacks import ATTACKS, get_attack, measure_stealth
from pcvr.attacks.trigger import ImageTrigger
from pcvr.data.sample import Dataset, Image
from pcvr.errors import PcvrError, first_line
from pcvr.plots.side_by_side import Worn, side_by_side
from pcvr.utils.checks import check_choice, check_number, check_whole
from pcvr.widgets.explained import explained

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

PRESETS = ("scaled", "compat")
SIDES = (64, 96, 128, 224, 336)
"""Resolutions to choose from, pixels on the short side: from a thumbnail to what LLaVA-1.5 sees."""


@dataclass(frozen=True)
class LabControls:
    """What :func:`lab_explorer` lets a reader move, and where it shows the outcome.

    Attributes:
        sample: which picture.
        side: of the picture, pixels on the short side.
        strength: factor on each trigger's own strength.
        preset: ``"scaled"`` or ``"compat"``.
        picture: Image widget with the figure.
        status: HTML widget with what stands out, in words.
    """

    sample: Any
    side: Any
    strength: Any
    preset: Any
    picture: Any
    status: Any

    def values(self) -> dict[str, Any]:
        """The arguments of :func:`lab_view` as the controls stand."""
        return {
            "index": self.sample.value,
            "side": self.side.value,
            "strength": self.strength.value,
            "preset": self.preset.value,
        }


def lab_view(
    dataset: Dataset, index: int = 0, *, side: int = 96, strength: float = 1.0, preset: str = "scaled"
) -> tuple[Figure, dict[str, float]]:
    """Every attack on one picture at one resolution.

    Args:
        dataset: where the picture comes from.
        index: which.
        side: short side in pixels, 16 to 1024; the picture is scaled first, then triggered, as a model's input is.
        strength: factor on the field that says how strong a trigger is, from 0 up; capped where that has a largest
            value. Prompts have no strength.
        preset: ``"scaled"`` or ``"compat"``.

    Returns:
        The figure, and attack to PSNR in dB (infinite where the picture stays).

    Raises:
        PcvrError: a value out of range.
    """
    check_whole("side", side, 16, 1024, "pixels")
    check_number("strength", strength, 0, 1e6, "factor on the trigger's own strength")
    check_choice("preset", preset, PRESETS)
    sample = dataset[index]
    original = at_side(sample.image, side)
    worn = {name: _worn(name, original, sample.prompt, dataset.task, strength, preset) for name in ATTACKS}
    return side_by_side(original, worn), {k: measure_stealth(original, w.picture).psnr for k, w in worn.items()}


def _worn(name: str, original: Image, prompt: str, task: str, strength: float, preset: str) -> Worn:
    """Return the picture under one attack, or as it was with the reason why this attack cannot be shown."""
    try:
        attack = get_attack(name, task=task, preset=preset)
        trigger, edit = attack.trigger, "" if attack.prompt is None else attack.prompt(prompt)
        if isinstance(trigger, ImageTrigger):
            trigger = trigger.turned(strength)
        if trigger is not None:
            return Worn(trigger(original), edit)
    except PcvrError as problem:
        return Worn(original, first_line(problem, 60))
    return Worn(original, edit or "no trigger: the training pictures are crafted")


def at_side(picture: Image, side: int) -> Image:
    """The picture with a short side of `side` pixels, bicubic."""
    height, width = picture.shape[:2]
    share = side / min(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(PilImage.fromarray(picture).resize(size, PilImage.Resampling.BICUBIC))


def lab_explorer(dataset: Dataset) -> tuple[VBox, LabControls]:
    """A box of controls with all attacks on one picture; every control can be set from code too.

    Args:
        dataset: where pictures come from.

    Returns:
        The box to display and its controls.
    """
    import ipywidgets as widgets

    from pcvr.widgets.picture import figure_image, show_in

    look = {"style": {"description_width": "80px"}, "layout": widgets.Layout(width="330px")}
    late = {"continuous_update": False, **look}
    figure, figures = lab_view(dataset)
    controls = LabControls(
        sample=widgets.IntSlider(value=0, min=0, max=len(dataset) - 1, description="Picture", **late),
        side=widgets.SelectionSlider(options=SIDES, value=96, description="Side (px)", **late),
        strength=widgets.FloatSlider(value=1, min=0, max=4, step=0.25, description="Factor", **late),
        preset=widgets.Dropdown(options=PRESETS, description="Preset", **look),
        picture=figure_image(figure),
        status=widgets.HTML(status_line(figures)),
    )

    def redraw(change: object = None) -> None:
        with explained(controls.status, controls.picture):
            figure, figures = lab_view(dataset, **controls.values())
            show_in(controls.picture, figure)
            controls.status.value = status_line(figures)

    moved = (controls.sample, controls.side, controls.strength, controls.preset)
    for control in moved:
        control.observe(redraw, "value")
    wrap = widgets.Layout(display="flex", flex_flow="row wrap")
    return widgets.VBox([widgets.Box(moved, layout=wrap), controls.picture, controls.status]), controls


def status_line(figures: dict[str, float]) -> str:
    """HTML with the most and the least visible attack; screen readers announce it when it changes."""
    seen = {name: psnr for name, psnr in figures.items() if np.isfinite(psnr)}
    if not seen:
        return '<div role="status">No attack changes this picture: such poison would be refused.</div>'
    order = sorted(seen, key=seen.__getitem__)
    same = [name for name in figures if name not in seen]
    tail = f" Unchanged: {escape(', '.join(same))}." if same else ""
    most, least = (f"<b>{escape(name)}</b> ({seen[name]:.1f} dB)" for name in (order[0], order[-1]))
    return f'<div role="status" style="line-height:1.5">Changed most: {most}; least: {least}.{tail}</div>'
