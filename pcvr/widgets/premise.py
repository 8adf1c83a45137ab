"""The explorer of notebook 04: choose a view, and see the words change on an image and its triggered version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.analysis.triggered_pair import label_divergence, triggered_pair
from pcvr.errors import PcvrError
from pcvr.plots.premise import flipbook
from pcvr.views import LEVELS, OPERATORS, PatchView
from pcvr.widgets.page import on_page, wrapped_row
from pcvr.widgets.picture import figure_image
from pcvr.widgets.redraw import View, on_change, redrawing

if TYPE_CHECKING:
    from ipywidgets import HTML, Dropdown, FloatSlider, Image, IntSlider, VBox
    from matplotlib.figure import Figure

    from pcvr.analysis.two_views import ViewTrace
    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel

VIEWS = 3
"""Number of views of each image."""


@dataclass(frozen=True)
class PremiseChoice:
    """One setting of the explorer.

    Attributes:
        sample: position of an image.
        operator: patch operator.
        fraction: fraction of the patches that change, (0, 1].
        level: ``"pixels"`` or ``"features"``.
        seed: of the first view; the next ones follow.
    """

    sample: int = 0
    operator: str = "swap"
    fraction: float = 0.6
    level: str = "pixels"
    seed: int = 0


class PairSource:
    """The model and images of the explorer, with a cache of recent results."""

    def __init__(self, vlm: VisionLanguageModel, samples: Sequence[Sample], attack: Attack) -> None:
        """
        Args:
            vlm: the model.
            samples: clean samples, at least two.
            attack: the attack with the trigger.

        Raises:
            PcvrError: there are fewer than two samples.
        """
        if len(samples) < 2:
            raise PcvrError(f"{len(samples)} images: give the explorer two or more, since views swap patches.")
        self.vlm, self.samples, self.attack = vlm, list(samples), attack
        self.traces = lru_cache(maxsize=16)(self._traces)

    def _traces(self, choice: PremiseChoice) -> dict[str, list[ViewTrace]]:
        view = PatchView(choice.operator, choice.fraction, level=choice.level)
        seeds = range(choice.seed, choice.seed + VIEWS)
        return triggered_pair(self.vlm, self.samples, choice.sample, self.attack, view, list(seeds))


def premise_figure(source: PairSource, choice: PremiseChoice) -> Figure:
    """Draw a choice: the image and its triggered version, three views of each, and the likeliest next words."""
    return flipbook({f"{name} image": traces for name, traces in source.traces(choice).items()})


def premise_caption(source: PairSource, choice: PremiseChoice) -> str:
    """Return HTML with the divergence of the views, over all words and for the answer's own words."""
    texts = []
    for name, traces in source.traces(choice).items():
        whole = sum(float(t.divergence.sum()) for t in traces) / len(traces)
        label = sum(float(label_divergence(t).sum()) for t in traces) / len(traces)
        texts.append(f"{name}: {whole:.3f} nats by all words, {label:.3f} nats by the answer's own words")
    return (
        f'<div role="status">Divergence over the whole answer, mean of {VIEWS} views. {escape("; ".join(texts))}.</div>'
    )


@dataclass(frozen=True)
class PremiseControls:
    """The explorer's widgets by name."""

    sample: IntSlider
    operator: Dropdown
    fraction: FloatSlider
    level: Dropdown
    seed: IntSlider
    image: Image
    message: HTML

    def choice(self) -> PremiseChoice:
        """Return the choice that is set."""
        return PremiseChoice(
            self.sample.value - 1, self.operator.value, self.fraction.value, self.level.value, self.seed.value
        )


def premise_explorer(source: PairSource, start: PremiseChoice | None = None) -> tuple[VBox, PremiseControls]:
    """Build the explorer.

    Args:
        source: model and images.
        start: the first choice; by default the first image with 60 % of its patches swapped.

    Returns:
        The box to display, and its controls.
    """
    import ipywidgets as w

    first = start or PremiseChoice()
    style: dict[str, Any] = {"style": {"description_width": "6em"}, "layout": w.Layout(width="22em")}
    slow: dict[str, Any] = {**style, "continuous_update": False}
    controls = PremiseControls(
        sample=w.IntSlider(first.sample + 1, 1, len(source.samples), description="Image", **slow),
        operator=w.Dropdown(options=OPERATORS, value=first.operator, description="Operator", **style),
        fraction=w.FloatSlider(first.fraction, min=0.1, max=1.0, step=0.1, description="Fraction", **slow),
        level=w.Dropdown(options=LEVELS, value=first.level, description="Level", **style),
        seed=w.IntSlider(first.seed, 0, 20, description="View seed", **slow),
        image=figure_image(premise_figure(source, first)),
        message=w.HTML(premise_caption(source, first)),
    )

    def draw() -> View:
        choice = controls.choice()
        return View(premise_caption(source, choice), (premise_figure(source, choice),))

    moved = (controls.sample, controls.operator, controls.fraction, controls.level, controls.seed)
    on_change(moved, redrawing(draw, controls.message, controls.image))
    left = w.VBox([controls.sample, controls.seed])
    right = w.VBox([controls.operator, controls.fraction, controls.level])
    return on_page(wrapped_row(left, right), controls.message, controls.image), controls
