"""The explorer of a trigger: strength, size, place, pattern and rate, and their effect on images and data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pcvr.attacks import get_attack, measure_stealth, poison
from pcvr.attacks.placing import PLACES
from pcvr.attacks.triggers.badnets import PATTERNS
from pcvr.data.sample import Dataset, Image
from pcvr.errors import PcvrError
from pcvr.widgets.explained import alert

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TriggerControls:
    """The controls of :func:`trigger_explorer`, and where it shows the result.

    Attributes:
        sample: index of the image, ``0 .. n - 1``.
        strength: opacity of the patch, 0 to 1.
        size: side of the patch in pixels.
        place: corner or centre.
        pattern: white or checkerboard.
        rate: percentage of poisoned samples.
        seed: of the draw.
        picture: Image widget with the figure.
        status: HTML widget with the figures in words, or an error.
    """

    sample: Any
    strength: Any
    size: Any
    place: Any
    pattern: Any
    rate: Any
    seed: Any
    picture: Any
    status: Any

    def values(self) -> dict[str, Any]:
        """Return the arguments of :func:`trigger_view` that are set."""
        return {
            "index": self.sample.value,
            "strength": self.strength.value,
            "size": self.size.value,
            "place": self.place.value,
            "pattern": self.pattern.value,
            "rate": self.rate.value / 100,
            "seed": self.seed.value,
        }


def trigger_view(
    dataset: Dataset,
    index: int = 0,
    *,
    strength: float = 1.0,
    size: int | None = None,
    place: str = "bottom_right",
    pattern: str = "white",
    rate: float = 0.05,
    seed: int = 0,
) -> tuple[Figure, dict[str, Any]]:
    """Draw a BadNets trigger on one image, and the data set poisoned with it.

    Args:
        dataset: the clean data, at most some hundred samples, since drawn samples are really poisoned and checked.
        index: index of the image.
        strength: opacity, 0 to 1.
        size: side of the patch in pixels; None takes the preset's fraction.
        place: a corner, or ``"centre"``.
        pattern: ``"white"`` or ``"checkerboard"``.
        rate: fraction of the samples to poison, in (0, 1].
        seed: of the draw.

    Returns:
        The figure, and its figures: ``psnr`` (dB), ``ssim``, ``linf`` (levels), ``changed`` (fraction of the pixels),
        ``poisoned`` (indices), ``n``, ``drawn`` (whether the image shown is among them) and ``problem`` (the error
        of `poison`, or an empty text).

    Raises:
        PcvrError: an option is out of range, or the patch does not fit the image.
    """
    attack = get_attack("badnets", task=dataset.task, strength=strength, size=size, place=place, pattern=pattern)
    sample = dataset[index]
    original, after = sample.image, attack.triggered(sample).image
    measured = measure_stealth(original, after)
    poisoned: tuple[int, ...] = ()
    problem = ""
    try:
        poisoned = poison(dataset, attack, rate, seed).poisoned
    except PcvrError as refusal:
        problem = str(refusal)
    figures = {
        "psnr": measured.psnr,
        "ssim": measured.ssim,
        "linf": measured.linf,
        "changed": float((original != after).any(-1).mean()),
        "poisoned": poisoned,
        "n": len(dataset),
        "drawn": index % len(dataset) in poisoned,
        "problem": problem,
    }
    return _draw(original, after, rate, figures), figures


def trigger_explorer(dataset: Dataset) -> tuple[VBox, TriggerControls]:
    """Build controls with the image that they change; code can set every control too.

    Args:
        dataset: the clean data, see :func:`trigger_view`.

    Returns:
        The box to display and its controls.
    """
    import ipywidgets as widgets

    from pcvr.widgets.page import on_page, wrapped_row
    from pcvr.widgets.picture import figure_image
    from pcvr.widgets.redraw import View, on_change, redrawing

    look = {
        "continuous_update": False,
        "style": {"description_width": "90px"},
        "layout": widgets.Layout(width="330px"),
    }
    flat = {key: look[key] for key in ("style", "layout")}
    sides = dataset[0].image.shape[:2]
    figure, figures = trigger_view(dataset)
    controls = TriggerControls(
        sample=widgets.IntSlider(value=0, min=0, max=len(dataset) - 1, description="Sample", **look),
        strength=widgets.FloatSlider(value=1, min=0, max=1, step=0.05, description="Strength", **look),
        size=widgets.IntSlider(value=_side(sides), min=1, max=min(sides) // 2, description="Size (px)", **look),
        place=widgets.Dropdown(
            options=[(_words(p), p) for p in PLACES], value="bottom_right", description="Place", **flat
        ),
        pattern=widgets.Dropdown(options=[(_words(p), p) for p in PATTERNS], description="Pattern", **flat),
        rate=widgets.FloatSlider(value=5, min=0.5, max=50, step=0.5, description="Rate (%)", **look),
        seed=widgets.IntSlider(value=0, min=0, max=20, description="Seed", **look),
        picture=figure_image(figure),
        status=widgets.HTML(trigger_status(figures)),
    )

    def draw() -> View:
        figure, figures = trigger_view(dataset, **controls.values())
        return View(trigger_status(figures), (figure,))

    c = controls
    moved = (c.sample, c.strength, c.size, c.place, c.pattern, c.rate, c.seed)
    on_change(moved, redrawing(draw, c.status, c.picture))
    return on_page(wrapped_row(*moved), c.status, c.picture), controls


def trigger_status(figures: dict[str, Any]) -> str:
    """Return HTML with the figures of :func:`trigger_view`; screen readers announce changes."""
    if figures["problem"]:
        return alert(PcvrError(f"poison() raises: {figures['problem']}"))
    db = "infinite" if math.isinf(figures["psnr"]) else f"{figures['psnr']:.1f} dB"
    count = len(figures["poisoned"])
    drawn = "is one of them" if figures["drawn"] else "stays clean"
    return (
        f'<div role="status" style="line-height:1.5">PSNR <b>{db}</b>, SSIM <b>{figures["ssim"]:.4f}</b>, '
        f"L∞ <b>{figures['linf']}</b> levels, <b>{100 * figures['changed']:.2g} %</b> of the pixels changed. "
        f"<b>{count}</b> of {figures['n']} samples are poisoned; the one shown {drawn}.</div>"
    )


def _draw(original: Image, after: Image, rate: float, figures: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    from pcvr.attacks import changed
    from pcvr.plots.describe import described
    from pcvr.plots.gallery import aspect, show_picture, stealth_line, waffle
    from pcvr.plots.style import CLEAN, PAGE, TRIGGERED, figure_style

    count, n = len(figures["poisoned"]), figures["n"]
    text = f"{count} of {n} poisoned" if count else "no sample could be poisoned"
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.0 * aspect(original) + 0.8), layout="constrained")
        panels = figure.subplots(1, 4)
        show_picture(panels[0], original, "clean", CLEAN)
        show_picture(panels[1], after, "triggered", TRIGGERED)
        show_picture(panels[2], changed(original, after), "difference × 8")
        show_picture(panels[3], waffle(n, figures["poisoned"]), f"rate {100 * rate:g} %")
        panels[3].set_xlabel(text)
        for spine in panels[3].spines.values():
            spine.set_visible(False)
        figures_said = stealth_line(figures["psnr"], figures["ssim"], figures["linf"])
        figure.suptitle(figures_said, fontsize=11)
    return described(figure, f"An image clean, triggered, and the difference 8 times enlarged; {figures_said}. {text}.")


def _side(sides: tuple[int, int]) -> int:
    trigger: Any = get_attack("badnets").trigger
    return int(trigger.side(*sides))


def _words(name: str) -> str:
    return name.replace("_", " ")
