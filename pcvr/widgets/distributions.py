"""The explorer of notebook 06: choose model, picture, trigger, view and token; the distributions follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.analysis.two_views import FORCES, ViewTrace, forced_answers, trace_answers
from pcvr.errors import PcvrError
from pcvr.plots.distributions import telling_figure
from pcvr.utils.checks import check_choice
from pcvr.views import OPERATORS, PatchView
from pcvr.widgets.explained import explained
from pcvr.widgets.picture import figure_image, show_in

if TYPE_CHECKING:
    from ipywidgets import HTML, Dropdown, FloatSlider, Image, IntSlider, VBox
    from matplotlib.figure import Figure

    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel

SHOWN = ("clean", "triggered")
_FORCE_WORDS = {"own": "the model's own answer", "true": "the true answer", "target": "the attacker's target"}


@dataclass(frozen=True)
class DistributionChoice:
    """One setting of the explorer.

    Attributes:
        stage: name of a model.
        sample: position of a picture.
        shown: ``"clean"`` or ``"triggered"``.
        operator: how patches are perturbed.
        share: share of the patches that change, (0, 1].
        seed: which patches, and which donors.
        force: whose words the distributions are conditioned on.
        token: position in the answer, from 0; beyond its end the last one.
    """

    stage: str
    sample: int = 0
    shown: str = "triggered"
    operator: str = "swap"
    share: float = 0.6
    seed: int = 0
    force: str = "own"
    token: int = 0


class TraceSource:
    """Models and pictures that the explorer chooses from; what was computed lately is kept."""

    def __init__(self, stages: Mapping[str, VisionLanguageModel], samples: Sequence[Sample], attack: Attack) -> None:
        """
        Args:
            stages: name to model, in the order of the story.
            samples: clean samples, at least two (the swap operator takes patches of the next one).
            attack: puts the trigger on and names the target.

        Raises:
            PcvrError: no model, or fewer than two samples.
        """
        if not stages or len(samples) < 2:
            raise PcvrError(
                f"{len(stages)} models and {len(samples)} pictures: give the explorer a model and two pictures or more."
            )
        self.stages, self.samples, self.attack = dict(stages), list(samples), attack
        self._answers = lru_cache(maxsize=32)(self._forced)
        self._tellings = lru_cache(maxsize=16)(self._told)

    def telling(self, choice: DistributionChoice) -> ViewTrace:
        """The distributions for a choice; its token plays no part.

        Raises:
            PcvrError: a stage, a picture or an operator that there is not.
        """
        check_choice("stage", choice.stage, self.stages)
        check_choice("input", choice.shown, SHOWN)
        if not 0 <= choice.sample < len(self.samples):
            raise PcvrError(f"picture {choice.sample} is not there: give 0 to {len(self.samples) - 1}.")
        return self._tellings(replace(choice, sample=0, token=0))[choice.sample]

    def prompt(self, choice: DistributionChoice) -> str:
        """What the model is asked."""
        sample = self.samples[choice.sample]
        return self.attack.triggered(sample).prompt if choice.shown == "triggered" else sample.prompt

    def _told(self, choice: DistributionChoice) -> list[ViewTrace]:
        said = self._answers(choice.stage, choice.shown, choice.force)
        view = PatchView(choice.operator, choice.share)
        worn = self.attack if choice.shown == "triggered" else None
        return trace_answers(self.stages[choice.stage], self.samples, said, view, choice.seed, worn)

    def _forced(self, stage: str, shown: str, force: str) -> tuple[str, ...]:
        worn = self.attack if shown == "triggered" else None
        return tuple(forced_answers(self.stages[stage], self.samples, worn, force, self.attack.target))


def explore(source: TraceSource, choice: DistributionChoice) -> Figure:
    """The figure for a choice: both pictures, both distributions at the token, the divergence along the answer."""
    telling = source.telling(choice)
    title = f"{choice.stage}, {choice.shown} picture {choice.sample + 1}"
    return telling_figure(telling, min(choice.token, len(telling.tokens) - 1), title)


def caption(source: TraceSource, choice: DistributionChoice) -> str:
    """One line of HTML under the figure: question, the answer that is read along, and how far apart the views are."""
    telling = source.telling(choice)
    return (
        f'<div role="status">Asked: “{escape(source.prompt(choice))}”. Read along: {_FORCE_WORDS[choice.force]}, '
        f"“{escape(telling.text) or '(nothing)'}”. Mean divergence "
        f"{telling.divergence.mean():.3f} nats; mean entropy {telling.entropy.mean():.3f} nats on the original, "
        f"{telling.view_entropy.mean():.3f} on the view.</div>"
    )


@dataclass(frozen=True)
class Controls:
    """The explorer's widgets by name."""

    stage: Dropdown
    sample: IntSlider
    shown: Dropdown
    operator: Dropdown
    share: FloatSlider
    seed: IntSlider
    force: Dropdown
    token: IntSlider
    image: Image
    message: HTML

    def choice(self) -> DistributionChoice:
        """What is set at the moment."""
        return DistributionChoice(
            stage=self.stage.value,
            sample=self.sample.value - 1,
            shown=self.shown.value,
            operator=self.operator.value,
            share=self.share.value,
            seed=self.seed.value,
            force=self.force.value,
            token=self.token.value - 1,
        )


def distribution_explorer(source: TraceSource, start: DistributionChoice | None = None) -> tuple[VBox, Controls]:
    """Build the explorer.

    Args:
        source: models and pictures.
        start: what it shows first; by default the first model and the first picture, triggered.

    Returns:
        The box to display, and its controls.
    """
    import ipywidgets as w

    first = start or DistributionChoice(next(iter(source.stages)))
    style: dict[str, Any] = {
        "style": {"description_width": "6.5em"},
        "layout": w.Layout(width="23em"),
    }
    slow: dict[str, Any] = {**style, "continuous_update": False}
    tokens = len(source.telling(first).tokens)
    controls = Controls(
        stage=w.Dropdown(options=list(source.stages), value=first.stage, description="Model", **style),
        sample=w.IntSlider(first.sample + 1, 1, len(source.samples), description="Picture", **slow),
        shown=w.Dropdown(options=SHOWN, value=first.shown, description="Input", **style),
        operator=w.Dropdown(options=OPERATORS, value=first.operator, description="Operator", **style),
        share=w.FloatSlider(first.share, min=0.1, max=1.0, step=0.1, description="Share", **slow),
        seed=w.IntSlider(first.seed, 0, 20, description="View seed", **slow),
        force=w.Dropdown(
            options=[(_FORCE_WORDS[f], f) for f in FORCES], value=first.force, description="Read along", **style
        ),
        token=w.IntSlider(min(first.token, tokens - 1) + 1, 1, max(tokens, 1), description="Token", **slow),
        image=figure_image(explore(source, first)),
        message=w.HTML(caption(source, first)),
    )
    _wire(source, controls)
    left = w.VBox([controls.stage, controls.sample, controls.shown, controls.token])
    right = w.VBox([controls.operator, controls.share, controls.seed, controls.force])
    return w.VBox(
        [w.HBox([left, right], layout=w.Layout(flex_flow="row wrap")), controls.image, controls.message]
    ), controls


def _wire(source: TraceSource, controls: Controls) -> None:
    drawing = False

    def redraw(_: object = None) -> None:
        nonlocal drawing
        if drawing:  # the token slider was shortened by the redraw under way
            return
        drawing = True
        try:
            with explained(controls.message, controls.image):
                controls.token.max = len(source.telling(controls.choice()).tokens)
                choice = controls.choice()
                show_in(controls.image, explore(source, choice))
                controls.message.value = caption(source, choice)
        finally:
            drawing = False

    for name in ("stage", "sample", "shown", "operator", "share", "seed", "force", "token"):
        getattr(controls, name).observe(redraw, "value")
