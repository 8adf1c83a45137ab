"""The explorer of notebook 04: choose a view of one picture and see the words move, on the clean and triggered twin."""

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
from pcvr.widgets.explained import explained
from pcvr.widgets.picture import figure_image, show_in

if TYPE_CHECKING:
    from ipywidgets import HTML, Dropdown, FloatSlider, Image, IntSlider, VBox
    from matplotlib.figure import Figure

    from pcvr.analysis.two_views import ViewTrace
    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel

VIEWS = 3
"""Views of each picture that are shown side by side."""


@dataclass(frozen=True)
class PremiseChoice:
    """One setting of the explorer.

    Attributes:
        sample: position of a picture.
        operator: how patches are perturbed.
        share: share of the patches that change, (0, 1].
        level: ``"pixels"`` or ``"features"``.
        seed: of the first view; the next ones follow.
    """

    sample: int = 0
    operator: str = "swap"
    share: float = 0.6
    level: str = "pixels"
    seed: int = 0


class PairSource:
    """A model and pictures that the explorer chooses from; what was computed lately is kept."""

    def __init__(self, vlm: VisionLanguageModel, samples: Sequence[Sample], attack: Attack) -> None:
        """
        Args:
            vlm: the model.
            samples: clean samples, at least two.
            attack: puts the trigger on.

        Raises:
            PcvrError: fewer than two samples.
        """
        if len(samples) < 2:
            raise PcvrError(f"{len(samples)} pictures: give the explorer two or more, since views swap patches.")
        self.vlm, self.samples, self.attack = vlm, list(samples), attack
        self.twins = lru_cache(maxsize=16)(self._twins)

    def _twins(self, choice: PremiseChoice) -> dict[str, list[ViewTrace]]:
        view = PatchView(choice.operator, choice.share, level=choice.level)
        seeds = range(choice.seed, choice.seed + VIEWS)
        return triggered_pair(self.vlm, self.samples, choice.sample, self.attack, view, list(seeds))


def explore(source: PairSource, choice: PremiseChoice) -> Figure:
    """The figure for a choice: both twins, three views of each, and the words that may come next."""
    return flipbook({f"{name} picture": tellings for name, tellings in source.twins(choice).items()})


def caption(source: PairSource, choice: PremiseChoice) -> str:
    """One line of HTML under the figure: how far apart the views are, by all words and by the told one."""
    texts = []
    for name, tellings in source.twins(choice).items():
        whole = sum(float(t.divergence.sum()) for t in tellings) / len(tellings)
        told = sum(float(label_divergence(t).sum()) for t in tellings) / len(tellings)
        texts.append(f"{name}: {whole:.3f} nats by all words, {told:.3f} nats by the words said")
    return (
        f'<div role="status">Divergence over the whole answer, mean of {VIEWS} views. {escape("; ".join(texts))}.</div>'
    )


@dataclass(frozen=True)
class Controls:
    """The explorer's widgets by name."""

    sample: IntSlider
    operator: Dropdown
    share: FloatSlider
    level: Dropdown
    seed: IntSlider
    image: Image
    message: HTML

    def choice(self) -> PremiseChoice:
        """What is set at the moment."""
        return PremiseChoice(
            self.sample.value - 1, self.operator.value, self.share.value, self.level.value, self.seed.value
        )


def premise_explorer(source: PairSource, start: PremiseChoice | None = None) -> tuple[VBox, Controls]:
    """Build the explorer.

    Args:
        source: model and pictures.
        start: what it shows first; by default the first picture, six patches of ten swapped.

    Returns:
        The box to display, and its controls.
    """
    import ipywidgets as w

    first = start or PremiseChoice()
    style: dict[str, Any] = {"style": {"description_width": "6em"}, "layout": w.Layout(width="22em")}
    slow: dict[str, Any] = {**style, "continuous_update": False}
    controls = Controls(
        sample=w.IntSlider(first.sample + 1, 1, len(source.samples), description="Picture", **slow),
        operator=w.Dropdown(options=OPERATORS, value=first.operator, description="Operator", **style),
        share=w.FloatSlider(first.share, min=0.1, max=1.0, step=0.1, description="Share", **slow),
        level=w.Dropdown(options=LEVELS, value=first.level, description="Level", **style),
        seed=w.IntSlider(first.seed, 0, 20, description="View seed", **slow),
        image=figure_image(explore(source, first)),
        message=w.HTML(caption(source, first)),
    )

    def redraw(_: object = None) -> None:
        with explained(controls.message, controls.image):
            choice = controls.choice()
            show_in(controls.image, explore(source, choice))
            controls.message.value = caption(source, choice)

    for name in ("sample", "operator", "share", "level", "seed"):
        getattr(controls, name).observe(redraw, "value")
    left, right = w.VBox([controls.sample, controls.seed]), w.VBox([controls.operator, controls.share, controls.level])
    row = w.HBox([left, right], layout=w.Layout(flex_flow="row wrap"))
    return w.VBox([row, controls.image, controls.message]), controls
